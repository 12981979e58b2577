"""Files of JSON objects with a text and its entities: jsonl and cluener.

jsonl: `{"text": ..., "label": [[start, end, "LOC"], ...]}`, half-open.  Other keys are read in place of
`label`: `labels` (doccano); `entities` with objects `{"start_offset", "end_offset", "label"}` (doccano since
1.5) or `{"start", "end", "label", "text"}` (predict.py), or with lists in a pair `[text, {"entities": ...}]`
(spaCy 2); `annotations` with numbers as labels and entities of several users (doccano before 1.0); `spans`
(Prodigy) and `ents` (spaCy's `Doc.to_json`); `entity_list` with `{"entity_index": {"begin", "end"},
"entity_type", "entity"}` (Chinese corpora).
cluener: `{"text": ..., "label": {type: {surface: [[start, end], ...]}}}`, ends inclusive (Xu et al. 2020,
https://arxiv.org/abs/2001.04351).
A file without any of the keys is not annotated.  Offsets are code points.
"""

import json
from collections.abc import ItemsView, Iterator
from functools import partial
from pathlib import Path

from ner.data.formats.content import read_content
from ner.data.formats.document import DEFAULTS, AnnotatedText, Format, Mark, Reading, Texts
from ner.data.formats.objects import (
    UnreadKeys,
    looks_like_json,
    objects,
    sample_objects,
    text_of,
    type_name,
)
from ner.data.wording import note_lines
from ner.errors import DataError
from ner.files import write_lines

KEYS = ("label", "labels", "entities", "entity_list", "annotations", "spans", "ents")
EXPECTED = 'expected [start, end, "LOC"] or {"start_offset": ..., "end_offset": ..., "label": "LOC"}'
EXPECTED_CLUENER = "expected {type: {surface: [[start, end], ...]}} under 'label'"


def _read(path: str | Path, reading: Reading = DEFAULTS, *, text_keys, mark_keys, marks_of) -> Texts:
    """Reads one text an object; notes other keys that hold a list, such as doccano's `relations`."""
    path = Path(path)
    content = read_content(path, reading.encoding)
    texts, rejected_lines, shared_lines = [], [], []
    unread = UnreadKeys(path, f"entities under {' or '.join(map(repr, mark_keys))}, other lists removed")
    for line, values in objects(path, content.text):
        text = text_of(path, line, values, *text_keys)
        keys = [key for key in mark_keys if key in values]
        if len(keys) > 1:
            raise DataError(f"{path}:{line}: keys {keys[0]!r} and {keys[1]!r}, expected one of them")
        unread.check(line, values, {*text_keys, *keys}, annotated=bool(keys))
        if values.get("answer") in ("reject", "ignore"):  # of a person, in Prodigy
            rejected_lines.append(line)
            continue
        items = values[keys[0]] if keys else None
        marks = tuple(marks_of(path, line, keys[0], items)) if keys else None
        texts.append(AnnotatedText(path, line, text, marks))
        if (
            keys == ["annotations"]
            and len({item.get("user") for item in items if isinstance(item, dict)}) > 1
        ):
            shared_lines.append(line)
    notes = [*content.notes, *unread.notes(), *note_lines(rejected_lines, "left out", "rejected text")]
    notes += note_lines(shared_lines, "of several users, their entities read together", "text")
    return Texts(path, texts, notes, content.sha256)


def _jsonl_marks(path: Path, line: int, key: str, items: object) -> Iterator[Mark]:
    if not isinstance(items, list):
        raise DataError(f"{path}:{line}: got {type_name(items)} under {key!r}, expected an array of entities")
    for item in items:
        start, end, label, surface = _fields(item)
        if key == "annotations" and type(label) is int:  # doccano before 1.0 gives the label's number alone
            label = str(label)
        if type(start) is not int or type(end) is not int or not isinstance(label, str):
            raise DataError(f"{path}:{line}: got {str(item)[:60]} under {key!r}, {EXPECTED}")
        if not isinstance(surface, str | None):
            raise DataError(f"{path}:{line}: got {type_name(surface)}, expected the surface of the entity")
        yield Mark(start, end, label, line, surface)


def _fields(item: object) -> tuple[object, object, object, object]:
    """Start, end, label and surface of an entity; None for a missing one."""
    if isinstance(item, list):
        return (*item, None) if len(item) == 3 else (None,) * 4
    if not isinstance(item, dict):
        return (None,) * 4
    if isinstance(offsets := item.get("entity_index"), dict):
        return offsets.get("begin"), offsets.get("end"), item.get("entity_type"), item.get("entity")
    start, end = item.get("start_offset", item.get("start")), item.get("end_offset", item.get("end"))
    return start, end, item.get("label"), item.get("text")


def write_jsonl(path: str | Path, source: Texts) -> None:
    """Writes one text a line, without `label` if the text is not annotated."""
    labels = ({} if t.marks is None else {"label": [mark[:3] for mark in t.marks]} for t in source.texts)
    rows = ({"text": text.text} | label for text, label in zip(source.texts, labels, strict=True))
    write_lines(Path(path), (json.dumps(row, ensure_ascii=False) for row in rows))


def looks_like_cluener(path: Path, text: str) -> bool:
    """True if an object has an object under `label`."""
    return any(isinstance(values.get("label"), dict) for values in sample_objects(path, text))


def _cluener_marks(path: Path, line: int, key: str, labels: object) -> Iterator[Mark]:
    for label, surfaces in _items(path, line, labels):
        for surface, places in _items(path, line, surfaces):
            if not isinstance(places, list) or not all(map(_is_place, places)):
                raise DataError(f"{path}:{line}: got {str(places)[:40]} for {surface!r}, {EXPECTED_CLUENER}")
            for start, last in places:
                yield Mark(start, last + 1, label, line, surface)


def _items(path: Path, line: int, value: object) -> ItemsView[str, object]:
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: got {type_name(value)}, {EXPECTED_CLUENER}")
    return value.items()


def _is_place(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(offset) is int for offset in value)


read_jsonl = partial(_read, text_keys=("text", "data"), mark_keys=KEYS, marks_of=_jsonl_marks)
read_cluener = partial(_read, text_keys=("text",), mark_keys=("label",), marks_of=_cluener_marks)
JSONL = Format("texts", read_jsonl, looks_like_json, write_jsonl, "{ or [ first")
CLUENER = Format("texts", read_cluener, looks_like_cluener, expects="JSON with an object under 'label'")
