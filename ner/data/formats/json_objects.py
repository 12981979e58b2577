"""JSON objects one after the other, or in one array, and what their readers share."""

import json
from collections.abc import Iterator
from pathlib import Path

from ner.errors import DataError
from ner.files import unique_keys

_SPACE = " \t\r\n"


def objects(path: str | Path, text: str) -> Iterator[tuple[int, dict]]:
    """(line from 1 on which it begins, object) of JSON lines, or of the objects of one array."""
    position = _skip(text, 0)
    is_array = text.startswith("[", position)
    if is_array:
        position = _skip(text, position + 1)
    line, counted, more = 1, 0, not (is_array and text.startswith("]", position))
    while more and (is_array or position < len(text)):
        line, counted = line + text.count("\n", counted, position), position
        value, position = _decode(path, text, position, line)
        if not isinstance(value, dict):
            raise DataError(f"{path}:{line}: got {name_of(value)}, expected a JSON object")
        yield line, value
        position = _skip(text, position)
        if is_array:
            more = text.startswith(",", position)
            position = _skip(text, position + 1) if more else position
    if is_array and (text[position : position + 1] != "]" or _skip(text, position + 1) < len(text)):
        number = text.count("\n", 0, position) + 1
        raise DataError(
            f"{path}:{number}: not JSON, expected , or ] after an object, nothing after the last ]"
        )


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def _decode(path: str | Path, text: str, position: int, line: int) -> tuple[object, int]:
    try:
        return json.JSONDecoder(object_pairs_hook=unique_keys).raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON at column {error.colno}, {error.msg}") from None
    except ValueError as error:
        raise DataError(f"{path}:{line}: {error}") from None
    except RecursionError:
        raise DataError(f"{path}:{line}: not JSON that can be read, nested too deeply") from None


def text_of(path: str | Path, line: int, values: dict, *keys: str) -> str:
    """The string under the first of the keys that is there; DataError where it is none or cannot be text."""
    key = next((key for key in keys if key in values), None)
    if key is None or not isinstance(values[key], str):
        got = f"{name_of(values[key])} under {key!r}" if key else f"keys {list(values)[:5]}"
        raise DataError(f"{path}:{line}: got {got}, expected a string under {keys[0]!r}")
    if any("\ud800" <= character <= "\udfff" for character in values[key]):
        raise DataError(f"{path}:{line}: half of a surrogate pair in {key!r}, expected whole characters")
    return values[key]


def name_of(value: object) -> str:
    """The JSON name of a value's type."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
