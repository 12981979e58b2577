"""Builds the splits of a data set from documents, and describes them for `dataset.json`."""

import random
import unicodedata
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from ner.data.formats import Document, Reading, read
from ner.data.sentence import SPLITS, Sentence
from ner.data.word_rules import learn_rules
from ner.data.wording import count_noun, quote
from ner.data.words import (
    UNSPACED,
    count_blank_ends,
    guess_unit_of_tokens,
    is_unspaced,
    share_that_comes_back,
)
from ner.errors import DataError
from ner.tags import n_overlapping

N_CUT_AGAIN = 5000  # sentences whose tokens are counted again after they were joined and cut


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
    train = read(paths["train"], name, unit=unit, reading=reading)
    documents = {"train": train}
    unit = train.unit or unit or guess_unit_of_tokens(train.sentences)
    for split in SPLITS[1:]:
        if split in paths:
            document = read(paths[split], name, unit=unit, reading=reading)
            if name is None and _holds_sentences(document, train):
                document = read(paths[split], "text", unit=unit, reading=reading)
            documents[split] = document
    return documents


def _holds_sentences(document: Document, train: Document) -> bool:
    """True if the lines of a file without tags are sentences: four times as long as the tokens of train."""
    if document.annotated or document.unit:
        return False
    lengths = ([len(t) for s in source.sentences for t in s.tokens] for source in (document, train))
    return mean(next(lengths)) > 4 * mean(next(lengths))


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
    if unit == "word" and (n_unspaced := sum(any(map(is_unspaced, s.tokens)) for s in splits["train"])):
        choices.append(f"train: {count_noun(n_unspaced, 'sentence')} {UNSPACED}")
    for name, sentences in splits.items():
        if n_blank := count_blank_ends(sentences):
            n_entities = count_noun(n_blank, "entity", "entities")
            choices.append(f"{name}: {n_entities} at white space: never predicted, counted as missed")
    for name, document in documents.items() if unit == "char" else ():
        if found := _words(document):
            line, token, n_words = found
            if name == "train":
                expected = f"--unit char expects one character; {n_words}"
                raise DataError(f"{document.path}:{line}: token {quote(token)}, {expected}")
            choices.append(f"{name}: {n_words}, such as {quote(token)}, though the unit is char")
    facts = {"unit": unit, "seed": seed, "val_size": val_size, "test_size": test_size}
    if train_size is not None:
        facts["train_size"] = train_size
    if unit == "word" and not train.unit:
        facts["words"] = _learn_words([sentence.tokens for sentence in splits["train"]], choices)
    facts |= {"choices": choices} | _describe(documents, parts, splits)
    return Dataset(splits, facts, parts)


def _learn_words(tokens: list[tuple[str, ...]], choices: list[str]) -> dict:
    """The rules by which predict.py cuts raw text as train's tokens, and in `choices` what they bring."""
    rules, sample = learn_rules(tokens), tokens[:N_CUT_AGAIN]
    before, after = (share_that_comes_back(sample, each) for each in (None, rules))
    if after > before:
        what = f"learned from train's tokens, of which {100 * after:.2f}% come back from their text"
        choices.append(f"raw text: {what} ({before:.2%} by the general rules): {rules.describe()}")
    return rules._asdict()


def _words(document: Document) -> tuple[int, str, str] | None:
    """Line and text of the first token of several characters, and how many there are, if a tenth or more.

    A mark belongs to the character before it.
    """
    counts = Counter(token for sentence in document.sentences for token in sentence.tokens)
    words = {t for t in counts if sum(not unicodedata.category(c).startswith("M") for c in t) > 1}
    n_words = sum(counts[token] for token in words)
    if 10 * n_words <= counts.total():
        return None
    places = zip(document.first_lines, document.sentences, strict=True)
    line, token = next((n + i, t) for n, s in places for i, t in enumerate(s.tokens) if t in words)
    return line, token, f"{n_words:,} of its {count_noun(counts.total(), 'token')} have several characters"


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
