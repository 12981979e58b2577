"""The log and the progress bar."""

import contextlib
import logging
import math
import sys
from collections import deque
from pathlib import Path
from typing import ClassVar

from tqdm import tqdm

from ner.files import add_file_name

log = logging.getLogger("ner")

MAX_BUFFERED = 1000  # records; a program that opens no log file keeps the latest ones only
MIN_STEPS_TO_REPORT, REPORTS_AN_EPOCH = 50, 10  # progress lines without a terminal


class LogFile(logging.FileHandler):
    """Appends to a file.  A line that cannot be written raises OSError with the file's name."""

    def handleError(self, record: logging.LogRecord) -> None:
        with add_file_name(Path(self.baseFilename)):
            raise


class RecordBuffer(logging.Handler):
    """Keeps the latest records in memory, until the log file may be opened."""

    records: ClassVar[deque[logging.LogRecord]] = deque(maxlen=MAX_BUFFERED)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


buffer = RecordBuffer()


def start_log(*, quiet: bool = False) -> None:
    """Sends messages to standard error, and keeps them in memory.

    `log_to` writes them to a file later, after the last check of the arguments.  `quiet`: until then standard
    error gets warnings and errors alone.
    """
    stop_log()
    log.setLevel(logging.INFO)
    log.propagate = False
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(logging.Formatter("%(message)s"))
    console.setLevel(logging.WARNING if quiet else logging.NOTSET)
    log.addHandler(console)
    log.addHandler(buffer)


def log_to(path: Path) -> None:
    """Appends the messages since `start_log`, with their times, and all later ones to a file.

    Standard error gets the messages that a quiet start kept back.
    """
    file = LogFile(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    others = [handler for handler in log.handlers if handler is not buffer]
    log.addHandler(file)
    log.removeHandler(buffer)
    while buffer.records:
        record = buffer.records.popleft()
        for handler in (file, *(other for other in others if record.levelno < other.level)):
            handler.handle(record)
    for handler in others:
        handler.setLevel(logging.NOTSET)


def stop_log() -> None:
    """Closes what `start_log` and `log_to` opened, and forgets what no file has taken."""
    buffer.records.clear()
    for handler in list(log.handlers):
        log.removeHandler(handler)
        with contextlib.suppress(OSError):  # every line was flushed, or its error was reported
            handler.close()


class ProgressBar(tqdm):
    """Shows the latest loss on a terminal; elsewhere logs a line after each tenth of an epoch."""

    def __init__(self, n_steps: int, title: str, *, n_done: int = 0, on_terminal: bool):
        super().__init__(total=n_steps, desc=title, leave=False, disable=not on_terminal, initial=n_done)
        self.n_steps, self.title, self.n_done = n_steps, title, n_done

    def step(self, loss: float) -> None:
        """Counts a step and shows its loss."""
        self.n_done += 1
        self.update()
        self.set_postfix(loss=f"{loss:.4f}")
        is_due = self.n_done % math.ceil(self.n_steps / REPORTS_AN_EPOCH) == 0
        if self.disable and is_due and self.n_steps >= MIN_STEPS_TO_REPORT:
            log.info(f"{self.title}  step {self.n_done}/{self.n_steps}  loss {loss:.4f}")
