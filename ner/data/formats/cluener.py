"""CLUENER: `{"text": ..., "label": {type: {surface: [[start, end], ...]}}}` a line, ends inclusive.

Xu et al. 2020, https://arxiv.org/abs/2001.04351.  A file without the key `label` is not annotated.
"""

from collections.abc import ItemsView, Iterator
from pathlib import Path

from ner.data.formats.document import read_content
from ner.data.formats.format import DEFAULTS, Format, Reading
from ner.data.formats.json_objects import objects, sample_objects, text_of, type_name
from ner.data.formats.texts import AnnotatedText, Mark, Texts
from ner.errors import DataError

EXPECTED = "expected {type: {surface: [[start, end], ...]}} under 'label'"


def looks_like(path: Path, text: str) -> bool:
    """True if an object has an object under `label`."""
    return any(isinstance(values.get("label"), dict) for values in sample_objects(path, text))


def read_cluener(path: str | Path, reading: Reading = DEFAULTS) -> Texts:
    """Reads one text an object; ignores other keys, such as `id`."""
    path = Path(path)
    content = read_content(path, reading.encoding)
    texts = []
    for line, values in objects(path, content.text):
        marks = tuple(_marks(path, line, values["label"])) if "label" in values else None
        texts.append(AnnotatedText(path, line, text_of(path, line, values, "text"), marks))
    return Texts(path, texts, content.notes, content.sha256)


def _marks(path: Path, line: int, labels: object) -> Iterator[Mark]:
    for label, surfaces in _items(path, line, labels):
        for surface, places in _items(path, line, surfaces):
            if not isinstance(places, list) or not all(map(_is_place, places)):
                raise DataError(f"{path}:{line}: got {str(places)[:40]} for {surface!r}, {EXPECTED}")
            for start, last in places:
                yield Mark(start, last + 1, label, line, surface)


def _items(path: Path, line: int, value: object) -> ItemsView[str, object]:
    if not isinstance(value, dict):
        raise DataError(f"{path}:{line}: got {type_name(value)}, {EXPECTED}")
    return value.items()


def _is_place(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(offset) is int for offset in value)


FORMAT = Format("texts", read_cluener, looks_like)
