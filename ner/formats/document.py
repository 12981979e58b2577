"""What every reader returns, and the lines of a text file, with what is odd about them."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from ner.corpus import DataError, Sentence, read_text


class IllegalTag(NamedTuple):
    """A gold tag that may not stand where it does; `line` is the line of the file, from 1."""

    line: int
    tag: str


class Document(NamedTuple):
    """A file as read.  `first_lines[i]` is the line, from 1, on which `sentences[i]` starts.

    `scheme` is the one the tags were read under, None where the file has no tags; `notes` are plain
    sentences about what was understood or skipped; `sha256` is that of the file's bytes.  `unit` is what
    the reader cut the text into, None where the file has the tokens; `left_out` lists the entities that
    were left out because they were asked to be, each with file and line.
    """

    path: Path
    sentences: list[Sentence]
    first_lines: list[int]
    illegal: list[IllegalTag]
    notes: list[str]
    sha256: str
    scheme: str | None
    unit: str | None = None
    left_out: tuple[str, ...] = ()

    @property
    def annotated(self) -> bool:
        return self.sentences[0].spans is not None


class Lines(NamedTuple):
    """The lines of a file without their ends, and the notes and sha256 of a `Document`."""

    lines: list[str]
    notes: list[str]
    sha256: str


def count_of(n: int, singular: str, plural: str | None = None) -> str:
    """`1 line`, `2,000 lines`."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def read_lines(path: str | Path) -> Lines:
    r"""Reads UTF-8 lines ended by `\n` or `\r\n` and by nothing else; DataError where the file is empty."""
    text = read_text(path)
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    notes = []
    if text.startswith("\ufeff"):
        text = text.removeprefix("\ufeff")
        notes.append("a byte order mark was skipped")
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    elif text:
        notes.append("no newline at the end")
    if not lines:
        raise DataError(f"{path}: empty, expected annotated text")
    n_crlf = text.count("\r\n") + text.endswith("\r")
    if n_crlf:
        lines = [line.removesuffix("\r") for line in lines]
        notes.append(f"CRLF line ends in {n_crlf:,} of {count_of(len(lines), 'line')}")
    return Lines(lines, notes, sha256)
