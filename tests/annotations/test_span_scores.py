"""Scores, against seqeval over thousands of random sentences and against counting by hand."""

import warnings

import numpy as np
import pytest
from seqeval.metrics import accuracy_score
from seqeval.metrics.sequence_labeling import precision_recall_fscore_support as lenient
from seqeval.metrics.v1 import precision_recall_fscore_support as strict
from seqeval.scheme import IOB2

from ner.annotations.span_scores import Counts, score, tag_counts
from ner.tags import ScoredSpan, Span, spans_to_tags
from tests.factories import tags_to_spans

LABELS = ("LOC", "ORG", "PER")
TAGS = ("O", *(f"{prefix}-{label}" for label in LABELS for prefix in "BI"))


def make_spans(random, n_tokens):
    spans, position = [], 0
    while position < n_tokens:
        end = min(n_tokens, position + int(random.integers(1, 4)))
        if random.random() < 0.5:
            spans.append(Span(position, end, LABELS[random.integers(3)]))
        position = end
    return spans


def make_pair(random, n_tokens):
    """Gold and predicted spans of a sentence that agree here and there."""
    gold = make_spans(random, n_tokens)
    kept = [span for span in gold if random.random() < 0.6]
    room = set(range(n_tokens)) - {t for span in kept for t in range(span.start, span.end)}
    new = [span for span in make_spans(random, n_tokens) if room.issuperset(range(span.start, span.end))]
    return gold, sorted(kept + new)


def make_corpus(seed, *, n_sentences=20):
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 12, size=n_sentences).tolist()
    gold, predicted = zip(*(make_pair(random, n) for n in lengths), strict=True)
    return gold, predicted, lengths


def make_tags(spans, lengths):
    return [spans_to_tags(row, n) for row, n in zip(spans, lengths, strict=True)]


def test_entities_that_overlap_are_counted_each_and_a_token_is_right_with_all_its_tags():
    gold = [Span(0, 4, "ORG"), Span(0, 2, "LOC"), Span(1, 3, "LOC")]
    found = [Span(0, 4, "ORG"), Span(0, 2, "LOC"), Span(0, 2, "PER"), Span(4, 5, "PER")]
    scores = score([gold], [found], [6])
    assert scores.total == Counts(n_gold=3, n_predicted=4, n_correct=2)
    assert scores.per_type["LOC"] == Counts(n_gold=2, n_predicted=1, n_correct=1)
    assert (scores.n_tokens_correct, scores.n_tokens_outside) == (2, 2)  # tokens 3 and 5; tokens 4 and 5
    assert tag_counts([gold]) == {"B-ORG": 1, "I-ORG": 3, "B-LOC": 2, "I-LOC": 2}


def assert_same_as_seqeval(scores, per_type, micro):
    labels = sorted(scores.per_type)
    ours = [scores.per_type[label] for label in labels]
    np.testing.assert_allclose(per_type[0], [c.precision for c in ours])
    np.testing.assert_allclose(per_type[1], [c.recall for c in ours])
    np.testing.assert_allclose(per_type[2], [c.f1 for c in ours])
    assert list(per_type[3]) == [c.n_gold for c in ours]
    total = scores.total
    assert micro[:3] == pytest.approx((total.precision, total.recall, total.f1))
    assert micro[3] == total.n_gold


@pytest.mark.parametrize("part", range(5))
def test_five_thousand_pairs_of_sentences_as_seqeval_scores_them_strictly(part):
    for seed in range(50):
        gold, predicted, lengths = make_corpus((part, seed))
        tags = make_tags(gold, lengths), make_tags(predicted, lengths)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of seqeval: a type without any gold or predicted entity
            per_type = strict(*tags, average=None, scheme=IOB2)
            micro = strict(*tags, average="micro", scheme=IOB2)
        scores = score(gold, predicted, lengths)
        assert scores.total.n_correct > 0
        assert_same_as_seqeval(scores, per_type, micro)
        assert scores.accuracy == pytest.approx(accuracy_score(*tags))


@pytest.mark.parametrize("part", range(2))
def test_illegal_tags_read_as_entity_starts_are_scored_as_by_default_in_seqeval(part):
    for seed in range(50):
        random = np.random.default_rng((part, seed))
        lengths = random.integers(1, 12, size=20).tolist()
        gold = [random.choice(TAGS, size=n).tolist() for n in lengths]
        predicted = [[random.choice(TAGS) if random.random() < 0.3 else tag for tag in row] for row in gold]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            per_type = lenient(gold, predicted, average=None)
            micro = lenient(gold, predicted, average="micro")
        scores = score([tags_to_spans(t) for t in gold], [tags_to_spans(t) for t in predicted], lengths)
        assert_same_as_seqeval(scores, per_type, micro)


def test_counts_and_accuracies_by_hand():
    gold, predicted, lengths = make_corpus(7)
    tags = [
        (a, b)
        for one, other in zip(make_tags(gold, lengths), make_tags(predicted, lengths), strict=True)
        for a, b in zip(one, other, strict=True)
    ]
    scores = score(gold, predicted, lengths)
    assert scores.n_sentences == len(lengths)
    assert scores.n_tokens == len(tags) == sum(lengths)
    assert scores.n_tokens_correct == sum(a == b for a, b in tags)
    assert scores.accuracy_all_o == sum(a == "O" for a, _ in tags) / len(tags)
    assert scores.total.n_gold == sum(map(len, gold))
    assert scores.total.n_predicted == sum(map(len, predicted))


def test_two_touching_entities_are_not_one():
    gold = [[Span(0, 2, "LOC"), Span(2, 4, "LOC")]]
    scores = score(gold, [[Span(0, 4, "LOC")]], [4])
    assert (scores.total.n_correct, scores.total.f1) == (0, 0.0)
    assert scores.accuracy == 3 / 4  # the B- of the second


def test_a_label_that_training_never_saw_is_missed_gold():
    scores = score([[Span(0, 1, "NEW"), Span(1, 2, "LOC")]], [[Span(1, 2, "LOC")]], [3])
    assert scores.per_type["NEW"] == Counts(n_gold=1)
    assert (scores.total.precision, scores.total.recall) == (1.0, 0.5)


def test_spans_may_come_as_any_iterable_and_an_entity_twice_counts_once():
    scores = score([iter([Span(0, 1, "LOC")])], [(Span(0, 1, "LOC"), Span(0, 1, "LOC"))], [2])
    assert scores.total == Counts(1, 1, 1)
    assert scores.total.f1 == 1.0


@pytest.mark.parametrize(
    ("gold", "predicted", "lengths"),
    [([], [], []), ([[]], [[]], [3]), ([[]], [[Span(0, 1, "LOC")]], [3]), ([[Span(0, 1, "LOC")]], [[]], [3])],
)
def test_where_something_is_empty_scores_are_0(gold, predicted, lengths):
    scores = score(gold, predicted, lengths)
    assert (scores.total.precision, scores.total.recall, scores.total.f1) == (0.0, 0.0, 0.0)
    n_right = 3 - (bool(gold and gold[0]) or bool(predicted and predicted[0])) if lengths else 0
    assert scores.accuracy == (n_right / 3 if lengths else 0.0)


def test_lists_of_unlike_length_are_refused():
    with pytest.raises(ValueError, match="got 2, 1 and 2 sentences"):
        score([[], []], [[]], [1, 1])


def test_the_summary_has_the_figures_that_the_files_promise():
    gold, predicted, lengths = make_corpus(3)
    scores = score(gold, predicted, lengths)
    summary = scores.summary()
    assert list(summary["per_type"]) == list(LABELS)
    for label, row in summary["per_type"].items():
        assert row["support"] == sum(span.label == label for spans in gold for span in spans)
    assert sum(row["support"] for row in summary["per_type"].values()) == summary["n_gold"]
    p, r = summary["precision"], summary["recall"]
    assert summary["f1"] == pytest.approx(2 * p * r / (p + r))
    assert summary["accuracy"] == scores.accuracy
    assert {"n_predicted", "n_correct", "n_sentences", "n_tokens", "accuracy_all_o"} <= set(summary)


@pytest.mark.parametrize("span", [Span(0, 3, "LOC"), Span(-1, 1, "LOC"), Span(2, 1, "LOC")])
def test_a_span_that_leaves_its_sentence(span):
    for gold, predicted in (([span], []), ([], [span])):
        with pytest.raises(ValueError, match="inside its sentence"):
            score([gold, []], [predicted, []], [2, 5])


def test_tag_counts():
    spans = [[Span(0, 2, "LOC")], [], [Span(1, 2, "LOC"), ScoredSpan(2, 5, "PER", 0.5).span]]
    assert tag_counts(spans) == {"B-LOC": 2, "I-LOC": 1, "B-PER": 1, "I-PER": 2}
