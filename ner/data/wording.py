"""Phrases that messages and reports share: counts, lists of lines, excerpts of text, aligned columns."""

import unicodedata
from collections.abc import Iterable, Sequence

N_LINES = 10  # line numbers that one message lists


def count_noun(n: int, singular: str, plural: str | None = None) -> str:
    """`1 line`, `2,000 lines`."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def list_lines(numbers: Iterable[int]) -> str:
    """`line 3`, `lines 3, 5` or, for many, `lines 1, 2, ... and 90 more`; each number once."""
    numbers = list(dict.fromkeys(numbers))
    noun = "line" if len(numbers) == 1 else "lines"
    more = f" and {len(numbers) - N_LINES:,} more" if len(numbers) > N_LINES else ""
    return f"{noun} {', '.join(map(str, numbers[:N_LINES]))}{more}"


def note_lines(numbers: Sequence[int], what: str, singular: str, plural: str | None = None) -> list[str]:
    """A note on lines, such as `2 texts left out: lines 1, 3`; none if there are no lines."""
    n_lines = count_noun(len(numbers), singular, plural)
    return [f"{n_lines} {what}: {list_lines(numbers)}"] if numbers else []


def quote(text: str) -> str:
    """The first 20 characters of a text, in quotes and on one line."""
    return repr(_truncate(text, 20))


def excerpt(text: str) -> str:
    r"""The first 60 characters of a text on one line; a character that shows nothing becomes \uXXXX."""
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in _truncate(text, 60))


def _truncate(text: str, n_characters: int) -> str:
    return text if len(text) <= n_characters else text[: n_characters - 1] + "…"


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines with columns of equal width: the first column flush left, the others flush right."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        spaces = [" " * (width - display_width(cell)) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join([row[0] + spaces[0], *map(str.__add__, spaces[1:], row[1:])]).rstrip())
    return "\n".join(lines)


def display_width(text: str) -> int:
    """Columns that a text takes in a terminal; a full-width character takes two."""
    return sum(1 + (unicodedata.east_asian_width(character) in "WF") for character in text)
