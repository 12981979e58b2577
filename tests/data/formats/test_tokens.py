"""Spans of characters to spans of tokens, compared with brute force; tokens back to text."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats.document import AnnotatedText, Document, Mark, Texts
from ner.data.formats.texts import to_document, to_texts
from ner.data.sentence import Sentence
from ner.data.words import guess_unit_of_texts, split_words
from ner.errors import DataError
from ner.tags import Span


def make_texts(*texts: tuple[str, list[tuple]]) -> Texts:
    rows = [
        AnnotatedText(Path("x"), i, text, tuple(Mark(*mark, i) for mark in marks))
        for i, (text, marks) in enumerate(texts, 1)
    ]
    return Texts(Path("x"), rows, [], "")


def test_texts_are_split_like_raw_text():
    document = to_document(make_texts(("Mr. Smith's U.S. trip", [(4, 9, "PER"), (12, 16, "LOC")])))
    assert document.unit == "word"
    assert document.sentences[0].tokens == ("Mr.", "Smith", "'s", "U.S.", "trip")
    assert [tuple(span) for span in document.sentences[0].spans] == [(1, 2, "PER"), (3, 4, "LOC")]


@given(st.text("a中-. \n'é\u0301😀", min_size=1, max_size=8), st.sampled_from(["char", "word"]))
@settings(deadline=None, max_examples=200)
def test_every_span_fits_its_tokens_or_is_refused(text, unit):
    tokens = split_words(text, unit)
    for start, end in product(range(len(text) + 1), repeat=2):
        if start >= end:
            continue
        inside = [i for i, token in enumerate(tokens) if start <= token.start and token.end <= end]
        touched = [i for i, token in enumerate(tokens) if token.start < end and start < token.end]
        if inside and inside == touched:
            (span,) = to_document(make_texts((text, [(start, end, "X")])), unit=unit).sentences[0].spans
            assert span == (inside[0], inside[-1] + 1, "X")
        else:
            with pytest.raises(DataError, match=f"x:1: X {start}-{end} .* cutting a token"):
                to_document(make_texts((text, [(start, end, "X")])), unit=unit)


def test_spans_may_nest_and_spans_that_differ_only_in_white_space_become_one():
    marks = [(0, 4, "ORG"), (0, 2, "LOC"), (0, 3, "LOC"), (3, 4, "LOC")]
    sentence = to_document(make_texts(("ab c", marks)), unit="word").sentences[0]
    assert sentence.spans == (Span(0, 1, "LOC"), Span(0, 2, "ORG"), Span(1, 2, "LOC"))


def test_texts_without_a_token_are_left_out_and_listed():
    document = to_document(make_texts(("", []), ("a", []), (" \n", [])), unit="word")
    assert document.first_lines == [2]
    assert document.notes == ["2 texts without a token left out: lines 1, 3"]
    assert len(to_document(make_texts(("", []), ("a", []), (" \n", [])), unit="char").sentences) == 2


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("北京", "char"),
        ("他在IBM工作", "char"),
        ("He saw 北京", "word"),
        ("a b c", "word"),
        ("アメリカ", "char"),
    ],
)
def test_the_unit_is_guessed_from_the_words(text, unit):
    assert guess_unit_of_texts([text]) == unit


def test_joined_tokens_that_would_be_split_otherwise_are_noted():
    sentences = [
        Sentence.with_spans(("Mr.", "Smith", "'s"), (Span(1, 2, "PER"),)),
        Sentence.with_spans(("U.S.-based", "x"), (Span(0, 1, "LOC"),)),
    ]
    document = Document(Path("x"), sentences, [1, 5], [], [], "", "BIO")
    source = to_texts(document)
    assert [(text.text, [mark[:3] for mark in text.marks]) for text in source.texts] == [
        ("Mr. Smith 's", [(4, 9, "PER")]),
        ("U.S.-based x", [(0, 10, "LOC")]),
    ]
    assert source.notes == ["1 sentence whose tokens the text alone does not give (unit word): line 5"]
    assert to_document(source, unit="word").sentences[0] == sentences[0]
