"""Texts with entities as spans of characters, as annotation tools write them, and their cut into sentences.

A text becomes one sentence.  Its tokens are those of `ner.text`, so that a model trained on them cuts raw
text the same way.  Unit char: every code point is a token, white space too.  Unit word: white space is none.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ner.corpus import DataError, Sentence
from ner.formats.document import Document, count_of
from ner.tags import Span
from ner.text import Token, tokenize

NESTED = ("refuse", "keep_longest")
N_NAMED = 10  # lines that an error names; it is one line itself
_HAN_OR_KANA = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


class Mark(NamedTuple):
    """An entity, `text[start:end]` in code points; `line` of the file that says so, from 1.

    `surface` is what the file says that stands there, None where it says nothing.
    """

    start: int
    end: int
    label: str
    line: int
    surface: str | None = None


class Text(NamedTuple):
    """`marks` may nest; None where the text is not annotated.  `path` is the file that holds them."""

    path: Path
    line: int
    text: str
    marks: tuple[Mark, ...] | None


class Texts(NamedTuple):
    """A file as read, its marks unchecked and its texts uncut; the rest is as in a `Document`."""

    path: Path
    texts: list[Text]
    notes: list[str]
    sha256: str


class Misfit(NamedTuple):
    """An entity that cannot stay as it is, and why."""

    path: Path
    line: int
    what: str


def guess_text_unit(texts: Iterable[str]) -> str:
    """`char` where more than half of the words of the texts are Chinese characters or kana, else `word`."""
    n_characters = n_words = 0
    for text in texts:
        words = [text[start:end] for start, end in tokenize(text, "word")]
        n_words += sum(word[0].isalnum() for word in words)
        n_characters += sum(_HAN_OR_KANA.match(word) is not None for word in words)
    return "char" if 2 * n_characters > n_words else "word"


def checked(source: Texts) -> Texts:
    """The same with every mark a part of its text, given once.

    Raises DataError where an entity lies outside its text, is empty or has another surface there, and
    where only some texts are annotated.
    """
    bare = next((text for text in source.texts if text.marks is None), None)
    if bare and any(text.marks is not None for text in source.texts):
        raise DataError(
            f"{bare.path}:{bare.line}: not annotated, though other texts are; expected all or none"
        )
    off = [m for text in source.texts for mark in text.marks or () for m in _off(text, mark)]
    _refuse(off, "elsewhere than the text has it", "the offsets or the encoding are others than the format's")
    texts, again = [], []
    for text in source.texts:
        if text.marks is not None:
            once = {(mark.start, mark.end, mark.label): mark for mark in reversed(text.marks)}
            again += [text.line] * (len(text.marks) - len(once))
            text = text._replace(marks=tuple(sorted(once.values(), key=lambda mark: mark[:3])))
        texts.append(text)
    notes = list(source.notes)
    if again:
        notes.append(
            f"{count_of(len(again), 'entity', 'entities')} given twice, read once: {named_lines(again)}"
        )
    return source._replace(texts=texts, notes=notes)


def _off(text: Text, mark: Mark) -> Iterator[Misfit]:
    if not 0 <= mark.start < mark.end <= len(text.text):
        what = f"{mark.label} {mark.start}-{mark.end} in a text of {count_of(len(text.text), 'character')}"
        yield Misfit(text.path, mark.line, what)
    elif mark.surface not in (None, text.text[mark.start : mark.end]):
        what = f"{named_mark(text.text, mark)} in the text, {_shown(mark.surface)} in the annotation"
        yield Misfit(text.path, mark.line, what)


def cut(source: Texts, *, unit: str | None = None, nested: str = "refuse") -> Document:
    """Sentences of tokens.  A `unit` of None is guessed from the texts.

    Raises DataError where an entity begins or ends inside a token, and where entities nest or overlap;
    `keep_longest` keeps the longest of those, the first of equals, and lists the others.
    """
    source = checked(source)
    unit = unit or guess_text_unit(text.text for text in source.texts)
    sentences, first_lines, inside, cutting, empty = [], [], [], [], []
    for text in source.texts:
        tokens = tokenize(text.text, unit)
        if not tokens and not text.marks:
            empty.append(text.line)
            continue
        spans = None
        if text.marks is not None:
            _check_labels(text)
            kept, others = _flat(text)
            inside += others
            spans = tuple(_spans(text, kept, tokens, cutting))
        sentences.append(Sentence(tuple(text.text[start:end] for start, end in tokens), spans))
        first_lines.append(text.line)
    _refuse(cutting, "cutting a token", "--unit char makes every character one")
    if nested == "refuse":
        _refuse(inside, "nested or overlapping", "--nested keep_longest keeps the longest of them")
    if not sentences:
        raise DataError(f"{source.path}: no text, expected texts that are not empty")
    notes = list(source.notes)
    if empty:
        notes.append(f"{count_of(len(empty), 'text')} without a token left out: {named_lines(empty)}")
    return Document(
        *(source.path, sentences, first_lines, [], notes, source.sha256, None),
        unit=unit,
        left_out=tuple(f"{misfit.path.name}:{misfit.line}: {misfit.what}" for misfit in inside),
    )


def _check_labels(text: Text) -> None:
    for mark in text.marks or ():
        if not mark.label or any(character.isspace() for character in mark.label):
            raise DataError(
                f"{text.path}:{mark.line}: label {mark.label!r}, expected a label without white space"
            )


def _flat(text: Text) -> tuple[list[Mark], list[Misfit]]:
    """The longest marks that do not overlap, in order, and the others."""
    kept: list[Mark] = []
    others = []
    for mark in sorted(text.marks, key=lambda mark: (mark.start - mark.end, mark.start)):
        at = bisect_left(kept, mark.start, key=lambda mark: mark.start)
        if at < len(kept) and kept[at].start < mark.end:
            others.append((mark, kept[at]))
        elif at and kept[at - 1].end > mark.start:
            others.append((mark, kept[at - 1]))
        else:
            kept.insert(at, mark)
    return kept, [
        Misfit(
            text.path, mark.line, f"{named_mark(text.text, mark)} overlaps {named_mark(text.text, longer)}"
        )
        for mark, longer in sorted(others)
    ]


def _spans(
    text: Text, marks: Iterable[Mark], tokens: Sequence[Token], cutting: list[Misfit]
) -> Iterator[Span]:
    """Marks as spans of tokens; one that no tokens make up goes to `cutting`."""
    starts, ends = [token.start for token in tokens], [token.end for token in tokens]
    for mark in marks:
        first, end = bisect_right(ends, mark.start), bisect_left(starts, mark.end)
        if first < end and mark.start <= starts[first] and ends[end - 1] <= mark.end:
            yield Span(first, end, mark.label)
        else:
            words = " ".join(text.text[token.start : token.end] for token in tokens[first:end])
            cutting.append(Misfit(text.path, mark.line, f"{named_mark(text.text, mark)} in {_shown(words)}"))


def named_mark(text: str, mark: Mark) -> str:
    """`LOC 3-5 '北京'`."""
    return f"{mark.label} {mark.start}-{mark.end} {_shown(text[mark.start : mark.end])}"


def named_lines(lines: Iterable[int]) -> str:
    """`line 3`; `lines 3, 5`; `lines 1, 2, ... and 90 more`."""
    lines = list(dict.fromkeys(lines))
    more = f" and {len(lines) - N_NAMED:,} more" if len(lines) > N_NAMED else ""
    return f"line{'s' * (len(lines) > 1)} {', '.join(map(str, lines[:N_NAMED]))}{more}"


def _shown(surface: str) -> str:
    """A long one cut short, on one line."""
    return repr(surface if len(surface) <= 20 else surface[:19] + "…")


def _refuse(misfits: Sequence[Misfit], what: str, remedy: str) -> None:
    if misfits:
        first = misfits[0]
        lines = named_lines(misfit.line for misfit in misfits if misfit.path == first.path)
        raise DataError(
            f"{first.path}:{first.line}: {first.what}; {count_of(len(misfits), 'entity', 'entities')} "
            f"{what}, {lines}, expected none; {remedy}"
        )
