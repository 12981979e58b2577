"""Finds possible errors in annotated text: splits that overlap, labels that disagree, suspicious text.

A check returns findings and corrects nothing.  A new check is a function, a line in `CHECKS`, and its
entry in `WORDS` of `report.py`.
"""

from collections.abc import Callable

from ner.data.audit.corpus import Corpus, Finding, corpus_of_build, corpus_of_folder
from ner.data.audit.labels import ambiguous_surfaces, conflicting_texts, illegal_tags, labels_in_one_split
from ner.data.audit.overlap import shared_texts
from ner.data.audit.text import invisible_characters, length_outliers, markup_remains

CHECKS: dict[str, Callable[[Corpus], list[Finding]]] = {
    "shared_texts": shared_texts,
    "conflicting_texts": conflicting_texts,
    "ambiguous_surfaces": ambiguous_surfaces,
    "illegal_tags": illegal_tags,
    "labels_in_one_split": labels_in_one_split,
    "invisible_characters": invisible_characters,
    "markup_remains": markup_remains,
    "length_outliers": length_outliers,
}


def audit(corpus: Corpus) -> dict[str, list[Finding]]:
    """Runs every check; returns its findings by name."""
    return {name: check(corpus) for name, check in CHECKS.items()}


__all__ = ["CHECKS", "Corpus", "Finding", "audit", "corpus_of_build", "corpus_of_folder"]
