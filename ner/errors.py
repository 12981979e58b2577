"""Errors that end a program with one line for the user."""

import signal


class DataError(ValueError):
    """A user's file or option is wrong.  The message is one line: `file:line: what, got, expected`."""


class TrainingError(RuntimeError):
    """Training cannot continue.  The message is one line that says where and why."""


class Stopped(Exception):
    """A signal ended a run after its state was saved.  The message is one line."""

    def __init__(self, number: int, where: str):
        super().__init__(
            f"stopped by {signal.Signals(number).name}, {where}; --restore_file last continues it"
        )
        self.number = number
