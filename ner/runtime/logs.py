"""The log and the progress bar."""

import contextlib
import logging
import math
import sys
from pathlib import Path

from tqdm import tqdm

from ner.files import add_file_name

log = logging.getLogger("ner")


class LogFile(logging.FileHandler):
    """A line that cannot be written is an error like any other, not a traceback among the messages."""

    def handleError(self, record: logging.LogRecord) -> None:
        with add_file_name(Path(self.baseFilename)):
            raise


def start_log(path: Path | None = None) -> logging.Logger:
    """Messages go to standard error as they are, and with the time to the end of the file."""
    log.setLevel(logging.INFO)
    log.propagate = False
    stop_log()
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(console)
    if path is not None:
        file = LogFile(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(file)
    return log


def stop_log() -> None:
    """Closes what `start_log` opened."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        with contextlib.suppress(OSError):  # every line was flushed, or its error told
            handler.close()


class ProgressBar:
    """tqdm with a running loss on a terminal; elsewhere a plain line at each tenth of the epoch."""

    def __init__(self, n_steps: int, title: str, on_terminal: bool):
        self.n_steps, self.title, self.on_terminal = n_steps, title, on_terminal
        self.n_done = 0
        self.bar: tqdm | None = None

    def __enter__(self) -> "ProgressBar":
        if self.on_terminal:
            self.bar = tqdm(total=self.n_steps, desc=self.title, leave=False)
        return self

    def __exit__(self, *exception) -> None:
        if self.bar is not None:
            self.bar.close()

    def start(self, n_done: int) -> None:
        """Steps that an earlier run took."""
        self.n_done = n_done
        if self.bar is not None:
            self.bar.update(n_done)

    def step(self, loss: float) -> None:
        self.n_done += 1
        if self.bar is not None:
            self.bar.update()
            self.bar.set_postfix(loss=f"{loss:.4f}")
        elif self.n_steps >= 50 and self.n_done % math.ceil(self.n_steps / 10) == 0:
            log.info(f"{self.title}  step {self.n_done}/{self.n_steps}  loss {loss:.4f}")
