"""Readers of annotated text.

`TOKEN_FORMATS[name](path, *, scheme=None) -> Document`: files of tokens with tags.
`TEXT_FORMATS[name](path) -> Texts`: files of texts with spans of characters; `read` cuts them.
A new format is one file with such a function, and one line here.
"""

from pathlib import Path

from ner.corpus import DataError
from ner.formats.cluener import read_cluener
from ner.formats.columns import read_bio, read_conll
from ner.formats.document import Document, IllegalTag
from ner.formats.texts import NESTED, cut

TOKEN_FORMATS = {
    "bio": read_bio,
    "conll": read_conll,
}
TEXT_FORMATS = {
    "cluener": read_cluener,
}
FORMATS = TOKEN_FORMATS | TEXT_FORMATS


def read(
    path: str | Path,
    name: str,
    *,
    scheme: str | None = None,
    unit: str | None = None,
    nested: str = "refuse",
) -> Document:
    """A file of the format `name`; `scheme` is for files with tags, `unit` and `nested` for the others."""
    if name in TOKEN_FORMATS:
        return TOKEN_FORMATS[name](path, scheme=scheme)
    if scheme is not None:
        raise DataError(f"--scheme {scheme}: --format {name} has no tags, expected none")
    return cut(TEXT_FORMATS[name](path), unit=unit, nested=nested)


__all__ = ["FORMATS", "NESTED", "TEXT_FORMATS", "TOKEN_FORMATS", "Document", "IllegalTag", "read"]
