"""`{"text": ..., "label": [[start, end, "LOC"], ...]}` a line, half-open; or a JSON array of such objects.

Other keys are read in place of `label`: `labels` (doccano); `entities` with objects `{"start_offset",
"end_offset", "label"}` (doccano since 1.5) or `{"start", "end", "label", "text"}` (predict.py); `entity_list`
with `{"entity_index": {"begin", "end"}, "entity_type", "entity"}` (Chinese corpora).
Offsets are code points.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from ner.data.formats.document import read_content
from ner.data.formats.format import DEFAULTS, Format, Reading
from ner.data.formats.json_objects import looks_like_json, objects, text_of, type_name
from ner.data.formats.texts import AnnotatedText, Mark, Texts
from ner.errors import DataError

KEYS = ("label", "labels", "entities", "entity_list")
EXPECTED = 'expected [start, end, "LOC"] or {"start_offset": ..., "end_offset": ..., "label": "LOC"}'


def looks_like(path: Path, text: str) -> bool:
    """True for any JSON: a file without entities reads the same in all JSON formats."""
    return looks_like_json(text)


def read_jsonl(path: str | Path, reading: Reading = DEFAULTS) -> Texts:
    """Reads one text an object; ignores other keys, such as `id` and doccano's `relations`."""
    path = Path(path)
    content = read_content(path, reading.encoding)
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
        raise DataError(f"{path}:{line}: got {type_name(items)} under {key!r}, expected an array of entities")
    for item in items:
        start, end, label, surface = _fields(item)
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
    with Path(path).open("w", encoding="utf-8", newline="\n") as file:
        for text in source.texts:
            values: dict = {"text": text.text}
            if text.marks is not None:
                values["label"] = [mark[:3] for mark in text.marks]
            file.write(json.dumps(values, ensure_ascii=False) + "\n")


FORMAT = Format("texts", read_jsonl, looks_like, write_jsonl)
