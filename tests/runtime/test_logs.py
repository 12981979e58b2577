"""The log: on the console at once, in the file from the moment when it may exist."""

import argparse
import logging

import pytest

from ner.runtime import logs, program
from ner.runtime.logs import ProgressBar, log, log_to, start_log


@pytest.fixture(autouse=True)
def stopped():
    """Leaves no handler to other tests."""
    yield
    logs.stop_log()


def messages(path) -> list[str]:
    """The lines of a log file without date and time."""
    return [line.split(" ", 2)[2] for line in path.read_text(encoding="utf-8").splitlines()]


def test_messages_go_to_the_console_and_the_file(tmp_path, capsys):
    start_log()
    log_to(tmp_path / "train.log")
    log.info("实体")
    assert capsys.readouterr().err == "实体\n"
    assert messages(tmp_path / "train.log") == ["实体"]


def test_what_was_logged_before_the_file_opened_is_written_with_its_own_time(tmp_path, capsys, monkeypatch):
    path = tmp_path / "train.log"
    start_log()
    monkeypatch.setattr(logging.time, "time_ns", lambda: 10**18)
    monkeypatch.setattr(logging.time, "time", lambda: 1e9)
    log.info("early")
    monkeypatch.undo()
    assert capsys.readouterr().err == "early\n"
    assert not path.exists()
    path.write_text("2001-01-01 00:00:00,000 an earlier run\n")
    log_to(path)
    log.info("late")
    assert messages(path) == ["an earlier run", "early", "late"]
    assert path.read_text().splitlines()[1][:7] == "2001-09"
    assert path.read_text().splitlines()[2][:4] > "2001"
    assert capsys.readouterr().err == "late\n"  # "early" is not repeated


def test_a_quiet_start_shows_errors_alone_until_the_file_opens(tmp_path, capsys):
    path = tmp_path / "train.log"
    start_log(quiet=True)
    log.info("early")
    log.error("wrong")
    assert capsys.readouterr().err == "wrong\n"
    log_to(path)
    log.info("late")
    assert messages(path) == ["early", "wrong", "late"]
    assert capsys.readouterr().err == "early\nlate\n"  # "wrong" is not repeated


def test_a_new_log_forgets_what_the_last_one_logged(tmp_path):
    start_log()
    log.info("of another run")
    start_log()
    log_to(tmp_path / "train.log")
    log.info("of this run")
    assert messages(tmp_path / "train.log") == ["of this run"]


def test_a_program_that_opens_no_file_keeps_a_bounded_number_of_records(tmp_path):
    start_log()
    for number in range(logs.MAX_BUFFERED + 5):
        log.info(f"{number}")
    assert len(logs.buffer.records) == logs.MAX_BUFFERED
    log_to(tmp_path / "log")
    assert messages(tmp_path / "log")[-1] == f"{logs.MAX_BUFFERED + 4}"
    assert len(messages(tmp_path / "log")) == logs.MAX_BUFFERED
    log.info("after")
    assert not logs.buffer.records


def test_a_log_that_cannot_be_written_is_one_line(tmp_path, capsys):
    (tmp_path / "train.log").symlink_to("/dev/full")

    def main(args):
        start_log()
        log_to(tmp_path / "train.log")
        log.info("a line")

    assert program.run(main, argparse.ArgumentParser().parse_args, []) == 2
    assert capsys.readouterr().err == f"a line\nerror: {tmp_path / 'train.log'}: No space left on device\n"


def test_so_is_one_whose_earlier_messages_cannot_be_written(tmp_path, capsys):
    (tmp_path / "train.log").symlink_to("/dev/full")

    def main(args):
        start_log()
        log.info("a line")
        log_to(tmp_path / "train.log")

    assert program.run(main, argparse.ArgumentParser().parse_args, []) == 2
    assert capsys.readouterr().err == f"a line\nerror: {tmp_path / 'train.log'}: No space left on device\n"


@pytest.mark.parametrize(("n_steps", "expected"), [(49, []), (50, range(5, 51, 5)), (95, range(10, 91, 10))])
def test_without_a_terminal_progress_is_a_line_after_each_tenth(capsys, n_steps, expected):
    start_log()
    with ProgressBar(n_steps, "epoch 1", on_terminal=False) as bar:
        for _ in range(n_steps):
            bar.step(0.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"epoch 1  step {number}/{n_steps}  loss 0.5000" for number in expected]
