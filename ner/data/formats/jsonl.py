"""`{"text": ..., "label": [[start, end, "LOC"], ...]}` a line, half-open; or a JSON array of such objects.

Instead of `label` there may be `labels` (doccano), `entities` with objects `{"start_offset", "end_offset",
"label"}` (doccano since 1.5) or `{"start", "end", "label", "text"}` (predict.py), or `entity_list` with
`{"entity_index": {"begin", "end"}, "entity_type", "entity"}` (Chinese corpora).  Offsets are code points.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from ner.data.formats.document import read_content
from ner.data.formats.json_objects import name_of, objects, text_of
from ner.data.formats.texts import AnnotatedText, Mark, Texts
from ner.errors import DataError

KEYS = ("label", "labels", "entities", "entity_list")
EXPECTED = 'expected [start, end, "LOC"] or {"start_offset": ..., "end_offset": ..., "label": "LOC"}'


def read_jsonl(path: str | Path, *, encoding: str = "utf-8") -> Texts:
    """One text an object; other keys, such as `id` and doccano's `relations`, are passed over."""
    path = Path(path)
    content = read_content(path, encoding)
    texts = []
    for line, values in objects(path, content.text):
        text = text_of(path, line, values, "text", "data")
        keys = [key for key in KEYS if key in values]
        if len(keys) > 1:
            raise DataError(f"{path}:{line}: keys {keys[0]!r} and {keys[1]!r}, expected one of them")
        marks = tuple(_marks(path, line, keys[0], values[keys[0]])) if keys else None
        texts.append(AnnotatedText(path, line, text, marks))
    return Texts(path, texts, content.notes, content.sha256)


def _marks(path: Path, line: int, key: str, items: object) -> Iterator[Mark]:
    if not isinstance(items, list):
        raise DataError(f"{path}:{line}: got {name_of(items)} under {key!r}, expected an array of entities")
    for item in items:
        start, end, label, surface = _fields(item)
        if type(start) is not int or type(end) is not int or not isinstance(label, str):
            raise DataError(f"{path}:{line}: got {str(item)[:60]} under {key!r}, {EXPECTED}")
        if not isinstance(surface, str | None):
            raise DataError(f"{path}:{line}: got {name_of(surface)}, expected the surface of the entity")
        yield Mark(start, end, label, line, surface)


def _fields(item: object) -> tuple[object, object, object, object]:
    """Start, end, label, surface; None for what is not there."""
    if isinstance(item, list):
        return (*item, None) if len(item) == 3 else (None,) * 4
    if not isinstance(item, dict):
        return (None,) * 4
    if isinstance(place := item.get("entity_index"), dict):
        return place.get("begin"), place.get("end"), item.get("entity_type"), item.get("entity")
    start, end = item.get("start_offset", item.get("start")), item.get("end_offset", item.get("end"))
    return start, end, item.get("label"), item.get("text")


def write_jsonl(path: str | Path, source: Texts) -> None:
    """A text a line; no `label` where not annotated."""
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for text in source.texts:
            values: dict = {"text": text.text}
            if text.marks is not None:
                values["label"] = [mark[:3] for mark in text.marks]
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
