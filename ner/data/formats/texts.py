"""Texts with entities as spans of characters, as annotation tools write them, and checks on them."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ner.data.formats.document import count_of
from ner.errors import DataError

N_NAMED = 10  # lines that an error names; it is one line itself


class Mark(NamedTuple):
    """An entity, `text[start:end]` in code points; `line` of the file that says so, from 1.

    `surface` is what the file says that stands there, None where it says nothing.
    """

    start: int
    end: int
    label: str
    line: int
    surface: str | None = None


class AnnotatedText(NamedTuple):
    """`marks` may nest; None where the text is not annotated.  `path` is the file that holds them.

    `stands` are file and line where the text itself starts, if a file has it as it is.
    """

    path: Path
    line: int
    text: str
    marks: tuple[Mark, ...] | None
    stands: tuple[Path, int] | None = None

    @property
    def place(self) -> tuple[Path, int]:
        return self.stands or (self.path, self.line)


class InvalidSpan(NamedTuple):
    """An entity that cannot stay as it is, and why."""

    path: Path
    line: int
    what: str


class Texts(NamedTuple):
    """A file as read, its texts uncut.  `invalid` are entities that are in no text's marks.

    The rest is as in a `Document`.
    """

    path: Path
    texts: list[AnnotatedText]
    notes: list[str]
    sha256: str
    invalid: tuple[InvalidSpan, ...] = ()


def checked(source: Texts, *, drop_invalid: bool = False) -> Texts:
    """The same with every mark a part of its text, given once.

    Raises DataError where an entity lies outside its text, is empty, has another surface there or is in
    parts, unless it is to be left out; and where only some texts are annotated.
    """
    bare = next((text for text in source.texts if text.marks is None), None)
    if bare and any(text.marks is not None for text in source.texts):
        raise DataError(
            f"{bare.path}:{bare.line}: not annotated, though other texts are; expected all or none"
        )
    refuse(source.invalid, "in parts", drop_invalid=drop_invalid)
    texts, off, again = [], [], []
    for text in source.texts:
        if text.marks is not None:
            kept: dict[tuple, Mark] = {}
            for mark in text.marks:
                if any("\ud800" <= character <= "\udfff" for character in mark.label):
                    raise DataError(
                        f"{text.path}:{mark.line}: half of a surrogate pair in label {mark.label!a}"
                    )
                if what := _off(text.text, mark):
                    off.append(InvalidSpan(text.path, mark.line, what))
                elif mark[:3] in kept:
                    again.append(mark.line)
                else:
                    kept[mark[:3]] = mark
            text = text._replace(marks=tuple(kept[place] for place in sorted(kept)))
        texts.append(text)
    refuse(off, "elsewhere than the text has it", drop_invalid=drop_invalid)
    notes = list(source.notes)
    if again:
        n_again = count_of(len(again), "entity", "entities")
        notes.append(f"{n_again} given twice, read once: {named_lines(again)}")
    return source._replace(texts=texts, notes=notes, invalid=(*source.invalid, *off))


def _off(text: str, mark: Mark) -> str:
    """What is wrong with a mark's place or surface; empty where nothing is."""
    if not 0 <= mark.start < mark.end <= len(text):
        return f"{mark.label} {mark.start}-{mark.end} in a text of {count_of(len(text), 'character')}"
    if mark.surface in (None, text[mark.start : mark.end]):
        return ""
    return f"{named_mark(text, mark)} in the text, {shown(mark.surface)} in the annotation"


def split_lines(source: Texts, *, drop_invalid: bool = False) -> Texts:
    """Every line of every text a text; an entity that goes over a line end is a misfit."""
    texts, over = [], []
    for text in source.texts:
        marks = list(text.marks or ())
        start = 0
        for number, line in enumerate(text.text.split("\n")):
            end = start + len(line.removesuffix("\r"))
            inside = [mark for mark in marks if start <= mark.start and mark.end <= end]
            marks = [mark for mark in marks if mark not in inside]
            moved = tuple(mark._replace(start=mark.start - start, end=mark.end - start) for mark in inside)
            if end > start:
                moved = None if text.marks is None else moved
                stands = text.stands and (text.stands[0], text.stands[1] + number)
                texts.append(text._replace(text=text.text[start:end], marks=moved, stands=stands))
            start += len(line) + 1
        over += [InvalidSpan(text.path, mark.line, named_mark(text.text, mark)) for mark in marks]
    refuse(over, "going over a line end", drop_invalid=drop_invalid)
    return source._replace(texts=texts, invalid=(*source.invalid, *over))


def flat(source: Texts, *, keep_longest: bool = False) -> Texts:
    """No two marks of a text overlap; those that do are refused or, but for the longest, left out.

    Of two as long as each other the first is kept.
    """
    texts, invalid = [], []
    for text in source.texts:
        if text.marks is not None:
            kept: list[Mark] = []
            others = []
            for mark in sorted(text.marks, key=lambda mark: (mark.start - mark.end, mark.start)):
                longer = _overlapping(kept, mark)
                if longer is None:
                    insort(kept, mark, key=_start)
                else:
                    others.append((mark, longer))
            for mark, longer in sorted(others, key=lambda pair: pair[0][:3]):
                what = f"{named_mark(text.text, mark)} overlaps {named_mark(text.text, longer)}"
                invalid.append(InvalidSpan(text.path, mark.line, what))
            text = text._replace(marks=tuple(kept))
        texts.append(text)
    remedy = "--nested keep_longest keeps the longest of them"
    refuse(invalid, "nested or overlapping", drop_invalid=keep_longest, remedy=remedy)
    return source._replace(texts=texts, invalid=(*source.invalid, *invalid))


def _start(mark: Mark) -> int:
    return mark.start


def _overlapping(kept: Sequence[Mark], mark: Mark) -> Mark | None:
    """One of the marks, which are apart and in order, that shares a character with another."""
    at = bisect_left(kept, mark.start, key=_start)
    if at < len(kept) and kept[at].start < mark.end:
        return kept[at]
    return kept[at - 1] if at and kept[at - 1].end > mark.start else None


def check_labels(source: Texts) -> None:
    """DataError at a label that no tag can have."""
    for text in source.texts:
        for mark in text.marks or ():
            if not mark.label or any(character.isspace() for character in mark.label):
                raise DataError(
                    f"{text.path}:{mark.line}: label {mark.label!r}, expected a label without white space"
                )


def refuse(
    invalid: Sequence[InvalidSpan],
    what: str,
    *,
    drop_invalid: bool = False,
    remedy: str = "--misfits leave_out leaves them out",
) -> None:
    """DataError that names the first, counts all and says their lines; nothing where they may be left out."""
    if invalid and not drop_invalid:
        first = invalid[0]
        lines = named_lines(invalid_span.line for invalid_span in invalid if invalid_span.path == first.path)
        raise DataError(
            f"{first.path}:{first.line}: {first.what}; {count_of(len(invalid), 'entity', 'entities')} "
            f"{what}, {lines}, expected none; {remedy}"
        )


def named_mark(text: str, mark: Mark) -> str:
    """`LOC 3-5 '北京'`."""
    return f"{mark.label} {mark.start}-{mark.end} {shown(text[mark.start : mark.end])}"


def named_lines(lines: Iterable[int]) -> str:
    """`line 3`; `lines 3, 5`; `lines 1, 2, ... and 90 more`."""
    lines = list(dict.fromkeys(lines))
    more = f" and {len(lines) - N_NAMED:,} more" if len(lines) > N_NAMED else ""
    return f"line{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:N_NAMED]))}{more}"


def shown(surface: str) -> str:
    """In quotes, on one line, a long one cut short."""
    return repr(surface if len(surface) <= 20 else surface[:19] + "…")
