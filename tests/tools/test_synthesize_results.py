"""Tables over experiments that are written here, against seqeval, `statistics` and a count by hand."""

import csv
import json
import random
import statistics

import pytest
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from ner.annotations.base import Scored
from ner.annotations.span_scores import score
from ner.annotations.spans import Spans
from ner.data.sentence import Sentence
from ner.studies.significance import bootstrap, count, holm, randomisation
from ner.tags import Span, spans_to_tags
from tools import synthesize_results

LENGTH, N_SENTENCES = 8, 60
GOLD = [
    Sentence.with_spans(tuple("甲乙丙丁戊己庚辛"), (Span(i % 4, i % 4 + 2, "LOC"), Span(6, 8, "PER")))
    for i in range(N_SENTENCES)
]


def guesses(share, seed):
    """Each gold entity is found with this probability, or else with a wrong type."""
    draw = random.Random(seed)
    return [
        tuple(span if draw.random() < share else span._replace(label="ORG") for span in sentence.spans)
        for sentence in GOLD
    ]


def write_metrics(folder, f1s):
    lines = [
        {"epoch": i, "val_f1": f1, "seconds": 30.0, "peak_memory_mb": 500.0 + i}
        for i, f1 in enumerate(f1s, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def make_run(folder, share, seed, split="test"):
    """An evaluated experiment as the programs leave it; returns what it predicted."""
    folder.mkdir(parents=True)
    write_metrics(folder, [0.1, share, 0.2])
    predicted = guesses(share, seed)
    scores = score([s.spans for s in GOLD], predicted, [LENGTH] * N_SENTENCES)
    (folder / f"metrics_{split}.json").write_text(json.dumps(scores.summary()))
    scored = [Scored(s.tokens, s.spans, spans) for s, spans in zip(GOLD, predicted, strict=True)]
    Spans().write_predictions(folder, split, scored)
    return predicted


@pytest.fixture
def systems(tmp_path):
    """base: three seeds; good: better; same: one run that answers as one of base's."""
    found = {"base": [make_run(tmp_path / "base" / f"seed-{i}", 0.7, i) for i in (1, 2, 10)]}
    found["good"] = [make_run(tmp_path / "good" / f"seed-{i}", 0.95, i) for i in (4, 5)]
    found["same"] = [make_run(tmp_path / "same", 0.7, 2)]
    return found


@pytest.fixture
def synthesize(tmp_path, run_main, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *options: run_main(synthesize_results, "--resamples", 500, *options)


def seqevals(measure, predicted):
    gold = [spans_to_tags(s.spans, LENGTH) for s in GOLD]
    return measure(gold, [spans_to_tags(p, LENGTH) for p in predicted], mode="strict", scheme=IOB2)


def read_csv(text):
    rows = csv.DictReader(text.splitlines())
    return {
        row.pop("system"): {k: v if k == "verdict" else v and float(v) for k, v in row.items()}
        for row in rows
    }


def test_every_figure(systems, synthesize):
    ended = synthesize(*systems, "--baseline", "base/", "--format", "csv")
    assert (ended.code, ended.err) == (0, "")
    rows = read_csv(ended.out)
    assert list(rows) == ["base", "good", "same"]
    counts = {name: [count([s.spans for s in GOLD], p) for p in runs] for name, runs in systems.items()}
    for name, runs in systems.items():
        row = rows[name]
        assert row["runs"] == len(runs)
        for key, measure in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
            values = [seqevals(measure, predicted) for predicted in runs]
            assert row[key] == pytest.approx(statistics.mean(values), abs=1e-12)
        deviation = statistics.stdev(values) if len(values) > 1 else ""
        assert row["f1_deviation"] == (pytest.approx(deviation) if deviation else "")
        assert (row["f1_low"], row["f1_high"]) == bootstrap(counts[name], n_resamples=500)
        assert row["f1_low"] < row["f1"] < row["f1_high"]
        assert row["val_f1"] == pytest.approx(0.95 if name == "good" else 0.7)
        assert (row["seconds_an_epoch"], row["minutes"], row["peak_memory_mb"]) == (30.0, 1.5, 503.0)
    p = holm([randomisation(counts[name], counts["base"], n_shuffles=500) for name in ("good", "same")])
    assert [rows["good"]["p"], rows["same"]["p"]] == p
    assert rows["good"]["difference"] == pytest.approx(rows["good"]["f1"] - rows["base"]["f1"])
    assert [rows[name]["verdict"] for name in rows] == ["baseline", "better", "not significant"]
    turned = read_csv(synthesize(*systems, "--baseline", "good", "--format", "csv").out)
    assert [turned[name]["verdict"] for name in turned] == ["worse", "baseline", "worse"]
    assert turned["base"]["difference"] == -rows["good"]["difference"]


def test_the_table_explains_its_figures(systems, synthesize):
    ended = synthesize(*systems, "--baseline", "base")
    lines = ended.out.splitlines()
    assert len({line.count("|") for line in lines[:5]}) == 1
    heading, _, base, good, same = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[:5])
    f1s = [100 * seqevals(f1_score, predicted) for predicted in systems["good"]]
    row = dict(zip(heading, good, strict=True))
    assert row["test F1"] == f"{statistics.mean(f1s):.2f} ± {statistics.stdev(f1s):.2f}"
    assert row["val F1"] == "95.00 ± 0.00"
    assert row["verdict"].startswith("better (p = 0.00")
    assert dict(zip(heading, same, strict=True))["verdict"].startswith("not significant (p = ")
    assert dict(zip(heading, base, strict=True))["verdict"] == "baseline"
    explanation = lines[-1]
    assert "60 sentences, 120 gold entities" in explanation
    assert (
        "against base, two-sided, 500 shuffles, several runs answer with their mean counts, Holm's correction"
        in explanation
    )
    assert "for the number of comparisons, 2; not significant: p > 0.05" in explanation
    assert "one run cannot show what another seed changes" in explanation
    assert "several runs answer" not in synthesize("same", "one=good/seed-4", "--baseline", "same").out
    without = synthesize("base", "good")
    assert "verdict" not in without.out
    assert "Holm" not in without.out


def test_runs_that_stand_elsewhere_are_one_system(systems, synthesize, tmp_path):
    rows = read_csv(synthesize("good", "all=good/seed-4,good/seed-5", "one=same", "--format", "csv").out)
    assert rows["all"] == rows["good"]
    assert rows["one"]["runs"] == 1
    (tmp_path / "same").rename(tmp_path / "rate=1e-4,crf")
    assert list(read_csv(synthesize("rate=1e-4,crf", "--format", "csv").out)) == ["rate=1e-4,crf"]


def test_missing_results_are_named_and_left_empty(systems, synthesize, tmp_path):
    (tmp_path / "good" / "seed-5" / "predictions_test.jsonl").unlink()
    (tmp_path / "same" / "metrics_test.json").unlink()
    (tmp_path / "base" / "seed-10" / "metrics.jsonl").unlink()
    ended = synthesize(*systems, "--baseline", "base", "--format", "csv")
    assert ended.err.splitlines() == [
        "base/seed-10: no metrics.jsonl, the columns that need it are empty",
        "good/seed-5: no predictions_test.jsonl, the columns that need it are empty",
        "same: no metrics_test.json, the columns that need it are empty",
    ]
    rows = read_csv(ended.out)
    assert rows["base"]["val_f1"] == rows["base"]["minutes"] == ""
    assert rows["base"]["f1_low"] < rows["base"]["f1"]
    assert rows["good"]["f1"] > rows["base"]["f1"]
    assert rows["good"]["f1_low"] == rows["good"]["p"] == ""
    assert rows["same"]["val_f1"] == 0.7
    assert rows["same"]["f1"] == rows["same"]["difference"] == ""
    assert [rows[name]["verdict"] for name in rows] == ["baseline", "not tested", "not tested"]
    assert "not tested" in synthesize(*systems, "--baseline", "base").out


def test_the_memory_of_a_resumed_run_is_its_most(synthesize, tmp_path):
    make_run(tmp_path / "base", 0.5, 1)
    lines = [
        {"epoch": i, "val_f1": 0.5, "seconds": 1, "peak_memory_mb": mb} for i, mb in ((1, 900), (2, 300))
    ]
    (tmp_path / "base" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert read_csv(synthesize("base", "--format", "csv").out)["base"]["peak_memory_mb"] == 900


def test_a_run_beside_seeds_is_named(systems, synthesize, tmp_path):
    write_metrics(tmp_path / "good", [0.5])
    ended = synthesize("good")
    assert ended.code == 0
    assert "good: only the runs seed-* inside are read, not the run of the directory itself" in ended.err


def rewrite(path, change):
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:2], change(lines[2]), *lines[3:]]) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "spoil", "says"),
    [
        (["base", "none"], None, "none: no metrics.jsonl, no metrics_test.json, expected one of them"),
        (["base", "base/"], None, "got 2 systems of 1 names, expected different ones"),
        (["x=base,same,base/seed-2"], None, "base/seed-2: twice in x, expected each run once"),
        (["base", "--baseline", "x"], None, "--baseline x: no such system, expected one of base"),
        (["base", "--resamples", 0], None, "--resamples 0: expected 1 or more"),
        (["base", "same"], lambda line: "{", "same/predictions_test.jsonl:3: not the line of a sentence"),
        (
            ["same"],
            lambda line: '{"tokens": []}',
            "same/predictions_test.jsonl:3: not the line of a sentence",
        ),
        (
            ["base", "same"],
            lambda line: line.replace("甲", "王"),
            "same: other sentences or other gold in test",
        ),
        (
            ["same"],
            lambda line: line.partition('"predicted"')[0] + '"predicted": [[0, 1, ["x"]]]}',
            "same/predictions_test.jsonl:3: not the line of a sentence",
        ),
        (
            ["same"],
            lambda line: line.partition('"predicted"')[0] + '"predicted": []}',
            "same/predictions_test.jsonl: F1 is 0.",
        ),
    ],
)
def test_a_users_error_is_one_line(systems, synthesize, tmp_path, options, spoil, says):
    if spoil:
        path = tmp_path / "same" / "predictions_test.jsonl"
        rewrite(path, spoil)
    ended = synthesize(*options)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {says}")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "base/metrics.jsonl: empty, expected a line an epoch"),
        ('{"epoch": 1}\n', "base/metrics.jsonl:1: not the line of an epoch, KeyError('val_f1')"),
        ("[]\n", "base/metrics.jsonl:1: not the line of an epoch"),
        (
            '{"epoch": 1, "val_f1": "0.9", "seconds": 3}\n',
            "base/metrics.jsonl:1: val_f1: got '0.9', expected a number",
        ),
    ],
)
def test_metrics_that_are_none(synthesize, tmp_path, text, says):
    make_run(tmp_path / "base", 0.5, 1)
    (tmp_path / "base" / "metrics.jsonl").write_text(text)
    ended = synthesize("base")
    assert ended.code == 2
    assert ended.err.startswith(f"error: {says}")


@pytest.mark.parametrize(
    ("part", "value", "says"),
    [
        ("params", {"learning_rate": 2e-4}, "other params than {first}, expected good to be one system"),
        ("data", {"train/tags.txt": "b"}, "other data than {first}, expected good to be one system"),
        ("encoder", {"hidden_size": 9}, "other encoder than {first}, expected good to be one system"),
        ("weights", "ab", "other weights than {first}, expected good to be one system"),
        ("precision", "bf16", "other precision than {first}, expected good to be one system"),
        ("teacher", "ab", "other teacher than {first}, expected good to be one system"),
        ("seed", 4, "seed 4 as {first}, expected good to have each once"),
    ],
)
def test_runs_that_differ_by_more_than_their_seed_are_not_one_system(
    systems, synthesize, tmp_path, part, value, says
):
    alike = {"params": {"learning_rate": 1e-4}, "data": {"train/tags.txt": "a"}, "encoder": {}}
    files = [f"good/seed-{seed}/resolved.json" for seed in (4, 5)]
    for file, values in zip(files, ({"seed": 4}, {"seed": 5}), strict=True):
        (tmp_path / file).write_text(json.dumps(alike | values))
    assert synthesize("good").code == 0
    (tmp_path / files[1]).write_text(json.dumps(alike | {"seed": 5, part: value}))
    ended = synthesize("good")
    assert ended.code == 2
    assert ended.err == f"error: {files[1]}: {says.format(first=files[0])}\n"
