"""Texts with spans of characters to sentences of tokens with spans of tokens, and back.

A text becomes one sentence.  `ner.data.words` cuts it, as it cuts raw text for a trained model.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from ner.data.formats.document import Document, count_of
from ner.data.formats.texts import (
    AnnotatedText,
    InvalidSpan,
    Mark,
    Texts,
    check_labels,
    named_lines,
    named_mark,
    refuse,
    shown,
)
from ner.data.sentence import Sentence
from ner.data.words import Token, guess_unit_of_texts, guess_unit_of_tokens, split_words
from ner.errors import DataError
from ner.tags import Span


def cut(source: Texts, *, unit: str | None = None, drop_invalid: bool = False) -> Document:
    """Sentences of texts whose marks are checked.  A `unit` of None is guessed from the texts.

    Marks that differ by white space alone are one span.  Raises DataError where an entity begins or ends
    inside a token, unless it is to be left out.
    """
    check_labels(source)
    unit = unit or guess_unit_of_texts(text.text for text in source.texts)
    sentences, places, cutting, empty = [], [], [], []
    for text in source.texts:
        tokens = split_words(text.text, unit)
        spans = None if text.marks is None else tuple(sorted(set(_spans(text, tokens, cutting))))
        if tokens:
            sentences.append(Sentence.with_spans(tuple(text.text[start:end] for start, end in tokens), spans))
            places.append(text.place)
        else:
            empty.append(text.line)
    remedy = "--misfits leave_out leaves them out, --unit char makes every character a token"
    refuse(cutting, "cutting a token", drop_invalid=drop_invalid, remedy=remedy)
    if not sentences:
        raise DataError(f"{source.path}: no text, expected texts that are not empty")
    notes = list(source.notes)
    if empty:
        notes.append(f"{count_of(len(empty), 'text')} without a token left out: {named_lines(empty)}")
    return Document(
        *(source.path, sentences, [line for _, line in places], [], notes, source.sha256, None),
        unit=unit,
        left_out=tuple(f"{path.name}:{line}: {what}" for path, line, what in (*source.invalid, *cutting)),
        files=tuple(path for path, _ in places),
    )


def _spans(text: AnnotatedText, tokens: Sequence[Token], cutting: list[InvalidSpan]) -> Iterator[Span]:
    """Marks as spans of tokens; one that no tokens make up, white space apart, goes to `cutting`."""
    starts, ends = [token.start for token in tokens], [token.end for token in tokens]
    for mark in text.marks:
        first, end = bisect_right(ends, mark.start), bisect_left(starts, mark.end)
        if first < end and mark.start <= starts[first] and ends[end - 1] <= mark.end:
            yield Span(first, end, mark.label)
        else:
            words = shown(" ".join(text.text[token.start : token.end] for token in tokens[first:end]))
            cutting.append(InvalidSpan(text.path, mark.line, f"{named_mark(text.text, mark)} in {words}"))


def join(document: Document, *, unit: str | None = None) -> Texts:
    """Tokens end to end (unit char) or with a space between (word); the inverse of `cut` where it has one.

    The notes say how many texts would be cut into other tokens.
    """
    unit = unit or document.unit or guess_unit_of_tokens(document.sentences)
    gap = 0 if unit == "char" else 1
    texts, others = [], []
    for sentence, line in zip(document.sentences, document.first_lines, strict=True):
        ends = [end - gap for end in accumulate(len(token) + gap for token in sentence.tokens)]
        tokens = [Token(end - len(t), end) for t, end in zip(sentence.tokens, ends, strict=True)]
        text = (" " * gap).join(sentence.tokens)
        marks = None
        if sentence.spans is not None:
            marks = tuple(
                Mark(tokens[span.start].start, tokens[span.end - 1].end, span.label, line)
                for span in sentence.spans
            )
        texts.append(AnnotatedText(document.path, line, text, marks))
        if split_words(text, unit) != tokens:
            others.append(line)
    notes = list(document.notes)
    if others:
        what = f"{count_of(len(others), 'sentence')} whose tokens the text alone does not give (unit {unit})"
        notes.append(f"{what}: {named_lines(others)}")
    return Texts(document.path, texts, notes, document.sha256)
