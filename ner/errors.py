"""Errors that end a program in one line."""

import signal


class DataError(ValueError):
    """A user's file is not what was expected.  One line: `file:line: what, got, expected`."""


class TrainingError(RuntimeError):
    """Training cannot go on.  One line that says where and why."""


class Stopped(Exception):
    """A signal asked for the end of a run, and what it had done is saved.  One line that says so."""

    def __init__(self, number: int, where: str):
        super().__init__(f"stopped by {signal.Signals(number).name}, {where}; --restore_file last goes on")
        self.number = number
