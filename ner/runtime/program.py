"""Where a program's texts come from and go to, and how it ends: exit codes, signals, a line for an error."""

import argparse
import contextlib
import io
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TextIO

import torch
from tqdm import tqdm

from ner.errors import DataError, Stopped, TrainingError
from ner.files import check_output, has_half_pair, whole_file
from ner.runtime.logs import log, stop_log
from ner.tags import SCHEMES

# an error of argparse that does not begin with the option, and what is said in its place
_REWORDED = (
    (r"argument (.+?): (.*)", r"\1: \2"),
    (r"unrecognized arguments: (.*)", r"\1: unknown, expected an option of this program"),
    (r"the following arguments are required: (.*)", r"\1: required"),
    (r"ambiguous option: (\S+) (.*)", r"\1: ambiguous, \2"),
)


class Parser(argparse.ArgumentParser):
    """Parses a command line; an error is a DataError of one line that names the option.

    `description` may be a whole docstring: its first line is shown.
    """

    def __init__(self, description: str | None = None, **options):
        super().__init__(description=(description or "").partition("\n")[0], **options)

    def error(self, message: str) -> NoReturn:
        message = "\\n".join(message.splitlines())
        for pattern, words in _REWORDED:
            message = re.sub(f"^{pattern}$", words, message)
        raise DataError(f"{message}; --help lists the options")


class StopRequest(contextlib.ExitStack):
    """Records the first Ctrl-C or SIGTERM inside `with`, so that the current step can be finished and saved.

    The second one stops at once.  `number` is the signal's number, 0 before it arrives.
    """

    number = 0

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # only this thread may set handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # set by nohup
                    self.callback(signal.signal, number, signal.signal(number, self._record))
        return self

    def _record(self, number: int, frame) -> None:
        self.number = number
        self.close()
        with contextlib.suppress(OSError):  # unbuffered: the signal may have interrupted print
            os.write(2, b"\nstopping after this step; a second signal stops at once\n")


def run(main: Callable, parse_args: Callable, argv: Sequence[str] | None = None) -> int:
    """Runs `main(parse_args(argv))` and returns the exit code.  An error becomes one line on standard error.

    0: success.  1: training cannot continue, or memory ran out.  2: a user's error, or a file that cannot be
    read or written.  128 + its number: a signal stopped the run.
    """
    for stream in (sys.stdout, sys.stderr):  # shows escapes for what the terminal cannot show
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(main, parse_args, argv)
    except BrokenPipeError:  # the reader of a pipe has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename is not None else ""
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
    """True for an out-of-memory error.  Without a GPU torch raises a RuntimeError, known by its text only."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say where texts come from and where answers go."""
    file = "a UTF-8 file, one text a line (default: standard input)"
    parser.add_argument("input", nargs="?", type=Path, help=file)
    parser.add_argument("--text", action="append", help="read this text instead; may be given again")
    parser.add_argument("--output", type=Path, help="write here (default: standard output)")


def add_tag_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what the tags of a published tagger mean."""
    scheme = "scheme of the model's tags (default: the model's, else guessed from their names)"
    parser.add_argument("--scheme", choices=SCHEMES, help=scheme)
    names = "names of the model's classes in their order, such as O B-PER I-PER; or of its only class"
    parser.add_argument("--label_names", nargs="+", metavar="NAME", help=names)


def parse_text_arguments(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    """Parses a command line with the options above; a file together with --text is an error."""
    args = parser.parse_args(argv)
    if args.input is not None and args.text is not None:
        parser.error("a file and --text: expected one of them")
    return args


def check_texts(path: Path | None, texts: Iterable[str] | None, output: Path | None = None) -> None:
    """DataError if the file does not exist or is the output, or a text of the command line is not UTF-8."""
    if texts is None:
        check_output(output, [path or "/dev/stdin"])
    if path is not None and not path.exists():
        raise DataError(f"{path}: no such file")
    for text in texts or ():
        if has_half_pair(text):
            raise DataError(f"--text: not utf-8, got {text!a}")


def read_texts(path: Path | None, texts: Iterable[str] | None) -> Iterator[str]:
    """The texts of the command line, or else the lines of a file or of standard input.

    LF or CRLF ends a line; spaces are kept.  Byte order marks at the beginning of lines are skipped, which is
    logged once.  On a terminal a progress bar shows how much has been read.
    """
    if texts is not None:
        yield from texts
        return
    file = sys.stdin.buffer if path is None else path.open("rb")
    size = 0 if path is None else path.stat().st_size
    where, has_mark = path or "standard input", False
    hidden = path is None or not sys.stderr.isatty()
    with file, tqdm(total=size, unit="B", unit_scale=True, leave=False, disable=hidden) as bar:
        for number, line in enumerate(file, start=1):
            bar.update(len(line))
            try:
                text = line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
            except UnicodeDecodeError as error:
                got = line[error.start : error.start + 1].hex()
                raise DataError(f"{where}:{number}: not utf-8, got byte {got}") from None
            if text.startswith("\ufeff") and not has_mark:
                has_mark = True
                log.info(f"{where}:{number}: a byte order mark at the beginning of a line is skipped")
            yield text.removeprefix("\ufeff")


def write_output(path: Path | None, write: Callable[[TextIO], None]) -> None:
    """Calls `write` with the file to write to: standard output if `path` is None."""
    if path is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        write(sys.stdout)
        return
    with whole_file(path) as file:
        write(file)
    log.info(f"written to {path}")
