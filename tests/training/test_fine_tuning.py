"""Fine-tuning: early stopping.  tests/test_train_*.py tests whole runs."""

from ner.training.fine_tuning import Patience


def test_patience_counts_as_the_ancestor_does():
    patience = Patience()
    f1s = [0.5, 0.5001, 0.4, 0.5002, 0.6, 0.6, 0.61]
    best = [patience.update(f1, 0.0002) for f1 in f1s]
    assert best == [True, True, False, True, True, False, True]
    counts, patience = [], Patience()
    for f1 in f1s:
        patience.update(f1, 0.0002)
        counts.append(patience.n_without_gain)
    assert counts == [0, 1, 2, 3, 0, 1, 0]


def test_a_first_score_of_zero_is_the_best_but_no_gain():
    patience = Patience()
    assert patience.update(0.0, 0.0)
    assert (patience.best_f1, patience.n_without_gain) == (0.0, 1)
