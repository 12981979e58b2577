"""What a format is, and the options for reading a file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from ner.data.formats.document import Document
from ner.data.formats.texts import Texts


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Options for reading an annotated file."""

    encoding: str = "utf-8"
    scheme: str | None = None
    """scheme of the tags, a name in `ner.tags.SCHEMES`; None: guessed from their prefixes"""
    columns: tuple[int, int] | None = None
    """columns of token and tag, counted from 1, or from -1 for the last; only for conll"""
    split_lines: bool = False
    """texts with spans: every line becomes a text"""
    overlaps: Literal["keep", "refuse", "keep_longest"] = "refuse"
    """texts with spans: what happens to entities that overlap"""
    drop_invalid: bool = False
    """texts with spans: drop and list entities that cannot be used, instead of DataError"""


DEFAULTS = Reading()


class Format(NamedTuple):
    """A file format of annotated text.

    `holds` says what the files contain: `tokens` with a tag each (a Document), or `texts` with spans of
    characters (Texts).  `reader(path, reading)` returns it and `writer(path, it)` writes it.
    `looks_like(path, text)` is True if a file with this text may be of the format; a folder's text is empty.
    """

    holds: Literal["tokens", "texts"]
    reader: Callable[[str | Path, Reading], Document | Texts]
    looks_like: Callable[[Path, str], bool]
    writer: Callable[[str | Path, Document | Texts], None] | None = None
