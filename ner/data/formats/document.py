"""What every reader returns, and the text of a file, with what is odd about it."""

import codecs
import hashlib
from pathlib import Path
from typing import NamedTuple

from ner.data.formats.encodings import likely_encoding
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.files import read_bytes, undecodable


class IllegalTag(NamedTuple):
    """A gold tag that may not stand where it does; `line` is the line of the file, from 1."""

    line: int
    tag: str


class Document(NamedTuple):
    """A file as read.  `first_lines[i]` is the line, from 1, on which `sentences[i]` starts; `files[i]` is
    the file that has this line, where it is not `path`.

    `scheme` is the one the tags were read under, None where the file has no tags; `notes` are plain
    sentences about what was understood or skipped; `sha256` is that of the file's bytes.  `unit` is what
    the reader cut the text into, None where the file has the tokens; `left_out` lists the entities that
    were left out because they were asked to be, each with file and line; `format` is a name in `FORMATS`.
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
        """`file:line`, where a sentence starts; a file of a folder is named with the folder."""
        file = self.files[row] if self.files else self.path
        return f"{file.relative_to(self.path.parent)}:{self.first_lines[row]}"


class Content(NamedTuple):
    """The text of a file, and the notes and sha256 of a `Document`."""

    text: str
    notes: list[str]
    sha256: str


class Lines(NamedTuple):
    """The lines of a file without their ends, and the notes and sha256 of a `Document`."""

    lines: list[str]
    notes: list[str]
    sha256: str


def count_of(n: int, singular: str, plural: str | None = None) -> str:
    """`1 line`, `2,000 lines`."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def read_content(path: str | Path, encoding: str = "utf-8", *, exact: bool = False) -> Content:
    """The whole file; DataError where it is empty or in another encoding, which is named if it shows.

    `exact`: it may be empty, and a byte order mark is a character of it.
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
    if not exact and (n_inside := text.count("\ufeff")):  # files that were joined
        line = text.count("\n", 0, text.index("\ufeff")) + 1
        more = f" and {n_inside - 1:,} more" if n_inside > 1 else ""
        notes.append(f"{count_of(n_inside, 'byte order mark')} inside, kept: line {line}{more}")
    return Content(text, notes, hashlib.sha256(data).hexdigest())


def _is_utf8(data: bytes) -> bool:
    try:
        return bool(data.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def read_lines(path: str | Path, encoding: str = "utf-8") -> Lines:
    r"""Lines ended by `\n` or `\r\n` and by nothing else; DataError as in `read_content`."""
    text, notes, sha256 = read_content(path, encoding)
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    elif text:
        notes.append("no newline at the end")
    n_crlf = text.count("\r\n") + text.endswith("\r")
    if n_crlf:
        lines = [line.removesuffix("\r") for line in lines]
        notes.append(f"CRLF line ends in {n_crlf:,} of {count_of(len(lines), 'line')}")
    return Lines(lines, notes, sha256)
