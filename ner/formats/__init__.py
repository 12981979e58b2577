"""Readers of annotated text.

`TOKEN_FORMATS[name](path, *, scheme=None, encoding="utf-8") -> Document`: files of tokens with tags.
`TEXT_FORMATS[name](path, *, encoding="utf-8") -> Texts`: texts with spans of characters; `read` cuts them.
A new format is one file with such a function, and one line here; `guess.py` may tell what it looks like.
"""

from pathlib import Path

from ner.corpus import DataError
from ner.formats.cluener import read_cluener
from ner.formats.columns import read_bio, read_conll
from ner.formats.document import Document, IllegalTag
from ner.formats.guess import guess_format
from ner.formats.jsonl import read_jsonl
from ner.formats.texts import NESTED, cut

TOKEN_FORMATS = {
    "bio": read_bio,
    "conll": read_conll,
}
TEXT_FORMATS = {
    "cluener": read_cluener,
    "jsonl": read_jsonl,
}
FORMATS = TOKEN_FORMATS | TEXT_FORMATS


def read(
    path: str | Path,
    name: str | None = None,
    *,
    encoding: str = "utf-8",
    scheme: str | None = None,
    columns: tuple[int, int] | None = None,
    unit: str | None = None,
    nested: str = "refuse",
) -> Document:
    """A file of the format `name`, which is guessed where it is None.

    `scheme` is for files with tags, `columns` for conll, `unit` and `nested` for texts with spans.
    """
    name = name or ("conll" if columns else guess_format(path, encoding=encoding))
    if columns and name != "conll":
        raise DataError(f"{path}: --columns with --format {name}, expected --format conll")
    if scheme and name in TEXT_FORMATS:
        raise DataError(f"{path}: --scheme {scheme} with --format {name}, which has no tags; expected none")
    if name in TEXT_FORMATS:
        document = cut(TEXT_FORMATS[name](path, encoding=encoding), unit=unit, nested=nested)
    else:
        chosen = {"columns": columns} if columns else {}
        document = TOKEN_FORMATS[name](path, scheme=scheme, encoding=encoding, **chosen)
    return document._replace(format=name)


__all__ = ["FORMATS", "NESTED", "TEXT_FORMATS", "TOKEN_FORMATS", "Document", "IllegalTag", "read"]
