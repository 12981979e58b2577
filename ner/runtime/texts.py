"""Raw texts from the command line, a file or standard input, and where their answers go."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from ner.errors import DataError
from ner.files import whole_file
from ner.runtime.logs import log


def add_text_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say where texts come from and where answers go."""
    file = "a UTF-8 file, one text a line (default: standard input)"
    parser.add_argument("input", nargs="?", type=Path, help=file)
    parser.add_argument("--text", action="append", help="read this text instead; may be given again")
    parser.add_argument("--output", type=Path, help="write here (default: standard output)")


def check_texts(path: Path | None, texts: Iterable[str] | None) -> None:
    """DataError if the file does not exist or a text of the command line is not UTF-8."""
    if path is not None and not path.exists():
        raise DataError(f"{path}: no such file")
    for text in texts or ():
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"--text: not utf-8, got {text!a}")


def read_texts(path: Path | None, texts: Iterable[str] | None) -> Iterator[str]:
    """The texts of the command line, or else the lines of a file or of standard input.

    LF or CRLF ends a line; spaces are kept.  On a terminal a progress bar shows how much has been read.
    """
    if texts is not None:
        yield from texts
        return
    file = sys.stdin.buffer if path is None else path.open("rb")
    size = 0 if path is None else path.stat().st_size
    hidden = path is None or not sys.stderr.isatty()
    with file, tqdm(total=size, unit="B", unit_scale=True, leave=False, disable=hidden) as bar:
        for number, line in enumerate(file, start=1):
            bar.update(len(line))
            try:
                yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
            except UnicodeDecodeError as error:
                got = line[error.start : error.start + 1].hex()
                raise DataError(f"{path or 'standard input'}:{number}: not utf-8, got byte {got}") from None


def write_output(path: Path | None, write: Callable[[TextIO], None]) -> None:
    """Calls `write` with the file to write to: standard output if `path` is None."""
    if path is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        write(sys.stdout)
        return
    with whole_file(path) as file:
        write(file)
    log.info(f"written to {path}")
