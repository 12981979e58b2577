"""Builds the splits of a data set from documents."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ner.data.describe import Part, describe
from ner.data.formats import Document, Reading, read
from ner.data.sentence import SPLITS, Sentence
from ner.data.wording import count_noun
from ner.data.words import guess_unit_of_tokens
from ner.errors import DataError


class Dataset(NamedTuple):
    """A built data set: its splits in the order of `SPLITS`."""

    splits: dict[str, list[Sentence]]
    facts: dict
    "the content of `dataset.json`"
    places: dict[str, list[str]]
    "`file:line` where each sentence of a split starts in its source"


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


def split_rows(
    n: int, *, val_size: int, test_size: int, seed: int, train_size: int | None = None
) -> dict[str, list[int]]:
    """Rows of each split: shuffled, then the first go to train, the next to val, the last to test.

    Shuffles as Python's `random.seed(seed); random.shuffle(rows)`; if nothing is split off, train keeps the
    order of the file.  `train_size` keeps that many rows of train and does not change val and test, so that
    a smaller train is a subset of a larger one.
    """
    order = list(range(n))
    if val_size or test_size or train_size is not None:
        random.Random(seed).shuffle(order)
    n_train = n - val_size - test_size
    return {
        "train": order[: n_train if train_size is None else train_size],
        "val": order[n_train : n_train + val_size],
        "test": order[n_train + val_size :],
    }


def default_val_size(n: int) -> int:
    """Number of sentences split off train for val if neither a file nor a size is given."""
    return min(3000, max(n // 10, min(n - 1, 1)))


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
        val_size = default_val_size(len(train.sentences))
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
    facts |= {"choices": choices} | describe(documents, parts, splits)
    places = {name: [documents[p.source].place(row) for row in p.rows] for name, p in parts.items()}
    return Dataset(splits, facts, places)


def _parts(
    documents: dict[str, Document], *, val_size: int, test_size: int, train_size: int | None, seed: int
) -> dict[str, Part]:
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
    rows = split_rows(n, val_size=val_size, test_size=test_size, seed=seed, train_size=train_size)
    parts = {name: Part("train", rows[name]) for name in SPLITS if rows[name]}
    given = [name for name in documents if name != "train"]
    parts |= {name: Part(name, range(len(documents[name].sentences))) for name in given}
    return {name: parts[name] for name in SPLITS if name in parts}


def refuse_illegal(documents: dict[str, Document]) -> None:
    """DataError with the first illegal tag, in the order of the files."""
    for document in documents.values():
        for line, tag in document.illegal:
            problem = f"tag {tag!r} is not legal {document.scheme} here, --strict expects only legal tags"
            n_illegal = count_noun(len(document.illegal), "illegal tag")
            raise DataError(f"{document.path}:{line}: {problem}; {n_illegal} in this file")
