"""Kinds of gold.  A new one is a file with an `Annotation`, and a line here."""

from ner.annotations.base import Annotation, Answer, Scores
from ner.annotations.spans import Spans

ANNOTATIONS: dict[str, Annotation] = {kind.name: kind for kind in (Spans(),)}

__all__ = ["ANNOTATIONS", "Annotation", "Answer", "Scores"]
