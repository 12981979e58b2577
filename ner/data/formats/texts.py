"""Texts with entities as spans of characters, as annotation tools write them, and the checks on the spans."""

from bisect import bisect_left, insort
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ner.data.wording import count_noun, list_lines, quote
from ner.errors import DataError


class Mark(NamedTuple):
    """An entity `text[start:end]`, in code points; `line` is its line in the annotation file, from 1.

    `surface` is the entity's text according to the annotation; None if the annotation does not give it.
    """

    start: int
    end: int
    label: str
    line: int
    surface: str | None = None


class AnnotatedText(NamedTuple):
    """A text and its marks, which may nest; `marks` is None if the text is not annotated.

    `path` and `line` locate the annotation.  `text_place` is the file and line where the text itself
    begins, if a file holds it verbatim.
    """

    path: Path
    line: int
    text: str
    marks: tuple[Mark, ...] | None
    text_place: tuple[Path, int] | None = None

    @property
    def place(self) -> tuple[Path, int]:
        return self.text_place or (self.path, self.line)


class InvalidSpan(NamedTuple):
    """An entity that cannot be used, and the reason."""

    path: Path
    line: int
    problem: str


class Texts(NamedTuple):
    """A file of annotated texts.  `invalid` lists entities that were dropped from the marks.

    `path`, `notes` and `sha256` are as in `Document`.
    """

    path: Path
    texts: list[AnnotatedText]
    notes: list[str]
    sha256: str
    invalid: tuple[InvalidSpan, ...] = ()


def check_marks(source: Texts, *, drop_invalid: bool = False) -> Texts:
    """The same texts with only valid marks, sorted, each once.

    A mark is invalid if it lies outside its text, is empty, is in parts, or if its surface differs from
    the text.  DataError if a mark is invalid, unless `drop_invalid`; also if only some texts are annotated,
    or if a label holds half of a surrogate pair.
    """
    without = next((text for text in source.texts if text.marks is None), None)
    if without and any(text.marks is not None for text in source.texts):
        raise DataError(
            f"{without.path}:{without.line}: not annotated, though other texts are; expected all or none"
        )
    refuse_invalid(source.invalid, "in parts", drop_invalid=drop_invalid)
    texts, invalid, repeated_lines = [], [], []
    for text in source.texts:
        if text.marks is not None:
            kept: dict[tuple, Mark] = {}
            for mark in text.marks:
                if any("\ud800" <= character <= "\udfff" for character in mark.label):
                    raise DataError(
                        f"{text.path}:{mark.line}: half of a surrogate pair in label {mark.label!a}"
                    )
                if problem := _find_problem(text.text, mark):
                    invalid.append(InvalidSpan(text.path, mark.line, problem))
                elif mark[:3] in kept:
                    repeated_lines.append(mark.line)
                else:
                    kept[mark[:3]] = mark
            text = text._replace(marks=tuple(kept[key] for key in sorted(kept)))
        texts.append(text)
    refuse_invalid(invalid, "not matching the text", drop_invalid=drop_invalid)
    notes = list(source.notes)
    if repeated_lines:
        n_repeated = count_noun(len(repeated_lines), "entity", "entities")
        notes.append(f"{n_repeated} given twice, read once: {list_lines(repeated_lines)}")
    return source._replace(texts=texts, notes=notes, invalid=(*source.invalid, *invalid))


def _find_problem(text: str, mark: Mark) -> str:
    """What is wrong with the offsets or the surface of a mark; empty if it is valid."""
    if not 0 <= mark.start < mark.end <= len(text):
        return f"{mark.label} {mark.start}-{mark.end} in a text of {count_noun(len(text), 'character')}"
    if mark.surface in (None, text[mark.start : mark.end]):
        return ""
    return f"{describe_mark(text, mark)} in the text, {quote(mark.surface)} in the annotation"


def split_at_line_ends(source: Texts, *, drop_invalid: bool = False) -> Texts:
    """The lines of every text as texts of their own; an entity that crosses a line end is invalid."""
    texts, invalid = [], []
    for text in source.texts:
        marks = list(text.marks or ())
        start = 0
        for number, line in enumerate(text.text.split("\n")):
            end = start + len(line.removesuffix("\r"))
            inside = [mark for mark in marks if start <= mark.start and mark.end <= end]
            marks = [mark for mark in marks if mark not in inside]
            if end > start:
                moved = tuple(m._replace(start=m.start - start, end=m.end - start) for m in inside)
                moved = None if text.marks is None else moved
                place = text.text_place and (text.text_place[0], text.text_place[1] + number)
                texts.append(text._replace(text=text.text[start:end], marks=moved, text_place=place))
            start += len(line) + 1
        invalid += [InvalidSpan(text.path, mark.line, describe_mark(text.text, mark)) for mark in marks]
    refuse_invalid(invalid, "crossing a line end", drop_invalid=drop_invalid)
    return source._replace(texts=texts, invalid=(*source.invalid, *invalid))


def remove_overlaps(source: Texts, *, keep_longest: bool = False) -> Texts:
    """Texts whose marks do not overlap: of two that do, the longer is kept, or the first of equal length.

    DataError if marks overlap, unless `keep_longest`.
    """
    texts, invalid = [], []
    for text in source.texts:
        if text.marks is not None:
            kept: list[Mark] = []  # without overlaps, sorted by start
            dropped = []
            for mark in sorted(text.marks, key=lambda mark: (mark.start - mark.end, mark.start)):
                longer = _overlapping(kept, mark)
                if longer is None:
                    insort(kept, mark, key=_start)
                else:
                    dropped.append((mark, longer))
            for mark, longer in sorted(dropped, key=lambda pair: pair[0][:3]):
                problem = f"{describe_mark(text.text, mark)} overlaps {describe_mark(text.text, longer)}"
                invalid.append(InvalidSpan(text.path, mark.line, problem))
            text = text._replace(marks=tuple(kept))
        texts.append(text)
    remedy = "--nested keep_longest keeps the longest of them"
    refuse_invalid(invalid, "nested or overlapping", drop_invalid=keep_longest, remedy=remedy)
    return source._replace(texts=texts, invalid=(*source.invalid, *invalid))


def _start(mark: Mark) -> int:
    return mark.start


def _overlapping(kept: Sequence[Mark], mark: Mark) -> Mark | None:
    """A mark of `kept` that shares a character with `mark`; `kept` is sorted and has no overlaps."""
    i = bisect_left(kept, mark.start, key=_start)
    if i < len(kept) and kept[i].start < mark.end:
        return kept[i]
    return kept[i - 1] if i and kept[i - 1].end > mark.start else None


def check_labels(source: Texts) -> None:
    """DataError if a label is empty or has white space, so that no tag can be made of it."""
    for text in source.texts:
        for mark in text.marks or ():
            if not mark.label or any(character.isspace() for character in mark.label):
                raise DataError(
                    f"{text.path}:{mark.line}: label {mark.label!r}, expected a label without white space"
                )


def refuse_invalid(
    invalid: Sequence[InvalidSpan],
    kind: str,
    *,
    drop_invalid: bool = False,
    remedy: str = "--misfits leave_out leaves them out",
) -> None:
    """DataError with the first of the entities, their number and their lines, unless `drop_invalid`."""
    if invalid and not drop_invalid:
        first = invalid[0]
        lines = list_lines(span.line for span in invalid if span.path == first.path)
        raise DataError(
            f"{first.path}:{first.line}: {first.problem}; {count_noun(len(invalid), 'entity', 'entities')} "
            f"{kind}, {lines}, expected none; {remedy}"
        )


def describe_mark(text: str, mark: Mark) -> str:
    """`LOC 3-5 '北京'`."""
    return f"{mark.label} {mark.start}-{mark.end} {quote(text[mark.start : mark.end])}"
