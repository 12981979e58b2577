"""Finds possible errors in annotated text: splits that overlap, labels that disagree, suspicious text.

A check yields findings and corrects nothing.  A new check is a function, a line in `CHECKS`, and its
entry in `WORDS` and `MEANINGS` of `report.py`.
"""

from collections.abc import Callable, Iterable

from ner.data.audit import checks
from ner.data.audit.corpus import Corpus, Finding, corpus_of_build, corpus_of_folder

CHECKS: dict[str, Callable[[Corpus], Iterable[Finding]]] = {
    "shared_texts": checks.shared_texts,
    "conflicting_texts": checks.conflicting_texts,
    "ambiguous_surfaces": checks.ambiguous_surfaces,
    "illegal_tags": checks.illegal_tags,
    "labels_in_one_split": checks.labels_in_one_split,
    "invisible_characters": checks.invisible_characters,
    "markup_remains": checks.markup_remains,
    "links": checks.links,
    "length_outliers": checks.length_outliers,
}


def audit(corpus: Corpus) -> dict[str, list[Finding]]:
    """Runs every check; returns its findings by name."""
    return {name: list(check(corpus)) for name, check in CHECKS.items()}


__all__ = ["CHECKS", "Corpus", "Finding", "audit", "corpus_of_build", "corpus_of_folder"]
