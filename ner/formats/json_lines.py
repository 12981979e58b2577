"""JSON objects, one a line, and what their readers share."""

import json
from collections.abc import Iterator
from pathlib import Path

from ner.corpus import DataError, once
from ner.formats.document import Lines


def objects(path: str | Path, lines: Lines) -> Iterator[tuple[int, dict]]:
    """(line from 1, object) of the lines that are not blank."""
    for number, line in enumerate(lines.lines, start=1):
        if line and not line.isspace():
            try:
                value = json.loads(line, object_pairs_hook=once)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}:{number}: not JSON at column {error.colno}, {error.msg}") from None
            except ValueError as error:
                raise DataError(f"{path}:{number}: {error}") from None
            except RecursionError:
                raise DataError(f"{path}:{number}: not JSON that can be read, nested too deeply") from None
            if not isinstance(value, dict):
                raise DataError(f"{path}:{number}: got {name_of(value)}, expected one JSON object a line")
            yield number, value


def text_of(path: str | Path, number: int, values: dict, key: str = "text") -> str:
    """The text of an object; DataError where there is none or it holds half of a surrogate pair."""
    text = values.get(key)
    if not isinstance(text, str):
        got = name_of(text) if key in values else f"keys {', '.join(map(repr, values)) or 'none'}"
        raise DataError(f"{path}:{number}: got {got}, expected a string under {key!r}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(f"{path}:{number}: half of a surrogate pair in {key!r}, expected whole characters")
    return text


def name_of(value: object) -> str:
    """The JSON name of a value's type."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
