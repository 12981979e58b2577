"""Searches over tiny experiments: each trial leaves the files of train.py, and a search can be resumed."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import ner.training.fine_tuning
import ner.training.train
import train
from ner.annotations.span_scores import Counts, SpanScores
from ner.errors import TrainingError
from ner.scoring.evaluate import Evaluation
from ner.studies import search
from ner.training.run_dir import only_trainer
from tests.experiments import build_short, interrupt_at_call
from tools import search_hyperparams

ENCODER = {"name": "lstm", "hidden_size": 8, "num_hidden_layers": 1, "embedding_size": 8, "max_bigrams": 0}
PARAMS = {"encoder": ENCODER, "batch_size": 8, "learning_rate": 1e-2, "epoch_num": 2}
TIMES = ("seconds", "tokens_per_second", "peak_memory_mb")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Thirty short sentences to train on, ten for val."""
    return build_short(tmp_path_factory.mktemp("data"), 40, 30, "--val_size", 10)


@pytest.fixture
def study(tmp_path):
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "params.json").write_text(json.dumps(PARAMS))
    return tmp_path / "study"


@pytest.fixture
def find(study, data, run_main):
    """`find("head=softmax,crf", "--trials", 3)`: searches below `study`."""

    def run(*options, data_dir=data):
        sets = [part for item in options if "=" in str(item) for part in ("--set", item)]
        others = [item for item in options if "=" not in str(item)]
        return run_main(search_hyperparams, "--model_dir", study, "--data_dir", data_dir, *sets, *others)

    return run


@pytest.fixture
def plan_scores(monkeypatch):
    """`plan_scores({1e-2: [0.5, 0.6]})`: sets the val F1 of each epoch by learning rate."""

    def set_plan(f1s):
        def run(task, after_epoch):
            plan = iter(f1s[task.config.learning_rate][task.progress.epoch :])

            def evaluate(*args, **options):
                n_correct = round(1000 * next(plan))
                return Evaluation(
                    {"spans": SpanScores(Counts(n_gold=1000, n_predicted=1000, n_correct=n_correct))}, 1.0, []
                )

            monkeypatch.setattr(ner.training.fine_tuning, "evaluate", evaluate)
            as_it_is(task, after_epoch)

        as_it_is = ner.training.train.run
        monkeypatch.setattr(ner.training.train, "run", run)

    return set_plan


def trial(study, number) -> dict:
    return json.loads((study / f"trial-{number}" / "trial.json").read_text())


def metrics_of(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def names(study) -> list[str]:
    return sorted(path.name for path in study.iterdir())


def test_each_trial_is_an_ordinary_experiment(study, data, find, run_main, tmp_path, snapshot):
    ended = find("learning_rate=1e-2,1e-3", "head=softmax,crf", "--seed", 5)
    assert ended.code == 0, ended.err
    assert names(study) == ["params.json", *(f"trial-{i}" for i in (1, 2, 3, 4))]
    assert json.loads((study / "params.json").read_text()) == PARAMS
    wanted = [(rate, head) for rate in (1e-2, 1e-3) for head in ("softmax", "crf")]
    for number, (rate, head) in enumerate(wanted, start=1):
        assert trial(study, number)["values"] == {"learning_rate": rate, "head": head}
        assert trial(study, number)["state"] == "finished"
        params = json.loads((study / f"trial-{number}" / "params.json").read_text())
        expected = {**PARAMS, "learning_rate": rate, "head": head}
        assert {key: params[key] for key in expected} == expected
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(study / "trial-4" / "params.json", alone)
    assert run_main(train, "--data_dir", data, "--model_dir", alone, "--seed", 5).code == 0
    assert metrics_of(alone) == metrics_of(study / "trial-4")
    best = {f"trial-{i}": max(m["val_f1"] for m in metrics_of(study / f"trial-{i}")) for i in (1, 2, 3, 4)}
    listed = [(line.split()[0], line.split()[-3]) for line in ended.out.splitlines()[1:]]
    assert sorted(name for name, _ in listed) == sorted(best)
    assert [f1 for _, f1 in listed] == [f"{100 * best[name]:.2f}" for name, _ in listed]
    assert [f1 for _, f1 in listed] == sorted((f1 for _, f1 in listed), key=float, reverse=True)
    before = snapshot(study)
    again = find("learning_rate=1e-2,1e-3", "head=softmax,crf", "--seed", 5)
    assert (again.code, again.out, again.err) == (0, ended.out, "")
    assert find("learning_rate=1e-2,2e-3", "head=crf", "--seed", 5).code == 0
    assert trial(study, 5)["values"] == {"learning_rate": 2e-3, "head": "crf"}
    assert "trial-6" not in names(study)
    assert {name: value for name, value in snapshot(study).items() if "trial-5" not in name} == before


def test_a_search_goes_on_where_it_stopped(study, find, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at_call(patch, 4)  # the second epoch of the second trial
        assert find("learning_rate=1e-2,1e-3,2e-3").code == 130
    assert [trial(study, number)["state"] for number in (1, 2)] == ["finished", "begun"]
    assert len(metrics_of(study / "trial-2")) == 1
    ended = find("learning_rate=1e-2,1e-3,2e-3")
    assert ended.code == 0, ended.err
    assert [trial(study, number)["state"] for number in (1, 2, 3)] == ["finished"] * 3
    assert "going on with epoch 2" in (study / "trial-2" / "train.log").read_text()
    pieces = metrics_of(study / "trial-2")
    shutil.rmtree(study / "trial-2")
    shutil.rmtree(study / "trial-3")
    assert find("learning_rate=1e-3").code == 0
    assert metrics_of(study / "trial-2") == pieces


def test_a_trial_that_falls_behind_is_stopped(study, find, plan_scores, monkeypatch):
    monkeypatch.setattr(search, "MIN_RIVALS", 2)
    rates = [1e-2, 2e-2, 3e-2, 4e-2, 5e-2]
    plan = dict(zip(rates, [[0.5, 0.6], [0.5, 0.7], [0.4, 0.9], [0.5, 0.1], [0.3, 0.9]], strict=True))
    plan_scores(plan)
    values = "learning_rate=1e-2,2e-2,3e-2,4e-2,5e-2"
    ended = find(values, "--prune_after", 1)
    assert ended.code == 0, ended.err
    states = [trial(study, number)["state"] for number in range(1, 6)]
    assert states == ["finished", "finished", "pruned", "finished", "pruned"]
    assert [line["val_f1"] for line in metrics_of(study / "trial-3")] == [0.4]
    assert "stopped: behind the median of 2 other trials" in ended.err
    assert [line.split() for line in ended.out.splitlines()[1:3]] == [
        ["trial-2", "learning_rate=0.02", "70.00", "2", "finished"],
        ["trial-1", "learning_rate=0.01", "60.00", "2", "finished"],
    ]
    values = "learning_rate=1e-2,2e-2,3e-2"  # the third one was stopped above
    for options in (["--prune_after", 0], []):  # without the option: after two epochs, and these are all
        for path in study.glob("trial-*"):
            shutil.rmtree(path)
        assert find(values, *options).code == 0
        assert [trial(study, number)["state"] for number in range(1, 4)] == ["finished"] * 3


def test_optuna_chooses_and_goes_on(study, find, plan_scores):
    pytest.importorskip("optuna")

    class Near(dict):
        def __missing__(self, rate):
            return [0.3, 0.9 - abs(rate - 0.01)]

    plan_scores(Near())
    values = "learning_rate=1e-4..1e-1:log"
    assert find(values, "--trials", 2).code == 0
    assert names(study) == ["params.json", "trial-1", "trial-2"]
    state = trial(study, 2) | {"state": "begun"}
    (study / "trial-2" / "trial.json").write_text(json.dumps(state))
    assert find(values, "--trials", 4).code == 0
    assert names(study) == ["params.json", *(f"trial-{i}" for i in (1, 2, 3, 4))]
    tried = [trial(study, number)["values"] for number in (1, 2, 3, 4)]
    assert len({t["learning_rate"] for t in tried}) == 4
    assert [trial(study, number)["state"] for number in (1, 2, 3, 4)] == ["finished"] * 4
    trials = [search.Trial(study, t, "finished", [0.3, 0.9 - abs(t["learning_rate"] - 0.01)]) for t in tried]
    assert search.suggest(search.parse_space([values]), trials[:3]) == tried[3]


def test_what_does_not_go_together_is_refused_and_the_rest_tried(study, find):
    ended = find("loss=focal,ce", "head=crf,softmax", "--seed", 1)
    assert ended.code == 2
    refusal = "loss: got 'focal', which head 'crf' cannot be trained with"
    assert ended.err.splitlines()[-1].startswith(
        'error: 1 of the trials refused, the first loss="focal" head="crf"'
    )
    assert ended.err.splitlines()[-1].endswith(refusal)
    assert names(study) == ["params.json", "trial-1", "trial-2", "trial-3"]
    assert len(ended.out.splitlines()) == 4


def test_a_search_whose_combinations_run_out(study, find):
    pytest.importorskip("optuna")
    ended = find("head=softmax,crf", "--trials", 6)
    assert ended.code == 0, ended.err
    assert sorted(trial(study, number)["values"]["head"] for number in (1, 2)) == ["crf", "softmax"]
    assert "trial-3" not in names(study)
    assert "all 2 combinations have been tried, fewer than --trials" in ended.err
    ended = find("epoch_num=1..2", "--trials", 3)  # the earlier trials are still there
    assert "all 2 combinations have been tried, fewer than --trials" in ended.err
    assert sorted(trial(study, number)["values"]["epoch_num"] for number in (3, 4)) == [1, 2]


def test_a_search_asks_its_teacher_once(study, data, find, run_main, tmp_path):
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    shutil.copy(study / "params.json", teacher)
    assert run_main(train, "--data_dir", data, "--model_dir", teacher).code == 0
    ended = find("learning_rate=1e-2,1e-3", "--teacher", teacher)
    assert ended.code == 0, ended.err
    assert len(list(study.glob("soft_labels-*.npy"))) == 1
    assert not list(study.glob("trial-*/soft_labels-*.npy"))


def test_values_that_only_go_together(study, find):
    """A base with label smoothing, which the loss focal refuses: with none of it, focal is a trial."""
    (study / "params.json").write_text(json.dumps(PARAMS | {"label_smoothing": 0.1}))
    ended = find("loss=focal")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith('error: --set loss="focal": label_smoothing: got 0.1')
    ended = find("label_smoothing=0", "loss=ce,focal")
    assert ended.code == 0, ended.err
    assert [trial(study, number)["values"]["loss"] for number in (1, 2)] == ["ce", "focal"]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TrainingError("the loss is nan"), "the loss is nan"),
        (torch.OutOfMemoryError("CUDA out of memory"), "CUDA out of memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "[enforce fail]"),
        (MemoryError(), "out of memory"),
    ],
)
def test_training_that_breaks_off_is_a_failed_trial(study, find, monkeypatch, error, says):
    def run(task, after_epoch):
        if task.config.learning_rate == 1e-2:
            raise error
        as_it_is(task, after_epoch)

    as_it_is = ner.training.train.run
    monkeypatch.setattr(ner.training.train, "run", run)
    ended = find("learning_rate=1e-2,1e-3")
    assert ended.code == 0, ended.err
    assert [trial(study, number)["state"] for number in (1, 2)] == ["failed", "finished"]
    assert f"failed: {says}" in (study / "trial-1" / "train.log").read_text()
    assert ended.out.splitlines()[2].split() == ["trial-1", "learning_rate=0.01", "-", "0", "failed"]


def test_a_second_search_in_the_directory_is_refused(study, find, snapshot):
    with only_trainer(study):
        before = snapshot(study)
        ended = find("head=crf,softmax")
        assert (ended.code, ended.err.count("\n")) == (2, 1)
        assert "is training here" in ended.err
        assert snapshot(study) == before


def test_what_stands_under_a_trials_name_is_left_alone(study, data, find, run_main, snapshot):
    own = study / "trial-1"
    own.mkdir()
    (own / "params.json").write_text(json.dumps(PARAMS | {"epoch_num": 1}))
    assert run_main(train, "--data_dir", data, "--model_dir", own).code == 0
    (study / "trial-2").mkdir()
    (study / "trial-x").mkdir()
    before = snapshot(study)
    assert find("head=crf,softmax", "loss=focal").code == 2  # the first pair does not go together
    assert names(study) == ["params.json", "trial-1", "trial-2", "trial-3", "trial-x"]
    assert trial(study, 3)["values"] == {"head": "softmax", "loss": "focal"}
    assert {name: value for name, value in snapshot(study).items() if "trial-3" not in name} == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["learning_rat=1"], "--set learning_rat=1: unknown key 'learning_rat', the nearest known one is"),
        (["head=softmax", "rdrop=1,x"], "--set rdrop=\"x\": rdrop: got 'x', expected a number"),
        (["learning_rate=1e-3..1e-2"], "--set learning_rate=0.001..0.01: a range, expected --trials with it"),
        (["head=crf", "--seeds", 1, 2], "--seeds: not in a search"),
        (["head=crf", "--overwrite"], "--overwrite: not in a search"),
        (["head=crf", "--trials", 0], "--trials 0: expected 1 or more"),
        (["head=crf", "--prune_after", -1], "--prune_after -1: expected 0 or more"),
    ],
)
def test_a_users_error_is_one_line_and_leaves_nothing(study, find, options, says):
    ended = find(*options)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"error: {says}")
    assert ended.err.count("\n") == 1
    assert names(study) == ["params.json"]


def test_all_trials_of_a_search_are_made_alike(study, data, find, tmp_path):
    assert find("learning_rate=1e-2").code == 0

    def refused(says, **options):
        ended = find("learning_rate=1e-2,1e-3", *options.pop("more", []), **options)
        assert (ended.code, ended.out) == (2, "")
        assert ended.err == f"error: {study / 'trial-1'}: {says} as when the search began\n"
        assert names(study) == ["params.json", "trial-1"]

    argv = ["--data_dir", str(data)]
    refused(f"options is {[*argv, '--seed', '3']}, expected {argv}", more=["--seed", 3])
    (study / "params.json").write_text(json.dumps(PARAMS | {"epoch_num": 3}))
    refused("params.epoch_num is 3, expected 2")
    (study / "params.json").write_text(json.dumps(PARAMS))
    path = data / "val" / "tags.txt"
    kept = path.read_bytes()
    try:
        path.write_bytes(kept.replace(b"B-", b"I-", 1))
        ended = find("learning_rate=1e-2,1e-3")
        assert ended.err.startswith(f"error: {study / 'trial-1'}: data.val/tags.txt is ")
    finally:
        path.write_bytes(kept)
