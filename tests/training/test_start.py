"""The start of a run: what is refused, what is removed, and when train.log begins."""

import contextlib

import pytest

from ner.errors import DataError
from ner.runtime import logs
from ner.runtime.logs import log
from ner.training.run_dir import LOCK
from ner.training.start import RunSettings, begin, checkpoint_of, lock_directory


def test_the_directory_is_locked_while_the_run_lasts(tmp_path):
    settings = RunSettings(directory=tmp_path / "run")
    with contextlib.ExitStack() as locks:
        lock_directory(settings, locks)
        assert (settings.directory / LOCK).exists()
        with pytest.raises(DataError, match="trains here"), contextlib.ExitStack() as others:
            lock_directory(settings, others)
    assert not settings.directory.exists()


def test_results_are_not_overwritten_by_accident(tmp_path):
    (tmp_path / "metrics.jsonl").touch()
    refused = pytest.raises(DataError, match="results of an earlier run stand here")
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
