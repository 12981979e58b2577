"""A sentence and its gold, in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ner.tags import Span

SPLITS = ("train", "val", "test")
UNITS = ("char", "word")


@dataclass(frozen=True, slots=True)
class Sentence:
    """Tokens, and gold by the name of its annotation (`ner.annotations`).

    A missing name means: not annotated.  An empty value means: annotated, and nothing there.
    """

    tokens: tuple[str, ...]
    gold: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def with_spans(cls, tokens: Sequence[str], spans: Sequence[Span] | None = None) -> "Sentence":
        """A sentence annotated with entities; `spans` None: not annotated."""
        return cls(tuple(tokens), {} if spans is None else {"spans": tuple(spans)})

    @property
    def spans(self) -> tuple[Span, ...] | None:
        """The entities; None if the sentence is not annotated."""
        return self.gold.get("spans")


class Split(NamedTuple):
    """A split as read from a folder."""

    sentences: list[Sentence]
    illegal: list[tuple[int, int]]
    "(line, token) of each tag that is illegal under the scheme; lines count from 1, tokens from 0"
