"""The directory of a run: one trainer at a time, lines of metrics that are whole."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ner.errors import DataError
from ner.training.run_dir import LOCK, add_metrics, only_trainer, truncate_metrics

HOLDS = """
import sys, time
from pathlib import Path
from ner.training.run_dir import only_trainer
with only_trainer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other_trainer(tmp_path):
    """A process that holds the lock of `tmp_path`."""
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_the_second_trainer_gets_one_line(other_trainer, tmp_path):
    with pytest.raises(
        DataError, match=rf"^{tmp_path}: process {other_trainer.pid} is training here"
    ) as caught:
        only_trainer(tmp_path).__enter__()
    assert "\n" not in str(caught.value)
    assert (tmp_path / LOCK).read_text() == f"{other_trainer.pid}\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_of_a_dead_trainer_is_taken_over(other_trainer, tmp_path, number):
    other_trainer.send_signal(number)
    other_trainer.wait()
    assert (tmp_path / LOCK).exists()
    with only_trainer(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_its_owner_has_just_removed_is_no_lock(tmp_path, monkeypatch):
    """Between opening the file and locking it, its owner may remove it and a third process make it anew."""
    tries = []

    def flock(handle, flags, lock=fcntl.flock):
        if not tries:
            (tmp_path / LOCK).unlink()
        tries.append(handle)
        lock(handle, flags)

    monkeypatch.setattr(fcntl, "flock", flock)
    with only_trainer(tmp_path):
        assert len(tries) == 2
        with pytest.raises(DataError, match=f"process {os.getpid()} is training here"):
            only_trainer(tmp_path).__enter__()


def test_a_directory_that_nothing_came_of_is_not_left(tmp_path):
    with pytest.raises(KeyError), only_trainer(tmp_path / "new" / "run"):
        raise KeyError
    assert not (tmp_path / "new" / "run").exists()
    (tmp_path / "mine").mkdir()
    with only_trainer(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").exists()


def test_metrics_end_with_the_checkpoint(tmp_path):
    for epoch in (1, 2, 3):
        add_metrics(tmp_path, {"epoch": epoch})
    path = tmp_path / "metrics.jsonl"
    with path.open("a") as file:
        file.write('{"epoch": 4, "train_lo')  # a full disk
    truncate_metrics(tmp_path, lambda line: line["epoch"] <= 9)
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2, 3]
    truncate_metrics(tmp_path, lambda line: line["epoch"] <= 2)
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("damaged", [b'{"epoch" 2}', b'{"eqoch": 2}', b"[2]", b'{"epoch": "2"}', b"\xb2"])
def test_a_damaged_line_of_metrics_is_named(tmp_path, damaged):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"epoch": 1}\n' + damaged + b'\n{"epoch": 3}\n')
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"^{path}:2: "):
        truncate_metrics(tmp_path, lambda line: line["epoch"] <= 9)
    assert path.read_bytes() == before


def test_metrics_are_whole_while_they_are_truncated(tmp_path, monkeypatch):
    add_metrics(tmp_path, {"epoch": 1})
    add_metrics(tmp_path, {"epoch": 2})
    before = (tmp_path / "metrics.jsonl").read_bytes()

    def cut_off(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        truncate_metrics(tmp_path, lambda line: line["epoch"] <= 1)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


def test_a_full_disk_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        add_metrics(tmp_path, {"epoch": 1})
    assert caught.value.filename == str(tmp_path / "metrics.jsonl")
