"""The format of a file, from what it looks like."""

from pathlib import Path

from ner.data.formats.columns import DOCUMENT_START, split_columns
from ner.data.formats.document import read_content
from ner.data.formats.json_objects import objects
from ner.data.formats.jsonl import KEYS
from ner.data.formats.labelstudio import is_value
from ner.tags import split_tag


def guess_format(path: str | Path, *, encoding: str = "utf-8") -> str:
    """The name in `FORMATS`: of JSON from its keys, of columns from their number.

    A line whose last column is a tag is no JSON, whatever it begins with.  A folder is brat's, and so is a
    text with its `.ann` beside it.
    """
    path = Path(path)
    if path.is_dir() or (path.suffix in (".ann", ".txt") and path.with_suffix(".ann").exists()):
        return "brat"
    text = read_content(path, encoding).text
    first = split_columns(text.lstrip("\r\n").partition("\n")[0].removesuffix("\r"))
    if text.lstrip()[:1] in ("{", "[") and not (len(first) > 1 and _is_tag(first[-1])):
        return _json_format(path, text)
    return "conll" if len(first) > 2 or first[:1] == [DOCUMENT_START] else "bio"


def _is_tag(column: str) -> bool:
    try:
        return bool(split_tag(column))
    except ValueError:
        return False


def _json_format(path: Path, text: str) -> str:
    """That of the first object with an entity; without any, all formats read the same."""
    for _, values in objects(path, text):
        lists = [value for value in values.values() if isinstance(value, list)]
        if isinstance(values.get("data"), dict) or any(items and is_value(items[0]) for items in lists):
            return "labelstudio"
        if isinstance(values.get("label"), dict):
            return "cluener"
        if any(values.get(key) for key in KEYS):
            return "jsonl"
    return "jsonl"
