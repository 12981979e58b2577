"""Conversion between texts with spans of characters and sentences of tokens with spans of tokens.

A text becomes one sentence.  `ner.data.words` splits it, as it splits raw text for a trained model.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from ner.data.formats.document import Document
from ner.data.formats.texts import (
    AnnotatedText,
    InvalidSpan,
    Mark,
    Texts,
    check_labels,
    describe_mark,
    refuse_invalid,
)
from ner.data.sentence import Sentence
from ner.data.wording import count_noun, list_lines, quote
from ner.data.words import Token, guess_unit_of_texts, guess_unit_of_tokens, split_words
from ner.errors import DataError
from ner.tags import Span


def to_document(source: Texts, *, unit: str | None = None, drop_invalid: bool = False) -> Document:
    """Splits texts with checked marks into tokens; None guesses the unit from the texts.

    Marks that differ only in white space become one span.  DataError if an entity begins or ends inside a
    token, unless `drop_invalid`; also if no text has a token, or if a label has white space.
    """
    check_labels(source)
    unit = unit or guess_unit_of_texts(text.text for text in source.texts)
    sentences, places, invalid, empty_lines = [], [], [], []
    for text in source.texts:
        tokens = split_words(text.text, unit)
        spans = None if text.marks is None else sorted(set(_spans(text, tokens, invalid)))
        if tokens:
            sentences.append(Sentence.with_spans([text.text[start:end] for start, end in tokens], spans))
            places.append(text.place)
        else:
            empty_lines.append(text.line)
    remedy = "--misfits leave_out leaves them out, --unit char makes every character a token"
    refuse_invalid(invalid, "cutting a token", drop_invalid=drop_invalid, remedy=remedy)
    if not sentences:
        raise DataError(f"{source.path}: no text, expected texts that are not empty")
    notes = list(source.notes)
    if empty_lines:
        n_empty = count_noun(len(empty_lines), "text")
        notes.append(f"{n_empty} without a token left out: {list_lines(empty_lines)}")
    return Document(
        source.path,
        sentences,
        [line for _, line in places],
        [],
        notes,
        source.sha256,
        None,
        unit=unit,
        left_out=tuple(
            f"{path.name}:{line}: {problem}" for path, line, problem in (*source.invalid, *invalid)
        ),
        files=tuple(path for path, _ in places),
    )


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
            problem = f"{describe_mark(text.text, mark)} in {words}"
            invalid.append(InvalidSpan(text.path, mark.line, problem))


def to_texts(document: Document, *, unit: str | None = None) -> Texts:
    """Joins tokens without a gap (unit char) or with a space (unit word): the inverse of `to_document`.

    A note counts the sentences whose text would be split into other tokens.
    """
    unit = unit or document.unit or guess_unit_of_tokens(document.sentences)
    gap = 0 if unit == "char" else 1
    texts, changed_lines = [], []
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
            changed_lines.append(line)
    notes = list(document.notes)
    if changed_lines:
        n_changed = count_noun(len(changed_lines), "sentence")
        notes.append(
            f"{n_changed} whose tokens the text alone does not give (unit {unit}): "
            f"{list_lines(changed_lines)}"
        )
    return Texts(document.path, texts, notes, document.sha256)
