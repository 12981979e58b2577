"""How a program ends: signals, full disks, what its exit code says."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ner.errors import Stopped, TrainingError
from ner.files import add_file_name
from ner.runtime import logs, program
from ner.runtime.program import StopRequest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C as on a terminal: a process that a shell has put behind starts with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def end_of(main, tmp_path, *, log=None) -> int:
    def logging_main(args):
        logs.start_log(log)
        main()

    return program.run(logging_main, argparse.ArgumentParser().parse_args, [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_noted_and_the_second_obeyed(tmp_path, capfd, number, code):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    def main():
        with StopRequest() as stop:
            assert stop.number == 0
            os.kill(os.getpid(), number)
            assert stop.number == number
            assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
        raise Stopped(stop.number, "saved after step 7")

    assert end_of(main, tmp_path, log=tmp_path / "log") == code
    assert "stopping after this step; once more stops at once" in capfd.readouterr().err
    said = f"stopped by {signal.Signals(number).name}, saved after step 7; --restore_file last goes on\n"
    assert (tmp_path / "log").read_text().endswith(said)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.number == 0
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("named", [True, False])
def test_a_full_disk_is_one_line(tmp_path, capsys, named):
    def main():
        with open("/dev/full", "w") as file:
            file.write("x")

    def main_named():
        with add_file_name(tmp_path / "scores.json"):
            main()

    assert end_of(main_named if named else main, tmp_path) == 2
    where = f"{tmp_path / 'scores.json'}: " if named else ""
    assert capsys.readouterr().err == f"error: {where}No space left on device\n"


def test_so_is_one_after_training_has_ended_badly(tmp_path, capsys):
    (tmp_path / "train.log").symlink_to("/dev/full")

    def main():
        raise TrainingError("the loss is nan")

    assert end_of(main, tmp_path, log=tmp_path / "train.log") == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("train.log: No space left on device")


@pytest.mark.parametrize("error", [MemoryError("no room"), torch.OutOfMemoryError("no room\nfor this")])
def test_memory_that_ran_out_is_one_line(tmp_path, capsys, error):
    def main():
        raise error

    assert end_of(main, tmp_path) == 1
    assert capsys.readouterr().err == "error: out of memory: no room\n"


def test_so_is_that_of_the_machine(tmp_path, capsys):
    assert end_of(lambda: torch.empty(1 << 60), tmp_path) == 1
    assert capsys.readouterr().err.startswith("error: out of memory: ")
    with pytest.raises(RuntimeError, match="shape"):
        end_of(lambda: torch.ones(2).reshape(3), tmp_path)


SHAPES_GO_BY = """
import sys, torch
from ner.runtime import devices
if sys.argv[1] == "bounded":
    devices.bound_kernels()
torch.set_num_threads(1)
weight = torch.randn(64, 64, dtype=torch.bfloat16)
held = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]) // 1024
with torch.no_grad():
    for rows in range(1, 1501):
        torch.nn.functional.linear(torch.ones(rows, 64, dtype=torch.bfloat16), weight)
        if rows == 1:
            before = held()
print(held() - before)
"""


@pytest.mark.slow
def test_shapes_that_go_by_leave_little_behind():
    def megabytes(how):
        command = [sys.executable, "-c", SHAPES_GO_BY, how]
        environment = {k: v for k, v in os.environ.items() if not k.endswith("CACHE_CAPACITY")}
        ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
        return int(ended.stdout)

    left = megabytes("unbounded")
    if left < 100:
        pytest.skip(f"here {left} MB are kept of 1,500 shapes, by other kernels than oneDNN's")
    assert megabytes("bounded") < 0.6 * left
