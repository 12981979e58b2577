"""JSON objects, one after the other or in one array: what all readers of JSON share.

A reader names the keys that it reads.  An object with a list under another key is refused, or the key is
noted, so that annotation under a name that no reader knows is never taken for "nothing there".
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from ner.data.formats.columns import begins_with_tagged_token
from ner.data.wording import count_noun
from ner.errors import DataError
from ner.files import has_half_pair, unique_keys

_skip_space = re.compile(r"[ \t\r\n\ufeff]*").match  # files joined by `cat` have marks between their objects
N_SAMPLED = 1000  # objects from which a format is guessed
WITHOUT_GOLD = {"meta", "metadata", "comments", "Comments", "cats"}  # keys that never hold entities
_TOKEN_KEYS = {"id", "text", "start", "end", "ws", "disabled"}  # of a token of Prodigy
_OFFSET = re.compile(r"start|begin|end|offset|span|pos|index|idx|from|to(?!k)", re.IGNORECASE)
_LABEL = re.compile(r"label|type|tag|class|entity|category|name", re.IGNORECASE)


def looks_like_json(path: Path, text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[") and not begins_with_tagged_token(text)


def sample_objects(path: Path, text: str) -> Iterator[dict]:
    """The first `N_SAMPLED` objects of a text; nothing if it does not look like JSON."""
    if looks_like_json(path, text):
        yield from (values for _, values in islice(objects(path, text), N_SAMPLED))


def objects(path: str | Path, text: str) -> Iterator[tuple[int, dict]]:
    """(line from 1 on which it begins, object) of JSON lines, or of the objects of one array.

    A pair `[text, {...}]` (spaCy 2) becomes the object with its text under `text`.
    """
    position = _skip_space(text, 0).end()
    is_array = re.compile(r'\[\s*(?!")').match(text, position) is not None  # ["text", ... begins a pair
    if is_array:
        position = _skip_space(text, position + 1).end()
    line, counted, more = 1, 0, not (is_array and text.startswith("]", position))
    while more and (is_array or position < len(text)):
        line, counted = line + text.count("\n", counted, position), position
        value, position = _decode(path, text, position, line)
        if isinstance(value, list) and [type(item) for item in value] == [str, dict]:
            value = {"text": value[0]} | value[1]
        if not isinstance(value, dict):
            raise DataError(f"{path}:{line}: got {type_name(value)}, expected a JSON object")
        yield line, value
        position = _skip_space(text, position).end()
        if is_array:
            more = text.startswith(",", position)
            position = _skip_space(text, position + 1).end() if more else position
    if is_array and text[position:].rstrip(" \t\r\n\ufeff") != "]":
        line, _ = _line_and_column(text, position)
        expected = "expected , or ] after an object, nothing after the last ]"
        raise DataError(f"{path}:{line}: not JSON, {expected}")


def _decode(path: str | Path, text: str, position: int, line: int) -> tuple[object, int]:
    """The JSON value at a position, and the position after it."""
    try:
        return json.JSONDecoder(object_pairs_hook=unique_keys).raw_decode(text, position)
    except json.JSONDecodeError as error:
        line, column = _line_and_column(text, error.pos)
        raise DataError(f"{path}:{line}: not JSON at column {column}, {error.msg}") from None
    except ValueError as error:
        raise DataError(f"{path}:{line}: {error}") from None
    except RecursionError:
        raise DataError(f"{path}:{line}: not JSON that can be read, nested too deeply") from None


def _line_and_column(text: str, position: int) -> tuple[int, int]:
    """Where JSON breaks off, from 1: after what is unfinished, not where the text or the next object is."""
    before = text[:position]
    next_object = text[position : position + 1] in ("{", "[") and before.endswith("\n")
    if position == len(text) or next_object:
        before = before.rstrip()
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def text_of(path: str | Path, line: int, values: dict, *keys: str) -> str:
    """The string under the first of the keys that the object has.

    DataError if it has no such key, if the value is not a string, or if it holds half of a surrogate pair.
    """
    key = next((key for key in keys if key in values), None)
    if key is None or not isinstance(values[key], str):
        got = f"{type_name(values[key])} under {key!r}" if key else f"keys {list(values)[:5]}"
        raise DataError(f"{path}:{line}: got {got}, expected a string under {keys[0]!r}")
    if has_half_pair(values[key]):
        raise DataError(f"{path}:{line}: half of a surrogate pair in {key!r}, expected whole characters")
    return values[key]


def type_name(value: object) -> str:
    """The JSON name of a value's type, with its article."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


class UnreadKeys:
    """Keeps account of the keys of objects that a reader does not read."""

    def __init__(self, path: Path, expected: str):
        self.path, self.expected, self.n_objects = path, expected, Counter()

    def check(self, line: int, values: dict, read: Collection[str], *, annotated: bool) -> None:
        """DataError if a key that is not read may hold entities.

        In an annotated object, only a list that looks like spans is refused; in any other object, every list.
        """
        for key, value in values.items():
            if key in read or key in WITHOUT_GOLD or not _has_list(value) or _is_tokens(key, value):
                continue
            if not annotated or (key != "relations" and _holds_spans(value)):
                got = f"a list under {key!r}, a key that is not read"
                raise DataError(f"{self.path}:{line}: got {got}; expected {self.expected}")
            self.n_objects[key] += 1

    def notes(self) -> list[str]:
        return [f"key {key!r} not read, in {count_noun(n, 'object')}" for key, n in self.n_objects.items()]


def _has_list(value: object) -> bool:
    """True for a list that is not empty, or an object that holds one."""
    if isinstance(value, dict):
        return any(map(_has_list, value.values()))
    return isinstance(value, list) and bool(value)


def _is_tokens(key: str, value: object) -> bool:
    """True for the tokens of a text, if their objects hold nothing but a place."""
    if key not in ("tokens", "words") or not isinstance(value, list):
        return False
    return all(
        isinstance(item, str) or (isinstance(item, dict) and item.keys() <= _TOKEN_KEYS) for item in value
    )


def _holds_spans(value: object) -> bool:
    """True if a list, or a list in an object, has an item with two offsets and a label."""
    if isinstance(value, dict):
        return any(map(_holds_spans, value.values()))
    return isinstance(value, list) and any(map(_is_span, value))


def _is_span(item: object) -> bool:
    """True for `[0, 5, "LOC"]`, `["LOC", [0, 5]]` or an object with numbers as offsets and a label."""
    found = list(_scalars("", item)) if isinstance(item, list | dict) else []
    numbers = [
        key for key, value in found if type(value) is int or (isinstance(value, str) and value.isdecimal())
    ]
    names = [key for key, value in found if isinstance(value, str) and not value.isdecimal()]
    if isinstance(item, dict):
        numbers = [key for key in numbers if _OFFSET.search(key) and not key.endswith("id")]
        names = [key for key in names if _LABEL.search(key)]
    return len(numbers) > 1 and len(names) > 0


def _scalars(key: str, value: object) -> Iterator[tuple[str, object]]:
    """(the nearest key, value) of everything in a value that is no list or object."""
    if isinstance(value, dict):
        for inner, one in value.items():
            yield from _scalars(inner, one)
    elif isinstance(value, list):
        for one in value:
            yield from _scalars(key, one)
    else:
        yield key, value
