"""Builds the splits of a data set from documents, and describes them for `dataset.json` and for the user."""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from ner.data.formats import Document, Reading, read
from ner.data.sentence import SPLITS, Sentence
from ner.data.wording import align_columns, count_noun, excerpt
from ner.data.words import guess_unit_of_tokens
from ner.errors import DataError
from ner.tags import n_overlapping

OVERLAPPING = "only head global_pointer finds them (--nested keep_longest builds a set for every head)"
N_LISTED = 10  # illegal tags, or dropped entities, that are printed; dataset.json lists all


class Part(NamedTuple):
    """A split as rows of the document from which it is taken."""

    source: str
    rows: Sequence[int]


class Dataset(NamedTuple):
    """A built data set: its splits in the order of `SPLITS`."""

    splits: dict[str, list[Sentence]]
    facts: dict
    "the content of `dataset.json`"
    parts: dict[str, Part]
    "where the sentences of each split are taken from"


def read_splits(
    paths: Mapping[str, Path], name: str | None, *, unit: str | None, reading: Reading
) -> dict[str, Document]:
    """Reads the file of each split, in the order of `SPLITS`; all texts get the unit of train.

    If the name of the format or the unit is None, guesses it.
    """
    documents = {"train": read(paths["train"], name, unit=unit, reading=reading)}
    unit = documents["train"].unit or unit
    for split in SPLITS[1:]:
        if split in paths:
            documents[split] = read(paths[split], name, unit=unit, reading=reading)
    return documents


def build(
    documents: dict[str, Document],
    *,
    val_size: int | None = None,
    test_size: int = 0,
    train_size: int | None = None,
    seed: int = 2019,
    unit: str | None = None,
) -> Dataset:
    """Splits documents (train, and optionally val and test) and describes the result.

    Splits `val_size` and `test_size` sentences off train, and keeps `train_size` of the rest, or all.  If
    `val_size` or `unit` is None, chooses it and lists the choice under `facts["choices"]`.  DataError if
    train is not annotated, has no entity, or is too small for the sizes.
    """
    train = documents["train"]
    if not train.annotated:
        expected_tags = "2 columns expected in train, got 1: no tags"
        problem = "not annotated, expected entities in train" if train.unit else expected_tags
        raise DataError(f"{train.path}:{train.first_lines[0]}: {problem}")
    choices = []
    if "val" in documents:
        if val_size:
            choices.append(f"val: {documents['val'].path.name}; --val_size {val_size} is not used")
        val_size = 0
    elif val_size is None:
        n = len(train.sentences)
        val_size = min(3000, max(n // 10, min(n - 1, 1)))
        choices.append(f"val: {count_noun(val_size, 'sentence')} split off train (--val_size states it)")
    parts = _parts(documents, val_size=val_size, test_size=test_size, train_size=train_size, seed=seed)
    if train_size is not None:
        n_left = count_noun(len(train.sentences) - val_size - test_size, "sentence")
        choices.append(f"train: {train_size:,} of {n_left}, taken at random (--train_size)")
    splits = {name: [documents[p.source].sentences[i] for i in p.rows] for name, p in parts.items()}
    if not any(sentence.spans for sentence in splits["train"]):
        raise DataError(f"{train.path}: no entity in train, expected at least one")
    if unit is None:
        unit = train.unit or guess_unit_of_tokens(splits["train"])
        evidence = "text" if train.unit else "tokens"
        choices.append(f"unit: {unit}, guessed from the {evidence} of train (--unit states it)")
    facts = {"unit": unit, "seed": seed, "val_size": val_size, "test_size": test_size}
    if train_size is not None:
        facts["train_size"] = train_size
    facts |= {"choices": choices} | _describe(documents, parts, splits)
    return Dataset(splits, facts, parts)


def _parts(
    documents: dict[str, Document], *, val_size: int, test_size: int, train_size: int | None, seed: int
) -> dict[str, Part]:
    """The rows of each split: shuffled, then the first go to train, the next to val, the last to test.

    Shuffles as Python's `random.seed(seed); random.shuffle(rows)`; if nothing is split off, train keeps the
    order of the file.  `train_size` keeps that many rows of train and does not change val and test, so that
    a smaller train is a subset of a larger one.
    """
    train = documents["train"]
    n = len(train.sentences)
    for split, size in (("val", val_size), ("test", test_size)):
        if size < 0:
            raise DataError(f"--{split}_size {size}, expected 0 or more")
        if size and split in documents:
            both = f"--{split}_size {size} and --{split} {documents[split].path}"
            raise DataError(f"{both}, expected one of them")
    if val_size + test_size >= n:
        sizes = f"--val_size {val_size}" + (f" and --test_size {test_size}" if test_size else "")
        raise DataError(f"{train.path}: {count_noun(n, 'sentence')}, expected more than {sizes}")
    n_left = n - val_size - test_size
    if train_size is not None and not 1 <= train_size <= n_left:
        raise DataError(f"--train_size {train_size}, expected 1 to {n_left}, the sentences left for train")
    order = list(range(n))
    if val_size or test_size or train_size is not None:
        random.Random(seed).shuffle(order)
    kept = order[: n_left if train_size is None else train_size]
    rows = {"train": kept, "val": order[n_left : n_left + val_size], "test": order[n_left + val_size :]}
    parts = {name: Part("train", own) for name, own in rows.items() if own}
    for name in documents.keys() - {"train"}:
        parts[name] = Part(name, range(len(documents[name].sentences)))
    return {name: parts[name] for name in SPLITS if name in parts}


def refuse_illegal(documents: dict[str, Document]) -> None:
    """DataError with the first illegal tag, in the order of the files."""
    for document in documents.values():
        for line, tag in document.illegal:
            problem = f"tag {tag!r} is not legal {document.scheme} here, --strict expects only legal tags"
            n_illegal = count_noun(len(document.illegal), "illegal tag")
            raise DataError(f"{document.path}:{line}: {problem}; {n_illegal} in this file")


def _describe(
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
    return {
        "sources": {
            name: {"file": doc.path.name, "sha256": doc.sha256, "format": doc.format, "scheme": doc.scheme}
            for name, doc in documents.items()
        },
        "labels": labels,
        "splits": counts,
        "shared_texts": {f"{a} & {b}": len(texts[a] & texts[b]) for a, b in combinations(splits, 2)},
        "labels_missing_in_train": {name: found for name, found in missing.items() if found},
        "illegal_gold": {
            name: [f"{doc.path.name}:{line}: {tag}" for line, tag in doc.illegal]
            for name, doc in documents.items()
            if doc.illegal
        },
        "left_out": {name: list(doc.left_out) for name, doc in documents.items() if doc.left_out},
        "notes": {name: doc.notes for name, doc in documents.items() if doc.notes},
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
            lines.append(
                f"{name}: label {excerpt(label)} is not in train; {n:,} of its entities count as missed gold"
            )
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
        rows.append(
            [f"  {excerpt(label)}", *(None if found is None else found.get(label, 0) for found in entities)]
        )
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
