"""Files of JSON objects, one after the other or in one array: what their readers share, jsonl and cluener.

jsonl: `{"text": ..., "label": [[start, end, "LOC"], ...]}`, half-open.  Other keys are read in place of
`label`: `labels` (doccano); `entities` with objects `{"start_offset", "end_offset", "label"}` (doccano since
1.5) or `{"start", "end", "label", "text"}` (predict.py); `entity_list` with `{"entity_index": {"begin",
"end"}, "entity_type", "entity"}` (Chinese corpora).
cluener: `{"text": ..., "label": {type: {surface: [[start, end], ...]}}}`, ends inclusive (Xu et al. 2020,
https://arxiv.org/abs/2001.04351).
A file without any of the keys is not annotated.  Offsets are code points.
"""

import json
import re
from collections.abc import ItemsView, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from ner.data.formats.columns import begins_with_tagged_token
from ner.data.formats.content import read_content
from ner.data.formats.document import DEFAULTS, AnnotatedText, Format, Mark, Reading, Texts
from ner.errors import DataError
from ner.files import unique_keys, write_lines

_skip_space = re.compile(r"[ \t\r\n]*").match
N_SAMPLED = 1000  # objects from which a format is guessed
KEYS = ("label", "labels", "entities", "entity_list")
EXPECTED = 'expected [start, end, "LOC"] or {"start_offset": ..., "end_offset": ..., "label": "LOC"}'
EXPECTED_CLUENER = "expected {type: {surface: [[start, end], ...]}} under 'label'"


def looks_like_jsonl(path: Path, text: str) -> bool:
    """True for any JSON: a file without entities reads the same in all JSON formats."""
    return text.lstrip()[:1] in ("{", "[") and not begins_with_tagged_token(text)


def sample_objects(path: Path, text: str) -> Iterator[dict]:
    """The first `N_SAMPLED` objects of a text; nothing if it does not look like JSON."""
    if looks_like_jsonl(path, text):
        yield from (values for _, values in islice(objects(path, text), N_SAMPLED))


def objects(path: str | Path, text: str) -> Iterator[tuple[int, dict]]:
    """(line from 1 on which it begins, object) of JSON lines, or of the objects of one array."""
    position = _skip_space(text, 0).end()
    is_array = text.startswith("[", position)
    if is_array:
        position = _skip_space(text, position + 1).end()
    line, counted, more = 1, 0, not (is_array and text.startswith("]", position))
    while more and (is_array or position < len(text)):
        line, counted = line + text.count("\n", counted, position), position
        value, position = _decode(path, text, position, line)
        if not isinstance(value, dict):
            raise DataError(f"{path}:{line}: got {type_name(value)}, expected a JSON object")
        yield line, value
        position = _skip_space(text, position).end()
        if is_array:
            more = text.startswith(",", position)
            position = _skip_space(text, position + 1).end() if more else position
    if is_array and text[position:].rstrip(" \t\r\n") != "]":
        number = text.count("\n", 0, position) + 1
        expected = "expected , or ] after an object, nothing after the last ]"
        raise DataError(f"{path}:{number}: not JSON, {expected}")


def _decode(path: str | Path, text: str, position: int, line: int) -> tuple[object, int]:
    """The JSON value at a position, and the position after it."""
    try:
        return json.JSONDecoder(object_pairs_hook=unique_keys).raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON at column {error.colno}, {error.msg}") from None
    except ValueError as error:
        raise DataError(f"{path}:{line}: {error}") from None
    except RecursionError:
        raise DataError(f"{path}:{line}: not JSON that can be read, nested too deeply") from None


def text_of(path: str | Path, line: int, values: dict, *keys: str) -> str:
    """The string under the first of the keys that the object has.

    DataError if it has no such key, if the value is not a string, or if it holds half of a surrogate pair.
    """
    key = next((key for key in keys if key in values), None)
    if key is None or not isinstance(values[key], str):
        got = f"{type_name(values[key])} under {key!r}" if key else f"keys {list(values)[:5]}"
        raise DataError(f"{path}:{line}: got {got}, expected a string under {keys[0]!r}")
    if any("\ud800" <= character <= "\udfff" for character in values[key]):
        raise DataError(f"{path}:{line}: half of a surrogate pair in {key!r}, expected whole characters")
    return values[key]


def type_name(value: object) -> str:
    """The JSON name of a value's type, with its article."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _read(path: str | Path, reading: Reading = DEFAULTS, *, text_keys, mark_keys, marks_of) -> Texts:
    """Reads one text an object; ignores other keys, such as `id` and doccano's `relations`."""
    path = Path(path)
    content = read_content(path, reading.encoding)
    texts = []
    for line, values in objects(path, content.text):
        text = text_of(path, line, values, *text_keys)
        keys = [key for key in mark_keys if key in values]
        if len(keys) > 1:
            raise DataError(f"{path}:{line}: keys {keys[0]!r} and {keys[1]!r}, expected one of them")
        marks = tuple(marks_of(path, line, keys[0], values[keys[0]])) if keys else None
        texts.append(AnnotatedText(path, line, text, marks))
    return Texts(path, texts, content.notes, content.sha256)


def _jsonl_marks(path: Path, line: int, key: str, items: object) -> Iterator[Mark]:
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
JSONL = Format("texts", read_jsonl, looks_like_jsonl, write_jsonl, "{ or [ first")
CLUENER = Format("texts", read_cluener, looks_like_cluener, expects="JSON with an object under 'label'")
