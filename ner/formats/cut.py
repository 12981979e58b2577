"""Texts with spans of characters to sentences of tokens with spans of tokens, and back.

A text becomes one sentence.  Its tokens are those of `ner.text`, so that a model trained on them cuts raw
text the same way.  Unit char: every code point is a token, white space too.  Unit word: white space is none.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from ner.corpus import DataError, Sentence, guess_unit
from ner.formats.document import Document, count_of
from ner.formats.texts import Mark, Misfit, Text, Texts, check_labels, named_lines, named_mark, refuse, shown
from ner.tags import Span
from ner.text import Token, tokenize

_HAN_OR_KANA = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def guess_text_unit(texts: Iterable[str]) -> str:
    """`char` where more than half of the words of the texts are Chinese characters or kana, else `word`."""
    n_characters = n_words = 0
    for text in texts:
        words = [text[start:end] for start, end in tokenize(text, "word")]
        n_words += sum(word[0].isalnum() for word in words)
        n_characters += sum(_HAN_OR_KANA.match(word) is not None for word in words)
    return "char" if 2 * n_characters > n_words else "word"


def cut(source: Texts, *, unit: str | None = None, leave_out: bool = False) -> Document:
    """Sentences of texts whose marks are checked.  A `unit` of None is guessed from the texts.

    Marks that differ by white space alone are one span.  Raises DataError where an entity begins or ends
    inside a token, unless it is to be left out.
    """
    check_labels(source)
    unit = unit or guess_text_unit(text.text for text in source.texts)
    sentences, places, cutting, empty = [], [], [], []
    for text in source.texts:
        tokens = tokenize(text.text, unit)
        spans = None if text.marks is None else tuple(sorted(set(_spans(text, tokens, cutting))))
        if tokens:
            sentences.append(Sentence(tuple(text.text[start:end] for start, end in tokens), spans))
            places.append(text.place)
        else:
            empty.append(text.line)
    remedy = "--misfits leave_out leaves them out, --unit char makes every character a token"
    refuse(cutting, "cutting a token", leave_out=leave_out, remedy=remedy)
    if not sentences:
        raise DataError(f"{source.path}: no text, expected texts that are not empty")
    notes = list(source.notes)
    if empty:
        notes.append(f"{count_of(len(empty), 'text')} without a token left out: {named_lines(empty)}")
    return Document(
        *(source.path, sentences, [line for _, line in places], [], notes, source.sha256, None),
        unit=unit,
        left_out=tuple(f"{path.name}:{line}: {what}" for path, line, what in (*source.misfits, *cutting)),
        files=tuple(path for path, _ in places),
    )


def _spans(text: Text, tokens: Sequence[Token], cutting: list[Misfit]) -> Iterator[Span]:
    """Marks as spans of tokens; one that no tokens make up, white space apart, goes to `cutting`."""
    starts, ends = [token.start for token in tokens], [token.end for token in tokens]
    for mark in text.marks:
        first, end = bisect_right(ends, mark.start), bisect_left(starts, mark.end)
        if first < end and mark.start <= starts[first] and ends[end - 1] <= mark.end:
            yield Span(first, end, mark.label)
        else:
            words = shown(" ".join(text.text[token.start : token.end] for token in tokens[first:end]))
            cutting.append(Misfit(text.path, mark.line, f"{named_mark(text.text, mark)} in {words}"))


def join(document: Document, *, unit: str | None = None) -> Texts:
    """Tokens end to end (unit char) or with a space between (word); the inverse of `cut` where it has one.

    The notes say how many texts would be cut into other tokens.
    """
    unit = unit or document.unit or guess_unit(document.sentences)
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
        texts.append(Text(document.path, line, text, marks))
        if tokenize(text, unit) != tokens:
            others.append(line)
    notes = list(document.notes)
    if others:
        what = f"{count_of(len(others), 'sentence')} whose tokens the text alone does not give (unit {unit})"
        notes.append(f"{what}: {named_lines(others)}")
    return Texts(document.path, texts, notes, document.sha256)
