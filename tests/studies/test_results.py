"""Results are read back from hand-written files; their summary is computed here once more."""

import json
import statistics

import pytest

from ner.errors import DataError
from ner.studies.results import Row, Run, check_comparable, compare, headlines, read_epochs, summarise

SENTENCES = [("a", "b", "c"), ("d", "e"), ("f",)]
GOLD = [[[0, 2, "LOC"]], [[0, 1, "PER"], [1, 2, "PER"]], []]
NOTHING = [[], [], []]
ONE_WRONG = [[[0, 2, "LOC"]], [[0, 1, "LOC"]], []]


def write_epochs(folder, headline_values, key="val_f1", **others):
    lines = [
        {"epoch": i, key: value, "seconds": 60.0 * i, **others}
        for i, value in enumerate(headline_values, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_run(folder, predicted, *, epochs=(0.5,), gold=GOLD, f1=None):
    """An evaluated run.  Its precision, recall and F1 are counted here."""
    folder.mkdir(parents=True)
    write_epochs(folder, epochs, peak_memory_mb=100.0)
    rows = zip(SENTENCES, gold, predicted, strict=True)
    lines = [json.dumps({"tokens": t, "gold": g, "predicted": p}) for t, g, p in rows]
    (folder / "predictions_test.jsonl").write_text("".join(f"{line}\n" for line in lines))
    n_correct = sum(span in g for g, p in zip(gold, predicted, strict=True) for span in p)
    n_gold, n_predicted = (sum(map(len, side)) for side in (gold, predicted))
    precision, recall = n_correct / n_predicted if n_predicted else 0.0, n_correct / n_gold
    total = precision + recall
    values = {"precision": precision, "recall": recall}
    values["f1"] = (2 * precision * recall / total if total else 0.0) if f1 is None else f1
    (folder / "metrics_test.json").write_text(json.dumps(values))
    return Run(folder, "test")


def test_the_headline_is_the_figure_that_resolved_json_names(tmp_path):
    assert read_epochs(tmp_path) == headlines(tmp_path) == []
    write_epochs(tmp_path, [0.2, 1], key="val_auc", val_f1=0.7)
    assert headlines(tmp_path) == [0.7, 0.7]  # older runs name no headline
    (tmp_path / "resolved.json").write_text('{"headline": "val_auc"}')
    assert headlines(tmp_path) == [0.2, 1]
    (tmp_path / "resolved.json").write_text('{"headline": "val_map"}')
    with pytest.raises(DataError, match=r"metrics.jsonl:1: not the line of an epoch, KeyError\('val_map'\)"):
        headlines(tmp_path)


def test_counts_are_correct_predicted_and_gold_entities_of_each_sentence(tmp_path):
    answers = make_run(tmp_path / "x", ONE_WRONG).answers
    assert answers.counts.tolist() == [[1, 1, 1], [0, 1, 2], [0, 0, 0]]
    assert answers.gold == make_run(tmp_path / "y", NOTHING).answers.gold
    moved = [[[0, 1, "LOC"]], *GOLD[1:]]
    assert answers.gold != make_run(tmp_path / "z", NOTHING, gold=moved).answers.gold


def test_predictions_must_give_the_scores_beside_them(tmp_path):
    run = make_run(tmp_path / "x", ONE_WRONG, f1=0.9)
    with pytest.raises(DataError, match=r"F1 is 0.4000, expected 0.9000 as in metrics_test.json"):
        _ = run.answers


def test_missing_files_are_named_in_order(tmp_path):
    for name in ("predictions_test.jsonl", "metrics_test.json", "metrics.jsonl"):
        run = make_run(tmp_path / name, ONE_WRONG)
        assert run.missing_file == ""
        (run.directory / name).unlink()
        assert Run(run.directory, "test").missing_file == name


def test_the_summary_has_the_means_over_the_runs(tmp_path):
    runs = [
        make_run(tmp_path / "x", GOLD, epochs=(0.3, 0.8, 0.4)),
        make_run(tmp_path / "y", ONE_WRONG, epochs=(0.5,)),
    ]
    row = summarise("s", runs, 50)
    assert (row.system, row.runs) == ("s", 2)
    assert row.val_f1 == pytest.approx((0.8 + 0.5) / 2)
    assert row.val_f1_deviation == pytest.approx(statistics.stdev([0.8, 0.5]))
    assert row.seconds_an_epoch == pytest.approx(((60 + 120 + 180) / 3 + 60) / 2)
    assert row.minutes == pytest.approx((6 + 1) / 2)
    assert (row.precision, row.recall, row.f1) == pytest.approx(((1 + 1 / 2) / 2, (1 + 1 / 3) / 2, 0.7))
    assert row.f1_low <= row.f1 <= row.f1_high
    alone = summarise("s", runs[:1], 50)
    assert alone.val_f1_deviation is alone.f1_deviation is None


def test_only_a_difference_between_answers_is_tested(tmp_path):
    systems = {name: [make_run(tmp_path / name, p)] for name, p in (("base", GOLD), ("same", GOLD))}
    (tmp_path / "none").mkdir()
    systems["none"] = [Run(tmp_path / "none", "test")]
    rows = [summarise(name, runs, 20) for name, runs in systems.items()]
    compare(rows, systems, "base", 20)
    assert [row.verdict for row in rows] == ["baseline", "not significant", "not tested"]
    assert [(row.difference, row.p) for row in rows] == [(None, None), (0.0, 1.0), (None, None)]
    assert rows[2] == Row("none", 1, verdict="not tested")


def test_systems_answer_the_same_sentences(tmp_path):
    one, other = make_run(tmp_path / "x", GOLD), make_run(tmp_path / "y", NOTHING)
    check_comparable({"x": [one], "y": [other]})
    moved = make_run(tmp_path / "z", NOTHING, gold=[[[0, 1, "LOC"]], *GOLD[1:]])
    with pytest.raises(DataError, match=r"z: other sentences or other gold in test, expected the same as"):
        check_comparable({"x": [one], "z": [moved]})
