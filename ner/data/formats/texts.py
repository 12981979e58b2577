"""Texts with entities as spans of characters: the checks on the spans, and conversion from and to tokens."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

from ner.data.formats.document import AnnotatedText, Document, InvalidSpan, Mark, Texts
from ner.data.sentence import Sentence
from ner.data.wording import count_noun, list_lines, note_lines, quote
from ner.data.words import Token, guess_unit_of_texts, guess_unit_of_tokens, join_words, split_words
from ner.errors import DataError
from ner.files import has_half_pair
from ner.tags import Span, keep_apart

LEAVE_OUT = "--misfits leave_out leaves them out"


def check_marks(source: Texts, *, drop_invalid: bool = False) -> Texts:
    """The same texts with only valid marks, sorted, each once.

    A mark is invalid if it lies outside its text, is empty, is in parts, or if its surface differs from
    the text.  DataError if a mark is invalid, unless `drop_invalid`; also if only some texts are annotated,
    or if a label holds half of a surrogate pair.
    """
    without = next((text for text in source.texts if text.marks is None), None)
    if without and any(text.marks is not None for text in source.texts):
        place = f"{without.path}:{without.line}"
        raise DataError(f"{place}: not annotated, though other texts are; expected all or none")
    _refuse_invalid(source.invalid, "in parts", drop_invalid=drop_invalid)
    texts, invalid, repeated_lines = [], [], []
    for text in source.texts:
        kept: dict[tuple, Mark] = {}
        for mark in text.marks or ():
            place, label = f"{text.path}:{mark.line}", mark.label
            if has_half_pair(label):
                raise DataError(f"{place}: half of a surrogate pair in label {label!a}")
            if problem := _find_problem(text, mark):
                invalid.append(InvalidSpan(text.path, mark.line, problem))
            elif mark[:3] in kept:
                repeated_lines.append(mark.line)
            else:
                kept[mark[:3]] = mark
        texts.append(text._replace(marks=text.marks and tuple(kept[key] for key in sorted(kept))))
    _refuse_invalid(invalid, "not matching the text", drop_invalid=drop_invalid)
    notes = [*source.notes, *note_lines(repeated_lines, "given twice, read once", "entity", "entities")]
    return source._replace(texts=texts, notes=notes, invalid=(*source.invalid, *invalid))


def _find_problem(text: AnnotatedText, mark: Mark) -> str:
    """What is wrong with the offsets or the surface of a mark; empty if it is valid."""
    place, length = f"{mark.label} {mark.start}-{mark.end}", len(text.text)
    if mark.start >= mark.end:
        return f"{place} {'is empty' if mark.start == mark.end else 'ends before it starts'}"
    if not 0 <= mark.start < mark.end <= length:
        return f"{place} in a text of {count_noun(length, 'character')}"
    if mark.surface in (None, text.text[mark.start : mark.end]):
        return ""
    return f"{_describe_mark(text, mark)} in the text, {quote(mark.surface)} in the annotation"


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
                moved = (m._replace(start=m.start - start, end=m.end - start) for m in inside)
                moved = None if text.marks is None else tuple(moved)
                place = text.text_place and (text.text_place[0], text.text_place[1] + number)
                texts.append(
                    text._replace(text=text.text[start:end], marks=moved, text_place=place, offset=start)
                )
            start += len(line) + 1
        invalid += [InvalidSpan(text.path, mark.line, _describe_mark(text, mark)) for mark in marks]
    _refuse_invalid(invalid, "crossing a line end", drop_invalid=drop_invalid)
    return source._replace(texts=texts, invalid=(*source.invalid, *invalid))


def remove_overlaps(source: Texts, *, keep_longest: bool = False) -> Texts:
    """Texts whose marks do not overlap: of two that do, the longer is kept, or the first of equal length.

    DataError if marks overlap, unless `keep_longest`.
    """
    texts, invalid = [], []
    for text in source.texts:
        dropped: list[tuple[Mark, Mark]] = []
        kept = keep_apart(text.marks or (), key=lambda mark: mark.start - mark.end, dropped=dropped)
        for mark, longer in sorted(dropped):
            problem = f"{_describe_mark(text, mark)} overlaps {_describe_mark(text, longer)}"
            invalid.append(InvalidSpan(text.path, mark.line, problem))
        texts.append(text._replace(marks=text.marks and tuple(kept)))
    remedy = "--nested keep_longest keeps the longest of them"
    _refuse_invalid(invalid, "nested or overlapping", drop_invalid=keep_longest, remedy=remedy)
    return source._replace(texts=texts, invalid=(*source.invalid, *invalid))


def refuse_labels(source: Texts, is_wrong: Callable[[str], bool], expected: str) -> None:
    """DataError with the first mark whose label is wrong."""
    for text in source.texts:
        for mark in text.marks or ():
            if is_wrong(mark.label):
                raise DataError(f"{text.path}:{mark.line}: label {mark.label!r}, {expected}")


def _refuse_invalid(invalid: list[InvalidSpan], kind: str, *, drop_invalid: bool, remedy=LEAVE_OUT) -> None:
    """DataError with the first of the entities, their number and their lines, unless `drop_invalid`."""
    if invalid and not drop_invalid:
        path, line, problem = invalid[0]
        n_invalid = count_noun(len(invalid), "entity", "entities")
        lines = list_lines(span.line for span in invalid if span.path == path)
        raise DataError(f"{path}:{line}: {problem}; {n_invalid} {kind}, {lines}, expected none; {remedy}")


def _describe_mark(text: AnnotatedText, mark: Mark) -> str:
    """`LOC 3-5 '北京'`; the offsets count from the start of the file's text."""
    start, end = mark.start + text.offset, mark.end + text.offset
    return f"{mark.label} {start}-{end} {quote(text.text[mark.start : mark.end])}"


def to_document(source: Texts, *, unit: str | None = None, drop_invalid: bool = False) -> Document:
    """Splits texts with checked marks into tokens; None guesses the unit from the texts.

    Marks that differ only in white space become one span.  DataError if an entity begins or ends inside a
    token, unless `drop_invalid`; also if no text has a token, or if a label is empty.
    """
    refuse_labels(source, lambda label: not label.strip(), "expected a label that is not empty")
    unit = unit or guess_unit_of_texts(text.text for text in source.texts)
    sentences, places, invalid, empty_lines = [], [], [], []
    for text in source.texts:
        tokens = split_words(text.text, unit)
        spans = None if text.marks is None else sorted(set(_spans(text, tokens, invalid)))
        if tokens:
            sentences.append(Sentence.with_spans([text.text[start:end] for start, end in tokens], spans))
            places.append(text.text_place or (text.path, text.line))
        else:
            empty_lines.append(text.line)
    remedy = f"{LEAVE_OUT}, --unit char makes every character a token"
    _refuse_invalid(invalid, "cutting a token", drop_invalid=drop_invalid, remedy=remedy)
    if not sentences:
        raise DataError(f"{source.path}: no text, expected texts that are not empty")
    notes = [*source.notes, *note_lines(empty_lines, "without a token left out", "text")]
    padded_lines = [mark.line for text in source.texts for mark in text.marks or () if _is_padded(text, mark)]
    how = "trimmed of outer white space" if unit == "word" else "with outer white space, kept as they are"
    notes += note_lines(padded_lines, how, "entity", "entities")
    notes += _similar_labels({mark.label for text in source.texts for mark in text.marks or ()})
    files, first_lines = zip(*places, strict=True)
    left_out = tuple(f"{path.name}:{line}: {problem}" for path, line, problem in (*source.invalid, *invalid))
    options = {"unit": unit, "left_out": left_out, "files": files}
    return Document(source.path, sentences, list(first_lines), [], notes, source.sha256, None, **options)


def _is_padded(text: AnnotatedText, mark: Mark) -> bool:
    """True if white space begins or ends a mark that is not white space alone."""
    surface = text.text[mark.start : mark.end]
    return bool(surface.strip()) and surface != surface.strip()


def _similar_labels(labels: Iterable[str]) -> list[str]:
    """A note on each label that differs from others in white space alone."""
    alike: dict[str, list[str]] = {}
    for label in sorted(labels):
        alike.setdefault("".join(label.split()), []).append(label)
    return [f"labels {found} differ in white space alone" for found in alike.values() if len(found) > 1]


def _spans(text: AnnotatedText, tokens: Sequence[Token], invalid: list[InvalidSpan]) -> Iterator[Span]:
    """The marks as spans of tokens.

    A mark must consist of whole tokens and white space; any other is appended to `invalid`.
    """
    starts, ends = [token.start for token in tokens], [token.end for token in tokens]
    for mark in text.marks:
        first, end = bisect_right(ends, mark.start), bisect_left(starts, mark.end)
        if first < end and mark.start <= starts[first] and ends[end - 1] <= mark.end:
            yield Span(first, end, mark.label)
        else:
            words = quote(" ".join(text.text[token.start : token.end] for token in tokens[first:end]))
            where = f"in {words}" if first < end else "is white space alone"
            problem = f"{_describe_mark(text, mark)} {where}"
            invalid.append(InvalidSpan(text.path, mark.line, problem))


def to_texts(document: Document, *, unit: str | None = None) -> Texts:
    """Joins tokens without a gap (unit char) or with a space (unit word): the inverse of `to_document`.

    A note counts the sentences whose text would be split into other tokens.
    """
    unit = unit or document.unit or guess_unit_of_tokens(document.sentences)
    texts, changed_lines = [], []
    for sentence, line in zip(document.sentences, document.first_lines, strict=True):
        text, tokens = join_words(sentence.tokens, unit)
        marks = sentence.spans and tuple(
            Mark(tokens[span.start].start, tokens[span.end - 1].end, span.label, line)
            for span in sentence.spans
        )
        texts.append(AnnotatedText(document.path, line, text, marks))
        if split_words(text, unit) != tokens:
            changed_lines.append(line)
    what = f"whose tokens the text alone does not give (unit {unit})"
    notes = [*document.notes, *note_lines(changed_lines, what, "sentence")]
    return Texts(document.path, texts, notes, document.sha256)
