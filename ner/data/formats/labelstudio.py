"""Label Studio: tasks `{"data": {"text"}, "annotations": [{"result": [{"value": ...}]}]}`; JSON-MIN too.

A value is `{"start", "end", "text", "labels": ["LOC"]}`.  Its offsets are JavaScript's, UTF-16 units, in
exports of 2021 and before (https://github.com/HumanSignal/label-studio/issues/1347), and code points later
(https://github.com/HumanSignal/label-studio/pull/1559): its text decides which.
"""

from collections.abc import Iterator
from pathlib import Path

from ner.data.formats.document import count_of, read_content
from ner.data.formats.json_objects import name_of, objects, text_of
from ner.data.formats.texts import AnnotatedText, Mark, Texts, named_lines
from ner.errors import DataError

ASTRAL = "\uffff"  # characters beyond it are two units of UTF-16


def read_labelstudio(path: str | Path, *, encoding: str = "utf-8") -> Texts:
    """One text a task.  Tasks that were skipped, and results that are no labels, are counted in the notes."""
    path = Path(path)
    content = read_content(path, encoding)
    texts, skipped, others = [], [], []
    for line, task in objects(path, content.text):
        data = task["data"] if isinstance(task.get("data"), dict) else task
        text = text_of(path, line, data, _text_key(path, line, data))
        values = _values(path, line, task, others)
        if values is None and task.get("annotations", task.get("completions")):
            skipped.append(line)
        else:
            marks = None if values is None else tuple(_mark(path, line, value) for value in values)
            texts.append(AnnotatedText(path, line, text, marks))
    notes = list(content.notes)
    if skipped:
        notes.append(f"{count_of(len(skipped), 'skipped task')} left out: {named_lines(skipped)}")
    if others:
        notes.append(f"{count_of(len(others), 'result')} of other kinds passed over: {named_lines(others)}")
    return _in_code_points(Texts(path, texts, notes, content.sha256))


def _text_key(path: Path, line: int, data: dict) -> str:
    """`text`, or the only key with a string."""
    keys = ["text"] if "text" in data else [key for key, value in data.items() if isinstance(value, str)]
    if len(keys) != 1:
        raise DataError(f"{path}:{line}: strings under {keys}, expected the text under 'text'")
    return keys[0]


def _values(path: Path, line: int, task: dict, others: list[int]) -> list[dict] | None:
    """The values of a task's labels; None where it has no annotation, or skipped ones alone."""
    if not isinstance(task.get("data"), dict):  # JSON-MIN
        return _min_values(task)
    annotations = task.get("annotations", task.get("completions")) or []
    if not isinstance(annotations, list) or not all(isinstance(a, dict) for a in annotations):
        raise DataError(f"{path}:{line}: got {name_of(annotations)}, expected an array of annotations")
    annotations = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    if len(annotations) > 1:
        raise DataError(f"{path}:{line}: {len(annotations)} annotations of one text, expected one")
    if not annotations:
        return None
    results = annotations[0].get("result")
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise DataError(f"{path}:{line}: got {name_of(results)}, expected an array under 'result'")
    labels = [result for result in results if result.get("type") in ("labels", "hypertextlabels")]
    others += [line] * (len(results) - len(labels))
    return [result.get("value") for result in labels]


def _min_values(task: dict) -> list[dict] | None:
    lists = [value for value in task.values() if isinstance(value, list)]
    return next((values for values in lists if values and is_value(values[0])), lists[0] if lists else None)


def is_value(item: object) -> bool:
    """Whether an item looks like a labelled span of JSON-MIN."""
    return isinstance(item, dict) and isinstance(item.get("labels"), list)


def _mark(path: Path, line: int, value: object) -> Mark:
    """A value's span, its offsets as they stand."""
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
    """Every mark's offsets in code points; DataError where nothing tells what they count."""
    readings = {
        (i, mark): list(_readings(text.text, mark))
        for i, text in enumerate(source.texts)
        for mark in text.marks or ()
        if any(character > ASTRAL for character in text.text[: max(mark.end, 0)])
    }
    told = {fits[0] for fits in readings.values() if len(fits) == 1}
    texts = []
    for i, text in enumerate(source.texts):
        marks = None if text.marks is None else []
        for mark in text.marks or ():
            fits = readings.get((i, mark), ["code points"])
            if len(fits) > 1 and len(told) != 1:
                raise DataError(
                    f"{text.path}:{mark.line}: {mark.label} {mark.start}-{mark.end} may count UTF-16 units or"
                    " code points, expected the entity's text to tell"
                )
            reading = (fits if len(fits) < 2 else [*told])[:1]
            if reading == ["UTF-16 units"]:
                mark = mark._replace(start=_index(text.text, mark.start), end=_index(text.text, mark.end))
            marks.append(mark)
        texts.append(text._replace(marks=None if marks is None else tuple(marks)))
    notes = [f"offsets are read as {' or '.join(sorted(told))}, as their texts tell"] if told else []
    return source._replace(texts=texts, notes=[*source.notes, *notes])


def _readings(text: str, mark: Mark) -> Iterator[str]:
    """What the offsets may count, going by the surface."""
    places = {
        "code points": (mark.start, mark.end),
        "UTF-16 units": (_index(text, mark.start), _index(text, mark.end)),
    }
    for name, (start, end) in places.items():
        if 0 <= start < end <= len(text) and mark.surface in (None, text[start:end]):
            yield name


def _index(text: str, offset: int) -> int:
    """The code point at an offset in UTF-16 units; -1 inside a character or beyond the text."""
    units = 0
    for index, character in enumerate(text):
        if units >= offset:
            return index if units == offset else -1
        units += 2 if character > ASTRAL else 1
    return len(text) if units == offset else -1
