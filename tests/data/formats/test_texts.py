"""Spans of characters: invalid and overlapping ones are counted and listed, compared with brute force."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats.document import AnnotatedText, Mark, Texts
from ner.data.formats.texts import check_marks, remove_overlaps, split_at_line_ends
from ner.errors import DataError


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


def test_invalid_entities_are_dropped_only_on_request():
    source = make_texts(("ab", [(0, 3, "X"), (0, 3, "X"), (1, 2, "Y"), (1, 2, "Y")]))
    with pytest.raises(DataError, match="x:1: X 0-3 in a text of 2 characters; 2 entities not matching"):
        check_marks(source)
    left = check_marks(source, drop_invalid=True)
    assert ([mark[:3] for mark in left.texts[0].marks], len(left.invalid)) == ([(1, 2, "Y")], 2)
    assert left.notes == ["1 entity given twice, read once: line 1"]
