"""Readers of annotated text: `FORMATS[name](path, *, scheme=None) -> Document`.

A new format is one file with such a function, and one line here.
"""

from ner.formats.columns import read_bio, read_conll
from ner.formats.document import Document, IllegalTag

FORMATS = {
    "bio": read_bio,
    "conll": read_conll,
}

__all__ = ["FORMATS", "Document", "IllegalTag"]
