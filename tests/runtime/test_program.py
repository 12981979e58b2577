"""How a program ends: signals, full disks, and its exit code."""

import argparse
import os
import signal

import pytest
import torch

from ner.errors import DataError, Stopped, TrainingError
from ner.files import add_file_name
from ner.runtime import logs, program
from ner.runtime.program import StopRequest


@pytest.fixture(autouse=True)
def interruptible():
    """Enables Ctrl-C as on a terminal; a process in the background of a shell starts with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def exit_code(main, *, log=None) -> int:
    """Runs `main` as a program with a log."""

    def logging_main(args):
        logs.start_log()
        if log:
            logs.log_to(log)
        main()

    return program.run(logging_main, argparse.ArgumentParser().parse_args, [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_recorded_and_the_second_stops_at_once(tmp_path, capfd, number, code):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]

    def main():
        with StopRequest() as stop:
            assert stop.number == 0
            os.kill(os.getpid(), number)
            assert stop.number == number
            assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
        raise Stopped(stop.number, "saved after step 7")

    assert exit_code(main, log=tmp_path / "log") == code
    assert "stopping after this step; a second signal stops at once" in capfd.readouterr().err
    message = (
        f"stopped by {signal.Signals(number).name}, saved after step 7; --restore_file last continues it\n"
    )
    assert (tmp_path / "log").read_text().endswith(message)
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

    assert exit_code(main_named if named else main) == 2
    where = f"{tmp_path / 'scores.json'}: " if named else ""
    assert capsys.readouterr().err == f"error: {where}No space left on device\n"


def test_a_full_disk_after_a_training_error_is_one_line(tmp_path, capsys):
    (tmp_path / "train.log").symlink_to("/dev/full")

    def main():
        raise TrainingError("the loss is nan")

    assert exit_code(main, log=tmp_path / "train.log") == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("train.log: No space left on device")


@pytest.mark.parametrize("error", [MemoryError("no room"), torch.OutOfMemoryError("no room\nfor this")])
def test_memory_that_ran_out_is_one_line(tmp_path, capsys, error):
    def main():
        raise error

    assert exit_code(main) == 1
    assert capsys.readouterr().err == "error: out of memory: no room\n"


def test_cpu_memory_that_ran_out_is_one_line(tmp_path, capsys):
    assert exit_code(lambda: torch.empty(1 << 60)) == 1
    assert capsys.readouterr().err.startswith("error: out of memory: ")
    with pytest.raises(RuntimeError, match="shape"):
        exit_code(lambda: torch.ones(2).reshape(3))


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--size", "x", "a"], "--size: invalid int value: 'x'"),
        (["--size"], "--size: expected one argument"),
        (["--unit", "byte", "a"], "--unit: invalid choice: 'byte' (choose from 'char', 'word')"),
        (["--sise", "3", "a"], "--sise a: unknown, expected an option of this program"),
        (["--si", "3", "a"], "--si: ambiguous, could match --size, --side"),
        (["--side", "3", "--size", "3", "a"], "--size: not allowed with argument --side"),
        (["--unit", "char"], "--text, input: required"),
        (["--text", "a", "b\nc", "d\ne"], "d\\ne: unknown, expected an option of this program"),
    ],
)
def test_an_error_of_the_command_line_is_one_line(argv, line, capsys):
    def parse(argv):
        parser = program.Parser("Tests.\n\nMore.")
        group = parser.add_mutually_exclusive_group()
        group.add_argument("--size", type=int)
        group.add_argument("--side", type=int)
        parser.add_argument("--unit", choices=["char", "word"])
        parser.add_argument("--text", required="--text" not in argv and "a" not in argv)
        parser.add_argument("input")
        assert parser.description == "Tests."
        return parser.parse_args(argv)

    assert program.run(print, parse, argv) == 2
    ended = capsys.readouterr()
    assert (ended.out, ended.err) == ("", f"error: {line}; --help lists the options\n")


def test_a_file_together_with_a_text_is_refused():
    parser = program.Parser()
    program.add_text_arguments(parser)
    assert program.parse_text_arguments(parser, ["--text", "a"]).text == ["a"]
    with pytest.raises(DataError, match="a file and --text: expected one of them; --help lists"):
        program.parse_text_arguments(parser, ["x.txt", "--text", "a"])
