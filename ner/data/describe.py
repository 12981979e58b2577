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
        document = documents[part.source]
        illegal = Counter(bisect_right(document.first_lines, line) - 1 for line, _ in document.illegal)
        counts[name]["illegal_gold"] = sum(illegal[row] for row in part.rows)
    labels = list(counts["train"]["entities"])
    missing = {}
    for name, split in counts.items():
        missing[name] = {label: n for label, n in (split["entities"] or {}).items() if label not in labels}
    texts = {name: {sentence.tokens for sentence in sentences} for name, sentences in splits.items()}
    in_order = {name: documents[name] for name in SPLITS if name in documents}
    return {
        "sources": {
            name: {"file": doc.path.name, "sha256": doc.sha256, "format": doc.format, "scheme": doc.scheme}
            for name, doc in in_order.items()
        },
        "labels": labels,
        "splits": counts,
        "shared_texts": {f"{a} & {b}": len(texts[a] & texts[b]) for a, b in combinations(splits, 2)},
        "labels_missing_in_train": {name: found for name, found in missing.items() if found},
        "illegal_gold": {
            name: [f"{doc.path.name}:{line}: {tag}" for line, tag in doc.illegal]
            for name, doc in in_order.items()
            if doc.illegal
        },
        "left_out": {name: list(doc.left_out) for name, doc in in_order.items() if doc.left_out},
        "notes": {name: doc.notes for name, doc in in_order.items() if doc.notes},
    }


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
        n_illegal = f"{facts['sources'][name]['file']}: {count_noun(len(illegal), 'illegal tag')}"
        lines += [f"{n_illegal}, read leniently (--strict refuses)", *_indent_first(illegal)]
    for name, entities in facts["left_out"].items():
        n_entities = f"{facts['sources'][name]['file']}: {count_noun(len(entities), 'entity', 'entities')}"
        lines += [f"{n_entities} left out, as asked", *_indent_first(entities)]
    for name, split in facts["splits"].items():
        if split["entities"] is None:
            lines.append(f"{name}: not annotated; predict.py tags it, evaluate.py refuses it")
        elif not split["entities"]:
            lines.append(f"{name}: annotated, but without a single entity")
        if n := split["overlapping"]:
            n_entities = count_noun(sum(split["entities"].values()), "entity", "entities")
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
    names, splits = list(facts["splits"]), list(facts["splits"].values())
    entities = [split["entities"] for split in splits]
    rows = [[key, *(split[key] for split in splits)] for key in ("sentences", "tokens")]
    rows.append(["entities", *(None if found is None else sum(found.values()) for found in entities)])
    for label in sorted({label for found in entities for label in found or ()}):
        rows.append([f"  {label}", *(None if found is None else found.get(label, 0) for found in entities)])
    for key in ("overlapping", "without_entity"):
        rows.append([key.replace("_", " "), *(split[key] for split in splits)])
    for key in ("p50", "p95", "max"):
        rows.append([f"length {key}", *(split["length"][key] for split in splits)])
    rows.append(["duplicate texts", *(split["duplicate_texts"] for split in splits)])
    for other in names[:-1]:
        shared = (facts["shared_texts"].get(f"{other} & {name}") for name in names)
        rows.append([f"texts shared with {other}", *shared])
    rows.append(["illegal gold", *(split["illegal_gold"] for split in splits)])
    cells = [[name, *("-" if n is None else f"{n:,}" for n in counts)] for name, *counts in rows]
    return align_columns([["", *names], *cells])
