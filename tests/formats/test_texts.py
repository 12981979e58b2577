"""Spans of characters to spans of tokens: by brute force, and what does not fit is counted and named."""

from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.corpus import DataError
from ner.formats.texts import Mark, Text, Texts, cut, guess_text_unit, named_lines
from ner.text import tokenize


def make_texts(*texts: tuple[str, list[tuple]]) -> Texts:
    rows = [
        Text(Path("x"), i, text, tuple(Mark(*mark, i) for mark in marks))
        for i, (text, marks) in enumerate(texts, 1)
    ]
    return Texts(Path("x"), rows, [], "")


def test_words_are_those_of_raw_text():
    document = cut(make_texts(("Mr. Smith's U.S. trip", [(4, 9, "PER"), (12, 16, "LOC")])))
    assert document.unit == "word"
    assert document.sentences[0].tokens == ("Mr.", "Smith", "'s", "U.S.", "trip")
    assert [tuple(span) for span in document.sentences[0].spans] == [(1, 2, "PER"), (3, 4, "LOC")]


@given(st.text("a中-. \n'é\u0301😀", min_size=1, max_size=8), st.sampled_from(["char", "word"]))
@settings(deadline=None, max_examples=200)
def test_every_span_fits_its_tokens_or_is_refused(text, unit):
    tokens = tokenize(text, unit)
    for start, end in product(range(len(text) + 1), repeat=2):
        if start >= end:
            continue
        inside = [i for i, token in enumerate(tokens) if start <= token.start and token.end <= end]
        touched = [i for i, token in enumerate(tokens) if token.start < end and start < token.end]
        if inside and inside == touched:
            (span,) = cut(make_texts((text, [(start, end, "X")])), unit=unit).sentences[0].spans
            assert span == (inside[0], inside[-1] + 1, "X")
        else:
            with pytest.raises(DataError, match=f"x:1: X {start}-{end} .* cutting a token"):
                cut(make_texts((text, [(start, end, "X")])), unit=unit)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 5), st.sampled_from("XY")), max_size=6))
@settings(deadline=None, max_examples=200)
def test_the_longest_are_kept_by_brute_force(rows):
    marks = [(start, start + length, label) for start, length, label in rows]
    document = cut(make_texts(("a" * 13, marks)), unit="char", nested="keep_longest")
    kept = []
    for mark in sorted(set(marks), key=lambda m: (m[0] - m[1], m)):
        if all(mark[1] <= other[0] or other[1] <= mark[0] for other in kept):
            kept.append(mark)
    assert [tuple(span) for span in document.sentences[0].spans] == sorted(kept)
    assert len(document.left_out) == len(set(marks)) - len(kept)
    again = len(marks) - len(set(marks))
    assert any("given twice" in note for note in document.notes) == bool(again)


def test_all_that_overlap_are_counted_and_their_lines_named():
    nested = ("abcd", [(0, 3, "X"), (1, 2, "X"), (2, 4, "Y")])
    with pytest.raises(DataError) as error:
        cut(make_texts(("ab", []), *[nested] * 12), unit="char")
    message = "x:2: X 1-2 'b' overlaps X 0-3 'abc'; 24 entities nested or overlapping"
    assert str(error.value).startswith(f"{message}, lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more")
    document = cut(make_texts(nested), unit="char", nested="keep_longest")
    assert document.left_out == (
        "x:1: X 1-2 'b' overlaps X 0-3 'abc'",
        "x:1: Y 2-4 'cd' overlaps X 0-3 'abc'",
    )


def test_texts_without_a_token_are_left_out_and_named():
    document = cut(make_texts(("", []), ("a", []), (" \n", [])), unit="word")
    assert document.first_lines == [2]
    assert document.notes == ["2 texts without a token left out: lines 1, 3"]
    assert len(cut(make_texts(("", []), ("a", []), (" \n", [])), unit="char").sentences) == 2


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
    assert guess_text_unit([text]) == unit


def test_lines_are_named_up_to_ten():
    assert named_lines([3, 3]) == "line 3"
    assert named_lines([3, 5]) == "lines 3, 5"
    assert named_lines(range(1, 2000)).endswith("9, 10 and 1,989 more")
