"""Entities as gold: spans of tokens, read from and written as tags, or as JSON if they overlap."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from ner.annotations.base import Annotation, Offsets, Read, Scored, Tokens
from ner.annotations.span_scores import SpanScores, score, tag_counts
from ner.annotations.tag_spelling import read_tag_set, tag_set_of
from ner.errors import DataError
from ner.files import escape, has_half_pair, read_text_lines, unescape, whole_file, write_lines
from ner.tags import ScoredSpan, Span, TagSet, n_overlapping, spans_to_tags

EXPECTED = "expected [[start, end, label], ...]"


@dataclass(frozen=True)
class SpanInventory:
    """The labels that a model knows, and facts of train's entities."""

    tag_set: TagSet
    max_span_len: int = 32
    "tokens of the longest entity"
    nested: bool = False
    "true if any two entities overlap"

    @property
    def label_ids(self) -> dict[str, int]:
        return {label: number for number, label in enumerate(self.tag_set.labels)}


class Spans(Annotation):
    """The entities of a sentence, `tuple[Span, ...]` as gold and `list[ScoredSpan]` as predicted."""

    name = "spans"
    items = "entities"
    headline = "f1"
    files = ("tags.txt", "entities.jsonl")

    def read(self, path: Path, tokens: Sequence[Tokens]) -> Read:
        lines = read_text_lines(path)
        if len(lines) != len(tokens):
            sentences = path.with_name("sentences.txt")
            raise DataError(f"{path}: {len(lines)} lines, expected {len(tokens)} as in {sentences}")
        if path.name == "tags.txt":
            return _read_tags(path, lines, tokens)
        rows = enumerate(zip(lines, tokens, strict=True), start=1)
        return Read([_read_spans(f"{path}:{number}", line, len(row)) for number, (line, row) in rows], [])

    def choose_file(self, values: Sequence[Sequence[Span]]) -> str:
        return "entities.jsonl" if any(map(n_overlapping, values)) else "tags.txt"

    def write(self, path: Path, tokens: Sequence[Tokens], values: Sequence[Sequence[Span]]) -> None:
        if path.name == "entities.jsonl":
            write_lines(path, (json.dumps(sorted(spans), ensure_ascii=False) for spans in values))
            return
        tag_set = TagSet.from_labels(self.labels_of(values))
        rows = (tag_set.tag_ids(spans, len(row)) for spans, row in zip(values, tokens, strict=True))
        tags = list(map(escape, tag_set.tags))
        write_lines(path, (" ".join(tags[k] for k in row) for row in rows))

    def read_inventory(
        self, data_dir: Path, values: Sequence[Sequence[Span]], *, scheme: str = "BIO"
    ) -> SpanInventory:
        """The labels of `<data_dir>/tags.txt`; DataError if train has a label that is not listed there."""
        labels = read_labels(data_dir)
        if unlisted := sorted(self.labels_of(values) - set(labels)):
            raise DataError(f"{data_dir / 'tags.txt'}: no tags of {', '.join(unlisted)}, which train holds")
        longest = max((span.end - span.start for spans in values for span in spans), default=1)
        return SpanInventory(TagSet.from_labels(labels, scheme), longest, any(map(n_overlapping, values)))

    def to_config(self, inventory: SpanInventory, facts: Sequence[str]) -> dict:
        tag_set = inventory.tag_set
        return {
            "id2label": {str(i): tag for i, tag in enumerate(tag_set.tags)},
            "label2id": dict(tag_set.index),
            "ner": {**{fact: getattr(inventory, fact) for fact in facts}, "scheme": tag_set.scheme},
        }

    def from_config(self, config: Mapping, *, where: str | Path) -> SpanInventory:
        own = config.get("ner", {})
        facts = {name: own[name] for name in ("max_span_len", "nested") if name in own}
        length, nested = facts.get("max_span_len", 1), facts.get("nested", False)
        if type(length) is not int or length < 1:
            raise DataError(f"{where}: max_span_len: got {length!r}, expected a whole number above 0")
        if not isinstance(nested, bool):
            raise DataError(f"{where}: nested: got {nested!r}, expected true or false")
        return SpanInventory(read_tag_set(config, scheme=own.get("scheme"), where=where), **facts)

    def labels(self, inventory: SpanInventory) -> tuple[str, ...]:
        return tuple(inventory.tag_set.labels)

    def labels_of(self, values: Sequence[Sequence[Span]]) -> set[str]:
        return {span.label for spans in values for span in spans}

    def collate(self, values: Sequence[Sequence[Span]], inventory: SpanInventory) -> np.ndarray:
        """(B, S, 3) int64: start, end and label number of each span, padded by the empty span (0, 0, 0).

        A span whose label the model does not know is left out: it is scored as missed.
        """
        ids = inventory.label_ids
        rows = [[(s.start, s.end, ids[s.label]) for s in spans if s.label in ids] for spans in values]
        padded = np.zeros((len(rows), max(map(len, rows)), 3), np.int64)
        for row, spans in enumerate(rows):
            if spans:
                padded[row, : len(spans)] = spans
        return padded

    def count(self, value: Sequence[Span]) -> int:
        return len(value)

    def score(self, gold: Sequence, predicted: Sequence, n_tokens: Sequence[int]) -> SpanScores:
        return score(gold, [_without_scores(spans) for spans in predicted], n_tokens)

    def diagnose(self, gold: Sequence, predicted: Sequence, hint: str) -> str:
        truth, guess = tag_counts(gold), tag_counts(predicted)
        cause = f"nothing but O is predicted: {hint}, or tags that do not fit the sentences"
        if guess:
            cause = "every predicted entity has a wrong end or type: is the data's `unit` the encoder's?"
        found = f"Gold tags: {dict(truth.most_common())}; predicted tags besides O"
        return f"val F1 is 0. {found}: {dict(guess.most_common()) or 'none'}. Likely cause: {cause}"

    def truncate(self, value: Sequence[Span], kept: np.ndarray) -> tuple[Span, ...]:
        number = {int(token): i for i, token in enumerate(kept)}
        whole = (span for span in value if all(t in number for t in range(span.start, span.end)))
        return tuple(s._replace(start=number[s.start], end=number[s.end - 1] + 1) for s in whole)

    def restore(self, value: Sequence[ScoredSpan], kept: np.ndarray) -> list[ScoredSpan]:
        """A span that reaches over removed tokens is dropped: it is no span of the whole sentence."""
        moved = [(span, int(kept[span.start]), int(kept[span.end - 1]) + 1) for span in value]
        return [s._replace(start=i, end=j) for s, i, j in moved if j - i == s.end - s.start]

    def to_json(self, text: str, offsets: Offsets, value: Sequence[ScoredSpan]) -> dict:
        """`{"entities": [{"start", "end", "label", "text", "score"}]}`, offsets in code points."""
        entities = []
        for span in value:
            start, end = offsets[span.start][0], offsets[span.end - 1][1]
            entity = {"start": start, "end": end, "label": span.label, "text": text[start:end]}
            entities.append(entity | {"score": float(f"{span.score:.6g}")})
        return {"entities": entities}

    def write_predictions(self, out_dir: Path, split: str, scored: Sequence[Scored]) -> list[str]:
        """`predictions_<split>.jsonl` (an object a sentence, half-open spans) and `predictions_<split>.txt`
        (token, gold tag and predicted tag, a blank line after each sentence).

        If spans overlap, tags cannot hold them: no .txt is written, and an earlier one is removed.
        """
        columns, objects = (out_dir / f"predictions_{split}.{ending}" for ending in ("txt", "jsonl"))
        rows = [(tokens, gold, _without_scores(predicted)) for tokens, gold, predicted in scored]
        with whole_file(objects) as file:
            for tokens, gold, predicted in rows:
                values = {"tokens": tokens, "gold": gold, "predicted": predicted}
                file.write(json.dumps(values, ensure_ascii=False) + "\n")
        if any(n_overlapping(spans) for _, *both in rows for spans in both):
            columns.unlink(missing_ok=True)
            return [objects.name]
        with whole_file(columns) as file:
            for tokens, *both in rows:
                tags = (spans_to_tags(spans, len(tokens)) for spans in both)
                for token, gold, predicted in zip(tokens, *tags, strict=True):
                    file.write("\t".join(map(escape, (token, gold, predicted))) + "\n")
                file.write("\n")
        return [columns.name, objects.name]


def _without_scores(spans: Iterable[Span | ScoredSpan]) -> list[Span]:
    return [Span(*span[:3]) for span in spans]


def _split_line(line: str) -> list[str]:
    """The tags of a line of `tags.txt`."""
    tags = line.rstrip(" ").split(" ")
    return list(map(unescape, tags)) if "\\" in line else tags


def _read_tags(path: Path, lines: Sequence[str], tokens: Sequence[Tokens]) -> Read:
    first_seen: dict[str, int] = {}
    for number, (line, row) in enumerate(zip(lines, tokens, strict=True), start=1):
        tags = _split_line(line)
        if len(tags) != len(row):
            sentences = path.with_name("sentences.txt")
            raise DataError(f"{path}:{number}: {len(tags)} tags, expected {len(row)} as in {sentences}")
        for tag in tags:
            first_seen.setdefault(tag, number)
    tag_set = tag_set_of(first_seen, path)
    values, illegal = [], []
    for number, line in enumerate(lines, start=1):  # split again: the tags of all lines would fill memory
        ids = [tag_set.index[tag] for tag in _split_line(line)]
        illegal.extend((number, position) for position in tag_set.illegal_positions(ids))
        values.append(tuple(tag_set.spans(ids)))
    return Read(values, illegal)


def _read_spans(where: str, line: str, n_tokens: int) -> tuple[Span, ...]:
    """One line of `entities.jsonl`, sorted."""
    try:
        items = json.loads(line)
    except (ValueError, RecursionError):
        raise DataError(f"{where}: not JSON, {EXPECTED}") from None
    if not isinstance(items, list):
        raise DataError(f"{where}: got {line[:40]}, {EXPECTED}")
    for item in items:
        well_formed = isinstance(item, list) and [type(value) for value in item] == [int, int, str]
        if not well_formed or not 0 <= item[0] < item[1] <= n_tokens:
            raise DataError(f"{where}: got {str(item)[:60]}, expected [start, end, label] in 0..{n_tokens}")
        if not item[2] or has_half_pair(item[2]):
            raise DataError(f"{where}: label {item[2]!a}, expected a label of whole characters")
    spans = sorted(Span(*item) for item in items)
    for span, after in pairwise(spans):
        if span == after:
            raise DataError(f"{where}: {list(span)} twice, expected it once")
    return tuple(spans)


def read_labels(data_dir: str | Path) -> list[str]:
    """Entity types of a built data set, sorted, from `<data_dir>/tags.txt`."""
    path = Path(data_dir) / "tags.txt"
    first_seen: dict[str, int] = {}
    for number, line in enumerate(read_text_lines(path), start=1):
        if line.strip():
            first_seen.setdefault(unescape(line.strip()), number)
    labels = list(tag_set_of(first_seen, path).labels)
    if not labels:
        raise DataError(f"{path}: no entity type, expected O and tags such as B-LOC")
    return labels
