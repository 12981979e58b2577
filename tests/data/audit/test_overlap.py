"""Texts inside others, compared with brute force over all pairs."""

import unicodedata
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.audit.checks import MIN_INSIDE, shared_texts, texts_inside

texts = st.lists(st.text("ab", max_size=9), max_size=8)


@given(texts, texts, st.integers(1, 4))
@settings(deadline=None, max_examples=300)
def test_a_part_is_found_in_the_first_text_that_contains_it(parts, rows, n):
    expected = {
        part: next(i for i, row in enumerate(rows) if part in row)
        for part in parts
        if len(part) >= n and any(part in row for row in rows)
    }
    assert texts_inside(parts, rows, n=n) == expected


def folded(token):
    """Letters and digits, by `str.isalnum`; the alphabet below has no marks."""
    return "".join(c for c in unicodedata.normalize("NFKC", token).casefold() if c.isalnum())


def lies_in(unit, inner, outer):
    """Compares the lists of tokens: "whole", "part" or None."""
    if unit == "char":
        inner, outer = folded("".join(inner)), folded("".join(outer))
        n_characters, inside = len(inner), inner in outer
    else:
        inner, outer = (list(filter(None, map(folded, tokens))) for tokens in (inner, outer))
        n_characters = len(" ".join(inner))
        starts = range(len(outer) - len(inner) + 1)
        inside = any(outer[start : start + len(inner)] == inner for start in starts)
    if inner and inner == outer:
        return "whole"
    return "part" if inside and n_characters >= MIN_INSIDE[unit] else None


rows = st.lists(
    st.lists(st.sampled_from(["a", "b", "Ａ", "，", "１", "b,"]), min_size=1, max_size=6), min_size=1
)


@pytest.mark.parametrize("unit", ["char", "word"])
@given(train=rows, val=rows, test=rows)
@settings(deadline=None, max_examples=150)
def test_exactly_the_sentences_in_another_split_are_reported(make_corpus, unit, train, val, test):
    splits = {"train": train, "val": val, "test": test}
    with mock.patch.dict(MIN_INSIDE, {"char": 3, "word": 3}):
        found = shared_texts(make_corpus(unit, **{k: [(row, ()) for row in v] for k, v in splits.items()}))
        expected = set()
        for a, name in enumerate(splits):
            for b, other in enumerate(splits):
                for i, row in enumerate(splits[name]):
                    ways = {lies_in(unit, row, outer) for outer in splits[other]}
                    if (a > b and "whole" in ways) or (a != b and "part" in ways and "whole" not in ways):
                        expected.add((f"{name}:{i}", other, "whole" in ways))
        assert len(found) == len(expected)
        assert {(f.places[0], f.values["other_split"], f.values["whole"]) for f in found} == expected
        for f in found:
            name, i = f.places[0].split(":")
            other, j = f.values["other_place"].split(":")
            way = lies_in(unit, splits[name][int(i)], splits[other][int(j)])
            assert way == ("whole" if f.values["whole"] else "part")
            assert (name, other) == (f.values["split"], f.values["other_split"])


def test_marks_of_a_script_count(make_corpus):
    """Two Hindi words that differ only in a vowel sign are different."""
    assert shared_texts(make_corpus("word", train=[(["की"], ())], test=[(["का"], ())])) == []
    assert len(shared_texts(make_corpus("word", train=[(["की"], ())], test=[(["“की”"], ())]))) == 1


def test_many_parts_with_the_same_beginning_are_fast():
    """20,000 texts with the same beginning against as many texts; comparing all pairs would take hours."""
    parts = [f"请帮我查询一下明天的天气{i:05}" for i in range(20_000)]
    assert texts_inside(parts, [f"{part}好吗" for part in parts], n=10) == {p: i for i, p in enumerate(parts)}
