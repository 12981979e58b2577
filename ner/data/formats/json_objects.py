"""Files of JSON objects, one after the other or in one array, and what their readers share."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from ner.data.formats.columns import ends_with_tag, first_columns
from ner.errors import DataError
from ner.files import unique_keys

N_SAMPLED = 1000  # objects from which a format is guessed
_SPACE = " \t\r\n"


def looks_like_json(text: str) -> bool:
    """True if a text begins with a brace or bracket, and its first line is not a token with its tag."""
    return text.lstrip()[:1] in ("{", "[") and not ends_with_tag(first_columns(text))


def sample_objects(path: str | Path, text: str) -> Iterator[dict]:
    """The first `N_SAMPLED` objects of a text; nothing if it does not look like JSON."""
    if looks_like_json(text):
        yield from (values for _, values in islice(objects(path, text), N_SAMPLED))


def objects(path: str | Path, text: str) -> Iterator[tuple[int, dict]]:
    """(line from 1 on which it begins, object) of JSON lines, or of the objects of one array."""
    position = _skip_space(text, 0)
    is_array = text.startswith("[", position)
    if is_array:
        position = _skip_space(text, position + 1)
    line, counted, more = 1, 0, not (is_array and text.startswith("]", position))
    while more and (is_array or position < len(text)):
        line, counted = line + text.count("\n", counted, position), position
        value, position = _decode(path, text, position, line)
        if not isinstance(value, dict):
            raise DataError(f"{path}:{line}: got {type_name(value)}, expected a JSON object")
        yield line, value
        position = _skip_space(text, position)
        if is_array:
            more = text.startswith(",", position)
            position = _skip_space(text, position + 1) if more else position
    if is_array and (text[position : position + 1] != "]" or _skip_space(text, position + 1) < len(text)):
        number = text.count("\n", 0, position) + 1
        raise DataError(
            f"{path}:{number}: not JSON, expected , or ] after an object, nothing after the last ]"
        )


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


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
