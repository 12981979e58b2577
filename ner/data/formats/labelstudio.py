"""Label Studio: tasks `{"data": {"text"}, "annotations": [{"result": [{"value": ...}]}]}`; also JSON-MIN.

A value is `{"start", "end", "text", "labels": ["LOC"]}`.  In exports of 2021 and before, its offsets count
UTF-16 units, as in JavaScript (https://github.com/HumanSignal/label-studio/issues/1347); later they count
code points (https://github.com/HumanSignal/label-studio/pull/1559).  The entity's text shows which.
"""

import re
from itertools import accumulate
from pathlib import Path

from ner.data.formats.content import read_content
from ner.data.formats.document import DEFAULTS, AnnotatedText, Format, Mark, Reading, Texts
from ner.data.formats.objects import UnreadKeys, objects, sample_objects, text_of, type_name
from ner.data.wording import note_lines
from ner.errors import DataError

NO_ENTITIES = {"annotations", "completions", "predictions", "drafts"}  # keys of a task: read, or no gold


def looks_like(path: Path, text: str) -> bool:
    """True if an object has an object under `data`, or an array whose first item is a value of JSON-MIN.

    Also for the header of a CSV or TSV export, which the reader refuses by name.
    """
    return _is_table(text) or any(
        isinstance(values.get("data"), dict)
        or any(isinstance(items, list) and items and _is_value(items[0]) for items in values.values())
        for values in sample_objects(path, text)
    )


def _is_table(text: str) -> bool:
    """True for the header of a CSV or TSV export."""
    if text.lstrip()[:1] in ("{", "["):  # JSON-MIN in one line
        return False
    return {"annotation_id", "annotator"} <= set(re.split(r'["\t,]+', text.partition("\n")[0].strip()))


def read_labelstudio(path: str | Path, reading: Reading = DEFAULTS) -> Texts:
    """Reads one text a task.

    Notes count the tasks that were skipped or not done, which are left out, and the results that are not
    labels.  If no task is done, the file is not annotated.
    """
    path = Path(path)
    content = read_content(path, reading.encoding)
    if _is_table(content.text):
        raise DataError(
            f"{path}:1: a CSV or TSV export of Label Studio, expected its JSON or JSON-MIN export"
        )
    texts, skipped_lines, ignored_lines = [], [], []
    unread = UnreadKeys(path, "entities under 'annotations'")
    for line, task in objects(path, content.text):
        data = task["data"] if isinstance(task.get("data"), dict) else task
        text_key = _text_key(path, line, data)
        text = text_of(path, line, data, text_key)
        if data is task:
            key, values = _json_min(task)
        else:
            key, values = "", _values(path, line, task, ignored_lines)
            unread.check(line, task, {"data", *NO_ENTITIES}, annotated=True)
        unread.check(line, data, {text_key, key}, annotated=values is not None)
        if values is None and task.get("annotations", task.get("completions")):
            skipped_lines.append(line)
        else:
            marks = None if values is None else tuple(_mark(path, line, value) for value in values)
            texts.append(AnnotatedText(path, line, text, marks))
    undone_lines = [text.line for text in texts if text.marks is None]
    if len(undone_lines) < len(texts):
        texts = [text for text in texts if text.marks is not None]
    else:  # nothing is annotated: texts for predict.py
        undone_lines = []
    notes = [*content.notes, *unread.notes(), *note_lines(skipped_lines, "left out", "skipped task")]
    notes += note_lines(undone_lines, "left out", "task without annotation", "tasks without annotation")
    notes += note_lines(ignored_lines, "of other kinds ignored", "result")
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
    if any("type" not in r and _is_value(r.get("value")) for r in results):
        raise DataError(f"{path}:{line}: got labels in a result without type, expected type 'labels'")
    if other := next(
        (r["type"] for r in results if r not in labels and "labels" in str(r.get("type"))), None
    ):
        raise DataError(f"{path}:{line}: got results of type {other!r}, expected 'labels'")
    ignored_lines += [line] * (len(results) - len(labels))
    return [result.get("value") for result in labels]


def _json_min(task: dict) -> tuple[str, list | None]:
    """The key of a task's labels, and their values: the first array of values, else the first empty one.

    A task that is done and has no label lacks the key.
    """
    arrays = {key: value for key, value in task.items() if isinstance(value, list)}
    with_values = [key for key, items in arrays.items() if items and _is_value(items[0])]
    key = next(iter([*with_values, *(key for key, items in arrays.items() if not items)]), "")
    return key, arrays.get(key, [] if "annotation_id" in task else None)


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

    If the surface of some entities fits only one unit, the others are read in that unit too.  DataError if
    the unit stays open.
    """
    readings = [[_readings(text.text, mark) for mark in text.marks or ()] for text in source.texts]
    known = {unit for row in readings for fitting in row if len(fitting) == 1 for unit in fitting}
    texts = []
    for text, row in zip(source.texts, readings, strict=True):
        marks = []
        for mark, fitting in zip(text.marks or (), row, strict=True):
            if len(fitting) > 1 and len(known) != 1:
                span = f"{text.path}:{mark.line}: {mark.label} {mark.start}-{mark.end}"
                which = "UTF-16 units or code points, expected the entity's text to show which"
                raise DataError(f"{span} may count {which}")
            unit = next(iter(known if len(fitting) > 1 else fitting), None)
            marks.append(fitting.get(unit, mark))
        texts.append(text._replace(marks=text.marks and tuple(marks)))
    shown = f"offsets are read as {' or '.join(sorted(known))}, as the entities' texts show"
    return source._replace(texts=texts, notes=[*source.notes, *([shown] if known else [])])


def _readings(text: str, mark: Mark) -> dict[str, Mark]:
    """By unit the mark with offsets in code points, if its surface fits.

    Empty if the unit has no effect: no character before the end is beyond the BMP, two units of UTF-16.
    """
    if max(text[: max(mark.end, 0)], default="") <= "\uffff":
        return {}
    offsets = list(accumulate((1 + (character > "\uffff") for character in text), initial=0))
    start, end = (offsets.index(offset) if offset in offsets else -1 for offset in mark[:2])
    marks = {"code points": mark, "UTF-16 units": mark._replace(start=start, end=end)}
    return {
        unit: m
        for unit, m in marks.items()
        if 0 <= m.start < m.end <= len(text) and m.surface in (None, text[m.start : m.end])
    }


FORMAT = Format("texts", read_labelstudio, looks_like, expects="JSON with an object under 'data'")
