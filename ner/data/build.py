"""From documents to the splits of a data set."""

import random
from typing import NamedTuple

from ner.data.describe import Part, describe
from ner.data.formats import Document
from ner.data.formats.document import count_of
from ner.data.sentence import SPLITS, Sentence
from ner.data.words import guess_unit_of_tokens
from ner.errors import DataError


class Dataset(NamedTuple):
    """`splits` in the order of `SPLITS`; `facts` is what `dataset.json` holds.

    `places[split][i]` is `file:line`, where sentence i starts in its source.
    """

    splits: dict[str, list[Sentence]]
    facts: dict
    places: dict[str, list[str]]

    @property
    def nested(self) -> bool:
        """Whether entities overlap anywhere."""
        return any(split["overlapping"] for split in self.facts["splits"].values())


def split_rows(
    n: int, *, val_size: int, test_size: int, seed: int, train_size: int | None = None
) -> dict[str, list[int]]:
    """Rows of each split: the first of the shuffled order for train, then val, then test.

    The order is that of Python's `random.seed(seed); random.shuffle(rows)`; where nothing is split off,
    train keeps the order of the file.  `train_size` keeps that many rows of train and leaves val and test
    as they are without it, so that a smaller train is a part of a larger one.
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
    """Sentences split off train for val where neither a file nor a size is given."""
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
    """Splits and describes `documents`: train, all of what remains or `train_size` of it, maybe val and test.

    A `val_size` or `unit` of None is chosen here, and the choice is said under `facts["choices"]`.
    Raises DataError where train is not annotated or holds no entity, or is too small for the sizes.
    """
    train = documents["train"]
    if not train.annotated:
        what = "2 columns expected in train, got 1: no tags"
        if train.unit:
            what = "not annotated, expected entities in train"
        raise DataError(f"{train.path}:{train.first_lines[0]}: {what}")
    choices = []
    if "val" in documents:
        if val_size:
            choices.append(f"val: {documents['val'].path.name}; --val_size {val_size} is not used")
        val_size = 0
    elif val_size is None:
        val_size = default_val_size(len(train.sentences))
        choices.append(f"val: {count_of(val_size, 'sentence')} split off train (--val_size states it)")
    parts = _parts(documents, val_size=val_size, test_size=test_size, train_size=train_size, seed=seed)
    if train_size is not None:
        n_left = len(train.sentences) - val_size - test_size
        choices.append(
            f"train: {train_size:,} of {count_of(n_left, 'sentence')}, taken at random (--train_size)"
        )
    splits = {name: [documents[p.source].sentences[i] for i in p.rows] for name, p in parts.items()}
    if not any(sentence.spans for sentence in splits["train"]):
        raise DataError(f"{train.path}: no entity in train, expected at least one")
    if unit is None:
        unit = train.unit or guess_unit_of_tokens(splits["train"])
        what = "text" if train.unit else "tokens"
        choices.append(f"unit: {unit}, guessed from the {what} of train (--unit states it)")
    facts = {"unit": unit, "seed": seed, "val_size": val_size, "test_size": test_size}
    facts |= {} if train_size is None else {"train_size": train_size}
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
            raise DataError(
                f"--{split}_size {size} and --{split} {documents[split].path}, expected one of them"
            )
    if val_size + test_size >= n:
        sizes = (
            f"--val_size {val_size} and --test_size {test_size}" if test_size else f"--val_size {val_size}"
        )
        raise DataError(f"{train.path}: {count_of(n, 'sentence')}, expected more than {sizes}")
    n_left = n - val_size - test_size
    if train_size is not None and not 1 <= train_size <= n_left:
        raise DataError(f"--train_size {train_size}, expected 1 to {n_left}, the sentences left for train")
    rows = split_rows(n, val_size=val_size, test_size=test_size, seed=seed, train_size=train_size)
    parts = {name: Part("train", rows[name]) for name in SPLITS if rows[name]}
    parts |= {
        name: Part(name, range(len(doc.sentences))) for name, doc in documents.items() if name != "train"
    }
    return {name: parts[name] for name in SPLITS if name in parts}


def refuse_illegal(documents: dict[str, Document]) -> None:
    """DataError at the first tag, in the order of the files, that may not stand where it does."""
    for document in documents.values():
        for line, tag in document.illegal:
            raise DataError(
                f"{document.path}:{line}: tag {tag!r} is not legal {document.scheme} here, expected none such"
                f" with --strict; {count_of(len(document.illegal), 'such tag')} in this file"
            )
