"""What every reader returns, and the decoded content of a file with notes about its oddities."""

import codecs
import hashlib
from pathlib import Path
from typing import NamedTuple

from ner.data.formats.encodings import likely_encoding
from ner.data.sentence import Sentence
from ner.data.wording import count_noun
from ner.errors import DataError
from ner.files import read_bytes, undecodable


class IllegalTag(NamedTuple):
    """A gold tag that its scheme forbids at this position; `line` counts the lines of the file from 1."""

    line: int
    tag: str


class Document(NamedTuple):
    """An annotated file as sentences of tokens.

    path: the file, or the folder of a brat collection.
    first_lines: line, from 1, on which each sentence starts.
    illegal: tags that are illegal under the scheme.
    notes: sentences for the user about what was guessed or skipped.
    sha256: hex digest of the file's bytes.
    scheme: scheme under which the tags were read; None if the file has no tags.
    unit: unit of the tokens if the reader split a text into them; None if the file itself has tokens.
    left_out: entities that were dropped on request, each as `file:line: problem`.
    format: a name in `FORMATS`.
    files: the file that holds each sentence; empty if that is `path` for all.
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
    format: str = ""
    files: tuple[Path, ...] = ()

    @property
    def annotated(self) -> bool:
        return self.sentences[0].spans is not None

    def place(self, row: int) -> str:
        """`file:line` where a sentence starts; the file of a folder is named with the folder."""
        file = self.files[row] if self.files else self.path
        return f"{file.relative_to(self.path.parent)}:{self.first_lines[row]}"


class Content(NamedTuple):
    """The text of a file; notes and sha256 as in `Document`."""

    text: str
    notes: list[str]
    sha256: str


class Lines(NamedTuple):
    """The lines of a file without their line ends; notes and sha256 as in `Document`."""

    lines: list[str]
    notes: list[str]
    sha256: str


def read_content(path: str | Path, encoding: str = "utf-8", *, exact: bool = False) -> Content:
    """Decodes a whole file.

    DataError if the file is empty or not in this encoding; the message suggests a likely encoding.
    `exact` allows an empty file and keeps a byte order mark as a character.
    """
    data = read_bytes(path)
    notes = []
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        likely = likely_encoding(data)
        remedy = f"; --encoding {likely} may be right" if likely else "; --encoding names another"
        raise DataError(undecodable(path, error) + remedy) from None
    except (LookupError, UnicodeError):
        raise DataError(f"--encoding {encoding}: no such encoding, expected one such as gb18030") from None
    if not data.isascii() and codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig") and _is_utf8(data):
        notes.append(f"read as {encoding}, though the bytes are UTF-8 too")
    if not text and not exact:
        raise DataError(f"{path}: empty, expected annotated text")
    if text.startswith("\ufeff") and not exact:
        text = text.removeprefix("\ufeff")
        notes.append("a byte order mark was skipped")
    if not exact and (n_inside := text.count("\ufeff")):  # several files were joined into one
        line = text.count("\n", 0, text.index("\ufeff")) + 1
        more = f" and {n_inside - 1:,} more" if n_inside > 1 else ""
        notes.append(f"{count_noun(n_inside, 'byte order mark')} inside, kept: line {line}{more}")
    return Content(text, notes, hashlib.sha256(data).hexdigest())


def _is_utf8(data: bytes) -> bool:
    try:
        return bool(data.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def read_content_lines(path: str | Path, encoding: str = "utf-8") -> Lines:
    r"""Decodes a file and splits it at `\n` and `\r\n` only; DataError as in `read_content`."""
    text, notes, sha256 = read_content(path, encoding)
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    elif text:
        notes.append("no newline at the end")
    n_crlf = text.count("\r\n") + text.endswith("\r")
    if n_crlf:
        lines = [line.removesuffix("\r") for line in lines]
        notes.append(f"CRLF line ends in {n_crlf:,} of {count_noun(len(lines), 'line')}")
    return Lines(lines, notes, sha256)
