"""JSON objects as frozen dataclasses: an unknown key, a wrong type or a value out of bounds is refused.

A dataclass of options inherits from `Options`.  The bounds of a field stand beside it:

    @dataclass(frozen=True, kw_only=True)
    class Optimiser(Options):
        learning_rate: float = option(5e-5, above=0)
        "peak learning rate"
        schedule: str = option("linear", choices=SCHEDULES)
        "how the learning rate falls after the warm-up"
"""

import difflib
import json
import operator
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from ner.errors import DataError
from ner.files import read_json, read_text

LARGEST = sys.float_info.max  # JSON allows larger whole numbers


# bound of an option -> whether a value keeps it, and how an error says what is expected
BOUNDS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "low": (operator.ge, "{} or more"),
    "above": (operator.gt, "a number above {}"),
    "high": (operator.le, "{} or less"),
    "below": (operator.lt, "a number below {}"),
}


def option(
    default: Any = MISSING,
    *,
    default_factory: Any = MISSING,
    flat: str = "",
    choices: Iterable[str] | None = None,
    expected: str = "",
    **bounds: float,
) -> Any:
    """A dataclass field with its bounds: keys of `BOUNDS`, or `choices`, such as the keys of a registry.

    `expected` describes the bounds in an error; empty: a description is made from the one that is not kept.
    `flat` is the key of params.json that sets a part's option, such as `head_dropout` for a head's `dropout`.
    """
    metadata = {"bounds": bounds, "choices": choices, "expected": expected, "flat": flat}
    return field(default=default, default_factory=default_factory, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of a dataclass of options.  ValueError `name: got ..., expected ...` for a value out of bounds."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value, choices = getattr(self, one.name), one.metadata.get("choices")
            stated = one.metadata.get("expected")
            if choices is not None:
                require(value in list(choices), one.name, value, stated or f"one of {', '.join(choices)}")
            elif not isinstance(value, str | NoneType):  # text and null have no order
                for name, bound in one.metadata.get("bounds", {}).items():
                    holds, text = BOUNDS[name]
                    require(holds(value, bound), one.name, value, stated or text.format(bound))


def require(condition: bool, name: str, got: Any, expected: str) -> None:
    """ValueError `name: got ..., expected ...` if the condition is false."""
    if not condition:
        raise ValueError(f"{name}: got {got!r}, expected {expected}")


def choose(value: Any, choices: Iterable[str], where: str) -> Any:
    """The value; DataError, beginning with `where`, if it is none of the choices."""
    if value not in list(choices):
        raise DataError(f"{where}: got {value!r}, expected one of {', '.join(choices)}")
    return value


def from_mapping(
    cls: type, values: Mapping[str, Any], where: str, locate: Callable[[str], str] | None = None
):
    """Builds the dataclass `cls` from JSON values; DataError names an unknown key, a wrong type or value.

    The error begins with `where`, or with `locate(key)` if `locate` is given.
    """
    locate = locate or (lambda name: where)
    hints = typing.get_type_hints(cls)
    known = [one.name for one in fields(cls)]
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            all_known = f"expected one of {', '.join(known)}"
            hint = f"the nearest known one is {close[0]!r}" if close else all_known
            raise DataError(f"{locate(name)}: unknown key {name!r}, {hint}")
        if not _has_type(value, hints[name]):
            raise DataError(f"{locate(name)}: {name}: got {value!r}, expected {_describe_type(hints[name])}")
    try:
        return cls(**values)
    except ValueError as error:
        raise DataError(f"{locate(str(error).partition(':')[0])}: {error}") from None


def _has_type(value: Any, kind: Any) -> bool:
    if isinstance(kind, UnionType):
        return any(_has_type(value, one) for one in typing.get_args(kind))
    kind = typing.get_origin(kind) or kind
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _describe_type(kind: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", NoneType: "null"}
    if isinstance(kind, UnionType):
        return " or ".join(_describe_type(one) for one in typing.get_args(kind))
    return names.get(kind, "an object")


def load_options(cls: type, path: str | Path | None, overrides: Sequence[str] = ()):
    """Reads a JSON file (None: the defaults of `cls`) and applies `key=value` overrides.

    `key.inner=value` sets one key of an option that is an object, such as `encoder.hidden_size=256`.
    Each override is checked alone; options that depend on each other are checked when all are applied.
    """
    values = {} if path is None else read_json(path)
    options = from_mapping(cls, values, str(path), lambda name: locate_key(path, name))
    values = {}
    for override in overrides:
        name, equals, text = override.partition("=")
        if not equals:
            raise DataError(f"--set {override}: expected key=value")
        value = parse_value(text)
        top, dot, inner = name.partition(".")
        before = values.get(top, getattr(options, top, None))
        if dot and isinstance(before, Mapping):
            name, value = top, {**before, inner: value}
        values[name] = getattr(from_mapping(cls, {name: value}, f"--set {override}"), name)
    try:
        return replace(options, **values)
    except ValueError as error:
        raise DataError(f"--set {' '.join(overrides)}: {error}") from None


def parse_value(text: str) -> Any:
    """The JSON value, or the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def locate_key(path: str | Path, name: str) -> str:
    """`file:line` of the first line of a JSON file that holds the key; the file alone if no line does."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if f'"{name}"' in line:
            return f"{path}:{number}"
    return str(path)


def to_json(values: Any) -> str:
    """Indented JSON of a dataclass or a mapping, with a newline at the end."""
    values = asdict(values) if is_dataclass(values) else values
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
