"""A sentence and its gold, in memory."""

import re
from typing import NamedTuple

from ner.tags import Span

SPLITS = ("train", "val", "test")
UNITS = ("char", "word")


class Sentence(NamedTuple):
    """`spans` is None where the sentence is not annotated, and empty where it holds no entity."""

    tokens: tuple[str, ...]
    spans: tuple[Span, ...] | None


class Split(NamedTuple):
    """A split as read; `illegal` lists (line from 1, token from 0) of tags that are no legal start."""

    sentences: list[Sentence]
    illegal: list[tuple[int, int]]

    @property
    def annotated(self) -> bool:
        return all(sentence.spans is not None for sentence in self.sentences)

    @property
    def n_entities(self) -> int:
        return sum(len(sentence.spans or ()) for sentence in self.sentences)

    @property
    def labels(self) -> set[str]:
        return {span.label for sentence in self.sentences for span in sentence.spans or ()}


def escape(token: str) -> str:
    r"""A token as it stands in `sentences.txt`: white space and U+FEFF as \uXXXX, a backslash doubled.

    U+FEFF would be taken for a byte order mark at the start of the file.
    """
    if token.isprintable() and "\\" not in token and " " not in token:
        return token
    return re.sub(
        r"[\s\x1c-\x1f\x85\ufeff\\]", lambda m: "\\\\" if m[0] == "\\" else f"\\u{ord(m[0]):04x}", token
    )


def unescape(text: str) -> str:
    r"""The inverse of `escape`; a backslash that begins no escape stands for itself."""
    if "\\" not in text:
        return text
    return re.sub(r"\\(\\|u[0-9a-f]{4})", lambda m: "\\" if m[1] == "\\" else chr(int(m[1][1:], 16)), text)
