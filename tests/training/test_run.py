"""The start of a run, and the loop over steps: when it evaluates, saves and stops, and how it goes on."""

import contextlib
import json
import signal

import pytest
import torch
from safetensors.torch import load_file

from ner.errors import DataError, Stopped
from ner.runtime import logs
from ner.runtime.logs import log
from ner.training.checkpoint import find_checkpoint
from ner.training.run import RunSettings, begin, checkpoint_of, lock_directory, restore, run
from ner.training.run_dir import LOCK, clear_directory


def metrics_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_events_come_in_order(make_task, tmp_path):
    task = make_task(n_steps=5)
    calls = []
    run(task, lambda: calls.append(task.progress.step))
    assert task.events == [
        *("step 1", "step 2", "evaluated 2", "step 3", "step 4", "evaluated 4", "saved 4"),
        *("step 5", "evaluated 5", "saved 5", "finished"),
    ]
    assert calls == [4, 5]
    assert [line["step"] for line in metrics_of(tmp_path)] == [2, 4, 5]
    assert (tmp_path / "last").resolve().name == "step-5"


def test_the_best_is_chosen_among_saved_models(make_task, tmp_path):
    run(make_task(n_steps=12, scores={2: 0.9, 4: 0.5, 8: 0.6, 12: 0.1}))
    assert (tmp_path / "best").resolve().name == "step-8"
    assert (tmp_path / "last").resolve().name == "step-12"


@pytest.fixture
def heeded():
    """Gives SIGINT its usual handler: a shell makes programs in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("step", "last"), [(1, ["step 1", "saved 1"]), (4, ["evaluated 4", "saved 4"])])
def test_a_signal_saves_once_and_stops(make_task, tmp_path, number, step, last):
    task = make_task(signals={step: number})
    with pytest.raises(Stopped, match=f"saved after step {step}") as caught:
        run(task)
    assert caught.value.number == number
    assert task.events[-2:] == last
    assert (tmp_path / "last").resolve().name == f"step-{step}"
    assert signal.getsignal(number) is not task.stop._record


@pytest.mark.parametrize("step", [1, 2, 4, 7])
def test_a_stopped_run_goes_on_as_if_it_never_stopped(make_task, tmp_path, step):
    run(make_task())
    whole, lines = load_file(tmp_path / "last" / "model.safetensors"), metrics_of(tmp_path)
    clear_directory(tmp_path)
    with pytest.raises(Stopped):
        run(make_task(signals={step: signal.SIGTERM}))
    again = make_task()
    restore(again, find_checkpoint(tmp_path, "last"))
    assert again.progress.step == step
    run(again)
    assert metrics_of(tmp_path) == lines
    found = load_file(tmp_path / "last" / "model.safetensors")
    assert all(torch.equal(found[name], whole[name]) for name in whole)


def test_going_back_drops_later_lines_and_checkpoints(make_task, tmp_path):
    run(make_task(n_steps=8, scores={4: 0.5, 8: 0.7}))
    again = make_task()
    restore(again, find_checkpoint(tmp_path, "checkpoints/step-4"))
    assert (again.progress.step, again.record.best) == (4, 0.5)
    assert [line["step"] for line in metrics_of(tmp_path)] == [2, 4]
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-4"]
    assert (tmp_path / "best").resolve().name == "step-4"


def test_a_run_that_is_over_only_finishes(make_task):
    task = make_task(n_steps=0)
    run(task)
    assert task.events == ["finished"]


def test_an_error_after_an_evaluation_ends_the_run(make_task, tmp_path):
    def end():
        raise KeyError

    with pytest.raises(KeyError):
        run(make_task(), end)
    assert (tmp_path / "last").resolve().name == "step-4"


def test_scores_of_an_earlier_best_are_removed(make_task, tmp_path):
    (tmp_path / "metrics_test.json").write_text("{}")
    run(make_task(n_steps=4, scores={4: 0.5}))
    assert not (tmp_path / "metrics_test.json").exists()


def test_the_directory_is_locked_while_the_run_lasts(tmp_path):
    settings = RunSettings(directory=tmp_path / "run")
    with contextlib.ExitStack() as locks:
        lock_directory(settings, locks)
        assert (settings.directory / LOCK).exists()
        with pytest.raises(DataError, match="is training here"), contextlib.ExitStack() as others:
            lock_directory(settings, others)
    assert not settings.directory.exists()


def test_results_are_not_overwritten_by_accident(tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    refused = pytest.raises(DataError, match="holds results of an earlier run")
    with refused, contextlib.ExitStack() as locks:
        lock_directory(RunSettings(directory=tmp_path), locks)
    with contextlib.ExitStack() as locks:
        lock_directory(RunSettings(directory=tmp_path, overwrite=True), locks)


def test_a_new_run_has_no_checkpoint(tmp_path):
    assert checkpoint_of(RunSettings(directory=tmp_path)) is None
    with pytest.raises(DataError, match="no such checkpoint"):
        checkpoint_of(RunSettings(directory=tmp_path, restore="last"))


def test_a_new_run_clears_its_directory_and_opens_its_log(make_task, tmp_path):
    for name in ("metrics.jsonl", "config.json", "notes.txt"):
        (tmp_path / name).touch()
    params = tmp_path / "elsewhere" / "params.json"
    params.parent.mkdir()
    params.write_text("{}")
    logs.start_log(quiet=True)
    log.info("before")
    assert not (tmp_path / "train.log").exists()
    begin(make_task(), {"seed": 1}, checkpoint=None, params=params, old_files=("config.json", "gone.json"))
    log.info("after")
    logs.stop_log()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("elsewhere", "notes.txt", "params.json", "resolved.json", "train.log"),
    ]
    messages = [line.split(" ", 2)[-1] for line in (tmp_path / "train.log").read_text().splitlines()]
    assert messages == ["before", "after"]
