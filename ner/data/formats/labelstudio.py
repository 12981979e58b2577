"""Label Studio: tasks `{"data": {"text"}, "annotations": [{"result": [{"value": ...}]}]}`; also JSON-MIN.

A value is `{"start", "end", "text", "labels": ["LOC"]}`.  In exports of 2021 and before, its offsets count
UTF-16 units, as in JavaScript (https://github.com/HumanSignal/label-studio/issues/1347); later they count
code points (https://github.com/HumanSignal/label-studio/pull/1559).  The entity's text shows which.
"""

from collections.abc import Iterator
from pathlib import Path

from ner.data.formats.content import read_content
from ner.data.formats.document import DEFAULTS, AnnotatedText, Format, Mark, Reading, Texts
from ner.data.formats.jsonl import objects, sample_objects, text_of, type_name
from ner.data.wording import count_noun, list_lines
from ner.errors import DataError

LAST_OF_BMP = "\uffff"  # a character beyond it is two units of UTF-16
CODE_POINTS, UTF16_UNITS = "code points", "UTF-16 units"


def looks_like(path: Path, text: str) -> bool:
    """True if an object has an object under `data`, or an array whose first item is a value of JSON-MIN."""
    return any(
        isinstance(values.get("data"), dict)
        or any(isinstance(items, list) and items and _is_value(items[0]) for items in values.values())
        for values in sample_objects(path, text)
    )


def read_labelstudio(path: str | Path, reading: Reading = DEFAULTS) -> Texts:
    """Reads one text a task.  Notes count the tasks that were skipped and the results that are not labels."""
    path = Path(path)
    content = read_content(path, reading.encoding)
    texts, skipped_lines, ignored_lines = [], [], []
    for line, task in objects(path, content.text):
        data = task["data"] if isinstance(task.get("data"), dict) else task
        text = text_of(path, line, data, _text_key(path, line, data))
        values = _values(path, line, task, ignored_lines)
        if values is None and task.get("annotations", task.get("completions")):
            skipped_lines.append(line)
        else:
            marks = None if values is None else tuple(_mark(path, line, value) for value in values)
            texts.append(AnnotatedText(path, line, text, marks))
    notes = list(content.notes)
    skipped, ignored = ("skipped task", "left out"), ("result", "of other kinds ignored")
    for lines, (noun, how) in ((skipped_lines, skipped), (ignored_lines, ignored)):
        if lines:
            notes.append(f"{count_noun(len(lines), noun)} {how}: {list_lines(lines)}")
    return _in_code_points(Texts(path, texts, notes, content.sha256))


def _text_key(path: Path, line: int, data: dict) -> str:
    """`text` if the object has this key, else its only key with a string."""
    keys = ["text"] if "text" in data else [key for key, value in data.items() if isinstance(value, str)]
    if len(keys) != 1:
        raise DataError(f"{path}:{line}: strings under {keys}, expected the text under 'text'")
    return keys[0]


def _values(path: Path, line: int, task: dict, ignored_lines: list[int]) -> list[dict] | None:
    """The values of a task's labels; None if it has no annotation or its annotation was skipped.

    Appends the line to `ignored_lines` once for each result that is not a label.
    """
    if not isinstance(task.get("data"), dict):  # JSON-MIN: the array of values, else the first array
        arrays = [value for value in task.values() if isinstance(value, list)]
        return next((items for items in arrays if items and _is_value(items[0])), next(iter(arrays), None))
    annotations = task.get("annotations", task.get("completions")) or []
    if not isinstance(annotations, list) or not all(isinstance(a, dict) for a in annotations):
        raise DataError(f"{path}:{line}: got {type_name(annotations)}, expected an array of annotations")
    annotations = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    if len(annotations) > 1:
        raise DataError(f"{path}:{line}: {len(annotations)} annotations of one text, expected one")
    if not annotations:
        return None
    results = annotations[0].get("result")
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise DataError(f"{path}:{line}: got {type_name(results)}, expected an array under 'result'")
    labels = [result for result in results if result.get("type") in ("labels", "hypertextlabels")]
    ignored_lines += [line] * (len(results) - len(labels))
    return [result.get("value") for result in labels]


def _is_value(item: object) -> bool:
    """True if an item looks like a labelled span of JSON-MIN."""
    return isinstance(item, dict) and isinstance(item.get("labels"), list)


def _mark(path: Path, line: int, value: object) -> Mark:
    """The span of a value, its offsets unchanged."""
    expected = 'expected {"start": 3, "end": 5, "text": ..., "labels": ["LOC"]}'
    values = value if isinstance(value, dict) else {}
    start, end, surface = values.get("start"), values.get("end"), values.get("text")
    labels = values.get("labels", values.get("hypertextlabels"))
    if type(start) is not int or type(end) is not int or not isinstance(surface, str | None):
        raise DataError(f"{path}:{line}: got {str(value)[:80]}, {expected}")
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise DataError(f"{path}:{line}: got labels {labels} for {start}-{end}, expected one")
    return Mark(start, end, labels[0], line, surface)


def _in_code_points(source: Texts) -> Texts:
    """The texts with all offsets in code points.

    Only offsets after a character beyond the BMP depend on the unit.  If the surface of some of them fits
    only one unit, the others are read in that unit too.  DataError if the unit stays open.
    """
    candidates = {
        (i, mark): list(_matching_units(text.text, mark))
        for i, text in enumerate(source.texts)
        for mark in text.marks or ()
        if any(character > LAST_OF_BMP for character in text.text[: max(mark.end, 0)])
    }
    known_units = {units[0] for units in candidates.values() if len(units) == 1}
    texts = []
    for i, text in enumerate(source.texts):
        marks = []
        for mark in text.marks or ():
            units = candidates.get((i, mark), [CODE_POINTS])
            if len(units) > 1:
                if len(known_units) != 1:
                    span = f"{text.path}:{mark.line}: {mark.label} {mark.start}-{mark.end}"
                    which = "UTF-16 units or code points, expected the entity's text to show which"
                    raise DataError(f"{span} may count {which}")
                units = list(known_units)
            if units == [UTF16_UNITS]:
                start, end = (_code_point_index(text.text, offset) for offset in (mark.start, mark.end))
                mark = mark._replace(start=start, end=end)
            marks.append(mark)
        texts.append(text._replace(marks=text.marks and tuple(marks)))
    notes = list(source.notes)
    if known_units:
        notes.append(f"offsets are read as {' or '.join(sorted(known_units))}, as the entities' texts show")
    return source._replace(texts=texts, notes=notes)


def _matching_units(text: str, mark: Mark) -> Iterator[str]:
    """The units in which the offsets of a mark give its surface."""
    spans = {
        CODE_POINTS: (mark.start, mark.end),
        UTF16_UNITS: (_code_point_index(text, mark.start), _code_point_index(text, mark.end)),
    }
    for unit, (start, end) in spans.items():
        if 0 <= start < end <= len(text) and mark.surface in (None, text[start:end]):
            yield unit


def _code_point_index(text: str, offset: int) -> int:
    """The code point at an offset in UTF-16 units; -1 inside a character or beyond the text."""
    n_units = 0
    for index, character in enumerate(text):
        if n_units >= offset:
            return index if n_units == offset else -1
        n_units += 2 if character > LAST_OF_BMP else 1
    return len(text) if n_units == offset else -1


FORMAT = Format("texts", read_labelstudio, looks_like)
