"""Spans of characters, checked and converted to spans of tokens, compared with brute force; and back."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats.document import AnnotatedText, Document, Mark, Texts
from ner.data.formats.texts import check_marks, remove_overlaps, split_at_line_ends, to_document, to_texts
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


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 5), st.sampled_from("XY")), max_size=6))
@settings(deadline=None, max_examples=200)
def test_the_longest_are_kept_as_by_brute_force(rows):
    marks = [(start, start + length, label) for start, length, label in rows]
    document = remove_overlaps(check_marks(make_texts(("a" * 13, marks))), keep_longest=True)
    kept = []
    for mark in sorted(set(marks), key=lambda m: (m[0] - m[1], m)):
        if all(mark[1] <= other[0] or other[1] <= mark[0] for other in kept):
            kept.append(mark)
    assert [mark[:3] for mark in document.texts[0].marks] == sorted(kept)
    assert len(document.invalid) == len(set(marks)) - len(kept)
    again = len(marks) - len(set(marks))
    assert any("given twice" in note for note in document.notes) == bool(again)


def test_overlaps_are_counted_and_their_lines_listed():
    nested = ("abcd", [(0, 3, "X"), (1, 2, "X"), (2, 4, "Y")])
    with pytest.raises(DataError) as error:
        remove_overlaps(make_texts(("ab", []), *[nested] * 12))
    message = "x:2: X 1-2 'b' overlaps X 0-3 'abc'; 24 entities nested or overlapping"
    assert str(error.value).startswith(f"{message}, lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more")
    assert remove_overlaps(make_texts(nested), keep_longest=True).invalid == (
        (Path("x"), 1, "X 1-2 'b' overlaps X 0-3 'abc'"),
        (Path("x"), 1, "Y 2-4 'cd' overlaps X 0-3 'abc'"),
    )


def test_lines_become_texts_and_entities_that_cross_line_ends_are_refused():
    source = make_texts(("ab\r\n\ncd", [(0, 2, "X"), (5, 6, "Y"), (1, 6, "Z")]))
    with pytest.raises(DataError, match=r"x:1: Z 1-6 .* 1 entity crossing a line end, line 1, expected"):
        split_at_line_ends(source)
    split = split_at_line_ends(source, drop_invalid=True)
    assert [(text.text, [mark[:3] for mark in text.marks]) for text in split.texts] == [
        ("ab", [(0, 2, "X")]),
        ("cd", [(0, 1, "Y")]),
    ]
    assert [invalid_span.problem for invalid_span in split.invalid] == ["Z 1-6 'b\\r\\n\\nc'"]


def test_offsets_of_a_line_are_those_of_the_whole_text():
    split = split_at_line_ends(make_texts(("ab\ncd-ef g", [(3, 6, "X"), (4, 8, "Y")])))
    with pytest.raises(DataError, match=r"x:1: Y 4-8 'd-ef' overlaps|x:1: X 3-6 'cd-' overlaps Y 4-8 'd-ef'"):
        remove_overlaps(split)
    with pytest.raises(DataError, match=r"x:1: X 3-6 'cd-' in 'cd-ef'"):
        to_document(split, unit="word")


def test_outer_white_space_is_counted_and_no_entity():
    source = make_texts(("a  b c", [(0, 2, "X"), (2, 4, "X"), (5, 6, "X")]), ("a", []), ("a ", [(0, 2, "X")]))
    document = to_document(source, unit="word")
    assert [sentence.spans for sentence in document.sentences][2] == (Span(0, 1, "X"),)
    assert document.notes == ["3 entities trimmed of outer white space: lines 1, 3"]
    note = "3 entities with outer white space, kept as they are: lines 1, 3"
    assert to_document(source, unit="char").notes == [note]
    with pytest.raises(DataError, match=r"x:1: X 1-3 '  ' is white space alone"):
        to_document(make_texts(("a  b", [(1, 3, "X")])), unit="word")


def test_labels_that_differ_in_white_space_alone_are_noted():
    document = to_document(make_texts(("ab", [(0, 1, "City"), (1, 2, "City "), (0, 2, "A B")])), unit="char")
    assert document.notes == ["labels ['City', 'City '] differ in white space alone"]


def test_invalid_entities_are_dropped_only_on_request():
    source = make_texts(("ab", [(0, 3, "X"), (0, 3, "X"), (1, 2, "Y"), (1, 2, "Y")]))
    with pytest.raises(DataError, match="x:1: X 0-3 in a text of 2 characters; 2 entities not matching"):
        check_marks(source)
    left = check_marks(source, drop_invalid=True)
    assert ([mark[:3] for mark in left.texts[0].marks], len(left.invalid)) == ([(1, 2, "Y")], 2)
    assert left.notes == ["1 entity given twice, read once: line 1"]


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
