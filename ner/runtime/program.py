"""How a program ends: exit codes, signals, one line for an error."""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import torch

from ner.errors import DataError, Stopped, TrainingError
from ner.runtime.logs import log, stop_log


class StopRequest:
    """Notes the first Ctrl-C or SIGTERM inside `with`, so that the step under way can be finished and saved.

    The second one stops at once.  `number` is 0 until there was one.
    """

    def __init__(self):
        self.number = 0
        self._before: dict = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, frame) -> None:
        self.number = number
        self.__exit__()
        with contextlib.suppress(OSError):  # written as it is: the signal may have come inside print
            os.write(2, b"\nstopping after this step; once more stops at once\n")


def run(main: Callable, parse_args: Callable, argv: Sequence[str] | None = None) -> int:
    """Runs a program: 0 when it ends well; after one line on standard error 2 for a user's error, a file
    that cannot be read or written included, 1 for training that cannot go on, 128 + its number for a
    signal that stopped a run.  Memory that ran out is of the second kind."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character shows its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(main, parse_args, argv)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    finally:
        stop_log()


def _run(main: Callable, parse_args: Callable, argv: Sequence[str] | None) -> int:
    try:
        main(parse_args(argv))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TrainingError as error:
        log.error(f"error: {error}")
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        log.error(f"error: out of memory: {str(error).partition(chr(10))[0]}")
        return 1
    except Stopped as stopped:
        log.info(str(stopped))
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out; of the machine's own torch says so in words alone."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
