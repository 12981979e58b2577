"""Counts and findings of a built data set, for `dataset.json` and for the user."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from ner.data.formats import Document
from ner.data.sentence import SPLITS, Sentence
from ner.data.wording import align_columns, count_noun
from ner.tags import n_overlapping

OVERLAPPING = "only head global_pointer finds them (--nested keep_longest builds a set for every head)"
N_LISTED = 10  # illegal tags, or dropped entities, that are printed; dataset.json lists all


class Part(NamedTuple):
    """A split as rows of the document from which it is taken."""

    source: str
    rows: Sequence[int]


def describe(
    documents: dict[str, Document], parts: dict[str, Part], splits: dict[str, list[Sentence]]
) -> dict:
    """The keys of `dataset.json` that follow from the files."""
    counts = {name: _counts(sentences) for name, sentences in splits.items()}
    for name, part in parts.items():
        illegal = _illegal_by_row(documents[part.source])
        counts[name]["illegal_gold"] = sum(illegal[row] for row in part.rows)
    labels = list(counts["train"]["entities"])
    missing = {name: _missing(split["entities"], labels) for name, split in counts.items()}
    texts = {name: {sentence.tokens for sentence in sentences} for name, sentences in splits.items()}
    in_order = {name: documents[name] for name in SPLITS if name in documents}
    return {
        "sources": {
            name: {
                "file": document.path.name,
                "sha256": document.sha256,
                "format": document.format,
                "scheme": document.scheme,
            }
            for name, document in in_order.items()
        },
        "labels": labels,
        "splits": counts,
        "shared_texts": {f"{a} & {b}": len(texts[a] & texts[b]) for a, b in combinations(splits, 2)},
        "labels_missing_in_train": {name: found for name, found in missing.items() if found},
        "illegal_gold": {
            name: [f"{document.path.name}:{line}: {tag}" for line, tag in document.illegal]
            for name, document in in_order.items()
            if document.illegal
        },
        "left_out": {
            name: list(document.left_out) for name, document in in_order.items() if document.left_out
        },
        "notes": {name: document.notes for name, document in in_order.items() if document.notes},
    }


def _missing(entities: dict[str, int] | None, labels: list[str]) -> dict[str, int]:
    return {label: n for label, n in (entities or {}).items() if label not in labels}


def _illegal_by_row(document: Document) -> Counter[int]:
    return Counter(bisect_right(document.first_lines, line) - 1 for line, _ in document.illegal)


def _counts(sentences: list[Sentence]) -> dict:
    lengths = sorted(len(sentence.tokens) for sentence in sentences)
    annotated = sentences[0].spans is not None
    entities = Counter(span.label for sentence in sentences for span in sentence.spans or ())
    return {
        "sentences": len(sentences),
        "tokens": sum(lengths),
        "entities": dict(sorted(entities.items())) if annotated else None,
        "overlapping": sum(n_overlapping(s.spans) for s in sentences) if annotated else None,
        "without_entity": sum(not sentence.spans for sentence in sentences) if annotated else None,
        "length": {"p50": percentile(lengths, 50), "p95": percentile(lengths, 95), "max": lengths[-1]},
        "duplicate_texts": len(sentences) - len({sentence.tokens for sentence in sentences}),
    }


def percentile(ordered: list[int], percent: int) -> int:
    """Nearest rank: the smallest value that at least `percent` % of the sorted values do not exceed."""
    return ordered[-(-percent * len(ordered) // 100) - 1]


def findings(facts: dict) -> list[str]:
    """What a user should know before training, one finding a line."""
    lines = list(facts["choices"])
    for name, notes in facts["notes"].items():
        lines += [f"{facts['sources'][name]['file']}: {note}" for note in notes]
    for name, illegal in facts["illegal_gold"].items():
        file = facts["sources"][name]["file"]
        lines.append(f"{file}: {count_noun(len(illegal), 'illegal tag')}, read leniently (--strict refuses)")
        lines += _indent_first(illegal)
    for name, entities in facts["left_out"].items():
        file = facts["sources"][name]["file"]
        lines.append(f"{file}: {count_noun(len(entities), 'entity', 'entities')} left out, as asked")
        lines += _indent_first(entities)
    for name, split in facts["splits"].items():
        if split["entities"] is None:
            lines.append(f"{name}: not annotated; predict.py tags it, evaluate.py refuses it")
        elif not split["entities"]:
            lines.append(f"{name}: annotated, but without a single entity")
        if n := split["overlapping"]:
            n_entities = count_noun(_total(split["entities"]), "entity", "entities")
            lines.append(f"{name}: {n:,} of its {n_entities} overlap others; {OVERLAPPING}")
    for name, missing in facts["labels_missing_in_train"].items():
        for label, n in missing.items():
            lines.append(f"{name}: label {label} is not in train; {n:,} of its entities count as missed gold")
    return lines


def _indent_first(items: list[str]) -> list[str]:
    """The first items as indented lines, and the number of the others."""
    lines = [f"  {item}" for item in items[:N_LISTED]]
    if len(items) > N_LISTED:
        lines.append(f"  and {len(items) - N_LISTED:,} more, listed in dataset.json")
    return lines


def count_table(facts: dict) -> str:
    """The counts of `dataset.json` as text, one column a split."""
    splits = facts["splits"]
    labels = sorted({label for split in splits.values() for label in split["entities"] or ()})
    rows: list[tuple[str, list[int | None]]] = [
        ("sentences", [split["sentences"] for split in splits.values()]),
        ("tokens", [split["tokens"] for split in splits.values()]),
        ("entities", [_total(split["entities"]) for split in splits.values()]),
    ]
    for label in labels:
        rows.append((f"  {label}", [_n_of_label(split["entities"], label) for split in splits.values()]))
    rows.append(("overlapping", [split["overlapping"] for split in splits.values()]))
    rows.append(("without entity", [split["without_entity"] for split in splits.values()]))
    for key in ("p50", "p95", "max"):
        rows.append((f"length {key}", [split["length"][key] for split in splits.values()]))
    rows.append(("duplicate texts", [split["duplicate_texts"] for split in splits.values()]))
    for other in list(splits)[:-1]:
        shared = [facts["shared_texts"].get(f"{other} & {name}") for name in splits]
        rows.append((f"texts shared with {other}", shared))
    rows.append(("illegal gold", [split["illegal_gold"] for split in splits.values()]))
    cells = [[name, *("-" if n is None else f"{n:,}" for n in counts)] for name, counts in rows]
    return align_columns([["", *splits], *cells])


def _total(entities: dict[str, int] | None) -> int | None:
    return None if entities is None else sum(entities.values())


def _n_of_label(entities: dict[str, int] | None, label: str) -> int | None:
    return None if entities is None else entities.get(label, 0)
