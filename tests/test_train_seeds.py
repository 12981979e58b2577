"""train.py: one seed, several seeds, and the summary of a series."""

import json
import shutil
import statistics
from pathlib import Path

import pytest

import evaluate
import train
from ner.errors import DataError
from tests.experiments import (
    check_finished,
    check_scores,
    interrupt_at_call,
    make_experiment,
    metrics_of,
    run_program,
    same_weights,
    without_times,
)


def test_the_same_seed_is_the_same_run_and_another_is_not(start, trained):
    again, _ = start(epoch_num=8, min_epoch_num=8)
    assert without_times(again) == without_times(trained)
    assert same_weights(again, trained)
    other, _ = start("--seed", 7, name="other", epoch_num=1)
    assert metrics_of(other)[0]["train_loss"] != metrics_of(trained)[0]["train_loss"]


SERIES = ["--seeds", 1, 2, 3]


@pytest.fixture(scope="module")
def series(data, tmp_path_factory) -> Path:
    """Three seeds, two epochs each."""
    folder = make_experiment(tmp_path_factory.mktemp("series"), epoch_num=2)
    run_program(train, "--data_dir", data, "--model_dir", folder, *SERIES)
    return folder


def check_same_except_times(one: Path, other: Path, snapshot) -> None:
    """Compares file by file, without the times in the metrics and the command in log and resolved.json."""
    first, second = snapshot(one), snapshot(other)
    assert first.keys() == second.keys()
    may_differ = {"train.log", "metrics.jsonl", "resolved.json"}
    assert {name for name in first if first[name] != second[name]} <= may_differ
    assert without_times(one) == without_times(other)
    resolved = [json.loads((folder / "resolved.json").read_text()) for folder in (one, other)]
    assert [values.pop("command").split()[0] for values in resolved] == ["train.py", "train.py"]
    assert resolved[0] == resolved[1]


def test_a_series_is_separate_runs(series, data, tmp_path, snapshot, run_main):
    assert {path.name for path in series.iterdir()} == {"params.json", "seed-1", "seed-2", "seed-3"}
    copy = tmp_path / "copy"
    for seed in (1, 2, 3):
        single = series / f"seed-{seed}"
        shutil.copytree(single, copy / f"seed-{seed}", symlinks=True)
        shutil.rmtree(single)
        single.mkdir()
        shutil.copy(series / "params.json", single)
        options = ["--data_dir", data, "--model_dir", single, "--seed", seed]
        assert run_main(train, *options).code == 0
        check_same_except_times(copy / f"seed-{seed}", single, snapshot)
        check_finished(single, 2)
    losses = {metrics_of(series / f"seed-{seed}")[0]["train_loss"] for seed in (1, 2, 3)}
    assert len(losses) == 3
    assert run_main(evaluate, "--data_dir", data, "--model_dir", copy / "seed-2").code == 0
    check_scores(copy / "seed-2", data, "test")


def test_a_series_logs_mean_and_deviation(series, data, run_main):
    def state_of_runs():
        return [(without_times(folder), (folder / "best").resolve()) for folder in sorted(series.glob("s*"))]

    before = state_of_runs()
    options = ["--data_dir", data, "--model_dir", series, *SERIES]
    ended = run_main(train, *options, "--restore_file", "last")
    assert (ended.code, ended.out) == (0, "")
    f1s = [max(100 * line["val_f1"] for line in metrics_of(series / f"seed-{i}")) for i in (1, 2, 3)]
    mean, deviation = statistics.mean(f1s), statistics.stdev(f1s)
    message = f"best val F1 of 3 seeds: mean {mean:.2f}, standard deviation {deviation:.2f} (n - 1)"
    assert ended.err.splitlines()[-1] == message
    assert "epoch 1/2" not in ended.err
    assert state_of_runs() == before


def test_a_series_asks_its_teacher_once(start, trained):
    folder, _ = start("--teacher", trained, "--seeds", 1, 2, epoch_num=1)
    assert len(list(folder.glob("soft_labels-*.npy"))) == 1
    assert not list(folder.glob("seed-*/soft_labels-*.npy"))
    assert len(list(folder.glob("seed-*/distillation.json"))) == 2


def test_a_series_goes_on_where_it_stopped(start, series, data, run_main, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at_call(patch, 4)  # the second epoch of the second run
        stopped, ended = start(*SERIES, code=130, epoch_num=2)
    assert not (stopped / "seed-3").exists()
    before = without_times(stopped / "seed-1")
    (stopped / "seed-3").mkdir()  # as a run leaves it that was killed before its first checkpoint
    shutil.copy(stopped / "params.json", stopped / "seed-3")
    (stopped / "seed-3" / "resolved.json").write_text("{}")
    options = ["--data_dir", data, "--model_dir", stopped, *SERIES]
    refused = run_main(train, *options)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert f"{stopped / 'seed-1'}: holds results of an earlier run" in refused.err
    ended = run_main(train, *options, "--restore_file", "last")
    assert ended.code == 0, ended.err
    assert without_times(stopped / "seed-1") == before
    for seed in (1, 2, 3):
        check_finished(stopped / f"seed-{seed}", 2)
        assert without_times(stopped / f"seed-{seed}") == without_times(series / f"seed-{seed}")
        assert same_weights(stopped / f"seed-{seed}", series / f"seed-{seed}")
    log = (stopped / "seed-2" / "train.log").read_text()
    assert log.count("going on with epoch 2") == 1
    (stopped / "seed-1" / "notes.txt").write_text("mine")
    assert run_main(train, *options, "--overwrite", "--set", "epoch_num=1").code == 0
    assert [len(metrics_of(stopped / f"seed-{seed}")) for seed in (1, 2, 3)] == [1, 1, 1]
    assert (stopped / "seed-1" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", 4, 1], "seed-1: holds results of an earlier run"),
        (["--seeds", 4, 5, 4], "--seeds: got 4 5 4, expected different ones"),
        (["--seeds", 4, -1], "--seed -1: expected 0 to"),
        (
            ["--seeds", 1, "--restore_file", "best"],
            "--restore_file best: expected last, as there are --seeds",
        ),
        (["--seeds", 1, "--restore_file", "last", "--overwrite"], "expected one of them"),
        (
            ["--seeds", 4, 1, "--restore_file", "last", "--set", "epoch_num=3"],
            "seed-1: params.epoch_num is 3, expected 2 as when the run began",
        ),
        (["--seeds", 4, "--set", "head=crff"], "head: got 'crff'"),
    ],
)
def test_a_series_that_cannot_be_changes_nothing(series, data, run_main, snapshot, options, message):
    before = snapshot(series)
    ended = run_main(train, "--data_dir", data, "--model_dir", series, *options)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err.splitlines()[-1]
    assert snapshot(series) == before


def test_a_series_does_not_replace_other_parameters(series, data, run_main, snapshot):
    (series / "seed-9").mkdir()
    make_experiment(series / "seed-9", epoch_num=1)
    before = snapshot(series)
    options = ["--data_dir", data, "--model_dir", series, "--seeds", 9]
    ended = run_main(train, *options)
    own = series / "seed-9" / "params.json"
    expected = (
        f"error: {own}: differs, expected the same as {series / 'params.json'}; --overwrite replaces it"
    )
    assert (ended.code, ended.err) == (2, f"{expected}\n")
    assert snapshot(series) == before
    assert run_main(train, *options, "--overwrite").code == 0
    assert own.read_bytes() == (series / "params.json").read_bytes()
    shutil.rmtree(series / "seed-9")


def test_one_seed_or_several():
    with pytest.raises(DataError, match="--seeds: not allowed with argument --seed"):
        train.parse_args(["--seed", "1", "--seeds", "1", "2"])
