"""Readers and writers of annotated text.

`TOKEN_FORMATS[name](path, *, scheme=None, encoding="utf-8") -> Document`: files of tokens with tags.
`TEXT_FORMATS[name](path, *, encoding="utf-8") -> Texts`: texts with spans of characters; `read` cuts them.
`WRITERS[name](path, Document or Texts)`: as the format takes tokens or texts.
A new format is one file with such functions, and a line each here; `guess.py` may tell what it looks like.
"""

from functools import partial
from pathlib import Path

from ner.data.formats.brat import read_brat, write_brat
from ner.data.formats.cluener import read_cluener
from ner.data.formats.columns import read_bio, read_conll, write_columns
from ner.data.formats.cut import cut, join
from ner.data.formats.document import Document, IllegalTag
from ner.data.formats.guess import guess_format
from ner.data.formats.jsonl import read_jsonl, write_jsonl
from ner.data.formats.labelstudio import read_labelstudio
from ner.data.formats.texts import Texts, checked, flat, split_lines
from ner.errors import DataError

TOKEN_FORMATS = {
    "bio": read_bio,
    "conll": read_conll,
}
TEXT_FORMATS = {
    "cluener": read_cluener,
    "jsonl": read_jsonl,
    "labelstudio": read_labelstudio,
    "brat": read_brat,
}
FORMATS = TOKEN_FORMATS | TEXT_FORMATS
TOKEN_WRITERS = {
    "bio": partial(write_columns, scheme="BIO"),
    "bioes": partial(write_columns, scheme="BIOES"),
}
TEXT_WRITERS = {
    "jsonl": write_jsonl,
    "brat": write_brat,
}
WRITERS = TOKEN_WRITERS | TEXT_WRITERS


def format_of(
    path: str | Path, name: str | None, *, encoding: str = "utf-8", columns: tuple[int, int] | None = None
) -> str:
    """`name`, or the guess where it is None."""
    return name or ("conll" if columns else guess_format(path, encoding=encoding))


def load(
    path: str | Path,
    name: str,
    *,
    encoding: str = "utf-8",
    scheme: str | None = None,
    columns: tuple[int, int] | None = None,
    by_line: bool = False,
    keep_longest: bool | None = False,
    drop_invalid: bool = False,
) -> Document | Texts:
    """A file of the format `name`, its texts uncut but checked.

    `scheme` is for files with tags, `columns` for conll, and what follows for texts with spans: whether
    every line is a text, the longest of entities that overlap is kept, and those that fit nowhere are left
    out.  DataError where entities overlap unless `keep_longest` is True; None keeps them all.
    """
    if columns and name != "conll":
        raise DataError(f"{path}: --columns with --format {name}, expected --format conll")
    if scheme and name in TEXT_FORMATS:
        raise DataError(f"{path}: --scheme {scheme} with --format {name}, which has no tags; expected none")
    if name in TOKEN_FORMATS:
        chosen = {"columns": columns} if columns else {}
        return TOKEN_FORMATS[name](path, scheme=scheme, encoding=encoding, **chosen)._replace(format=name)
    source = checked(TEXT_FORMATS[name](path, encoding=encoding), drop_invalid=drop_invalid)
    if by_line:
        source = split_lines(source, drop_invalid=drop_invalid)
    return source if keep_longest is None else flat(source, keep_longest=keep_longest)


def read(path: str | Path, name: str | None = None, *, unit: str | None = None, **options) -> Document:
    """The same as sentences of tokens, texts cut into `unit`; a `name` of None is guessed."""
    encoding, columns = options.get("encoding", "utf-8"), options.get("columns")
    name = format_of(path, name, encoding=encoding, columns=columns)
    source = load(path, name, **options)
    if isinstance(source, Document):
        return source
    return cut(source, unit=unit, drop_invalid=options.get("drop_invalid", False))._replace(format=name)


__all__ = [
    "FORMATS",
    "TEXT_FORMATS",
    "TEXT_WRITERS",
    "TOKEN_FORMATS",
    "TOKEN_WRITERS",
    "WRITERS",
    "Document",
    "IllegalTag",
    "Texts",
    "checked",
    "cut",
    "flat",
    "format_of",
    "join",
    "load",
    "read",
]
