"""Which trial comes next, and which one is stopped, against brute force."""

import json
import math
import statistics
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ner.errors import DataError
from ner.studies import search
from ner.studies.search import Range, Trial, falls_behind, grid, next_values, overrides, parse_space, suggest


def make_trial(values, state="finished", f1s=(0.5,)):
    return Trial(Path("trial-1"), values, state, list(f1s))


def test_a_space():
    items = [
        "learning_rate=1e-5..1e-3:log",
        "epoch_num=2..9",
        "head=softmax,crf",
        "layers=last,4",
        "rdrop=0.5",
    ]
    assert parse_space(items) == {
        "learning_rate": Range(1e-5, 1e-3, log=True),
        "epoch_num": Range(2, 9),
        "head": ["softmax", "crf"],
        "layers": ["last", 4],
        "rdrop": [0.5],
    }
    ranges = parse_space(["warmup=0..1", "batch_size=8..64", "encoder.hidden_size=8..64"]).values()
    assert [type(allowed.high) for allowed in ranges] == [float, int, int]
    assert parse_space(["encoder.character_vectors=../a.txt,../b.txt"]) == {
        "encoder.character_vectors": ["../a.txt", "../b.txt"]
    }


@pytest.mark.parametrize(
    ("items", "says"),
    [
        (["head"], "--set head: expected key=value,value or key=low..high"),
        (["head=crf", "head=softmax"], "--set head=softmax: head twice, expected it once"),
        (["rdrop=2..1"], "--set rdrop=2..1: expected the lower end first"),
        (["rdrop=0..1:log"], "--set rdrop=0..1:log: expected the lower end first, above 0"),
    ],
)
def test_a_wrong_space_is_refused(items, says):
    with pytest.raises(DataError) as error:
        parse_space(items)
    assert str(error.value) == says


def test_a_grid_is_every_combination_and_has_no_ranges():
    space = parse_space(["a=1,2,3", "b=x", "c=true,false"])
    wanted = [{"a": a, "b": "x", "c": c} for a in (1, 2, 3) for c in (True, False)]
    assert list(grid(space)) == wanted
    assert [[json.loads(o.partition("=")[2]) for o in overrides(v)] for v in wanted] == [
        [*v.values()] for v in wanted
    ]
    with pytest.raises(DataError, match=r"--set a=1\.\.3: a range, expected --trials"):
        list(grid(parse_space(["a=1..3"])))


def test_the_grid_is_tried_once_and_begun_trials_first():
    space = parse_space(["a=1,2", "b=x,y"])
    trials = [make_trial({"a": 7, "b": "x"}), make_trial({"a": 1})]  # of earlier searches in other spaces
    seen = []
    while (values := next_values(space, trials, None)) is not None:
        seen.append(values)
        trials.append(make_trial(values, state=("pruned", "failed", "finished", "refused")[len(seen) - 1]))
    assert seen == list(grid(space))
    begun = make_trial({"a": 2, "b": "y"}, "begun", [])
    assert next_values(space, [begun], None) == begun.values
    assert next_values(parse_space(["a=1", "b=y"]), [begun], None) == {"a": 1, "b": "y"}


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.lists(
        st.tuples(st.sampled_from(["finished", "pruned", "failed"]), st.lists(st.floats(0, 1), max_size=5)),
        max_size=8,
    ),
)
def test_the_median_rule_equals_a_slow_loop(f1s, others):
    best = []
    for state, rival in others:
        reached = [f1 for epoch, f1 in enumerate(rival) if epoch < len(f1s)]
        if reached and (len(reached) == len(f1s) or state == "finished"):
            best.append(sorted(reached)[-1])
    expected = len(best) >= search.MIN_RIVALS and sorted(f1s)[-1] < statistics.median(best)
    assert falls_behind(f1s, [make_trial({}, state, f1s) for state, f1s in others]) == expected


SPACE = ["learning_rate=1e-5..1e-1:log", "epoch_num=2..9", "head=softmax,crf"]


def test_suggestions_lie_in_the_space_and_repeat():
    pytest.importorskip("optuna")
    space = parse_space(SPACE)
    trials, seen = [], []
    while (values := next_values(space, trials, 30)) is not None:
        assert list(values) == ["learning_rate", "epoch_num", "head"]
        assert 1e-5 <= values["learning_rate"] <= 1e-1
        assert values["epoch_num"] in range(2, 10)
        assert type(values["epoch_num"]) is int
        assert values["head"] in ("softmax", "crf")
        assert json.loads(json.dumps(values)) == values
        assert suggest(space, trials) == values
        seen.append(values)
        state, f1s = (("finished", [0.1, 0.5]), ("pruned", [0.1]), ("failed", []))[len(seen) % 3]
        trials.append(make_trial(values, state, f1s))
    assert len(seen) == 30
    assert len({values["learning_rate"] for values in seen}) == 30
    assert {values["head"] for values in seen} == {"softmax", "crf"}


@pytest.mark.parametrize("items", [["head=softmax,crf"], ["epoch_num=5..9", "rdrop=0,1"]])
def test_tried_values_are_not_suggested_again(items):
    """Until all values have been tried."""
    pytest.importorskip("optuna")
    space, trials = parse_space(items), []
    while (values := next_values(space, trials, 30)) is not None:
        assert values not in [trial.values for trial in trials]
        state = ("finished", "pruned", "failed", "refused")[len(trials) % 4]
        trials.append(make_trial(values, state, [len(trials) / 30]))
    assert len(trials) == {1: 2, 2: 10}[len(items)]


def test_optuna_learns_from_the_trials():
    """F1 is best near a rate of 1e-3: later suggestions must be nearer than the first, random ones."""
    pytest.importorskip("optuna")
    space = parse_space(["learning_rate=1e-6..1:log"])
    trials, distances = [], []
    for _ in range(40):
        values = suggest(space, trials)
        distances.append(abs(math.log10(values["learning_rate"]) + 3))
        trials.append(make_trial(values, f1s=[1 - distances[-1] / 6]))
    assert statistics.median(distances[25:]) < statistics.median(distances[:10]) / 2


def test_a_finished_trial_without_metrics_teaches_nothing():
    pytest.importorskip("optuna")
    space = parse_space(["learning_rate=1e-5..1e-1:log"])
    none, lost = ([make_trial({"learning_rate": 1e-3}, state, [])] for state in ("finished", "failed"))
    assert suggest(space, none) == suggest(space, lost)


def test_a_fraction_is_searched_between_whole_ends_and_a_count_is_whole():
    pytest.importorskip("optuna")
    found = suggest(parse_space(["warmup=0..1", "epoch_num=1..9"]), [])
    assert 0 < found["warmup"] < 1
    assert type(found["epoch_num"]) is int


def test_optuna_is_asked_for_by_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(DataError, match="--trials: optuna is not installed: pip install optuna"):
        suggest(parse_space(SPACE), [])
