"""The checks, compared with brute force: labels that disagree, texts in several splits, suspicious text."""

import sys
import unicodedata
from itertools import combinations
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.audit.checks import (
    LINK,
    MARKS,
    MARKUP,
    MIN_INSIDE,
    ambiguous_surfaces,
    conflicting_texts,
    invisible_characters,
    labels_in_one_split,
    length_outliers,
    links,
    markup_remains,
    shared_texts,
    texts_inside,
)
from ner.data.words import split_words
from ner.tags import Span
from tests.factories import tags_to_spans


@st.composite
def sentences(draw):
    tokens = draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=3))
    tags = [draw(st.sampled_from(["O", "B-X", "I-X", "B-Y"])) for _ in tokens]
    return tokens, tags_to_spans(tags)


splits = st.fixed_dictionaries(
    {name: st.lists(sentences(), min_size=1, max_size=6) for name in ("train", "test")}
)


def with_places(splits):
    return [(f"{name}:{i}", *row) for name, rows in splits.items() for i, row in enumerate(rows)]


@given(splits)
@settings(deadline=None, max_examples=200)
def test_texts_with_several_readings(make_corpus, splits):
    expected = set()
    for (a, tokens, spans), (b, other_tokens, other_spans) in combinations(with_places(splits), 2):
        if tokens == other_tokens and spans != other_spans:
            expected |= {a, b}
    found = list(conflicting_texts(make_corpus(**splits)))
    # a third sentence with one of the two readings is listed with them
    texts = {tuple(tokens) for place, tokens, _ in with_places(splits) if place in expected}
    everywhere = {place for place, tokens, _ in with_places(splits) if tuple(tokens) in texts}
    assert sorted(place for f in found for place in f.places) == sorted(everywhere)
    assert len(found) == len(texts)
    for f in found:
        for reading in f.values["readings"]:
            for place in reading["places"]:
                _, tokens, spans = next(row for row in with_places(splits) if row[0] == place)
                expected_entities = [[s, e, label, "".join(tokens[s:e])] for s, e, label in spans]
                assert reading["entities"] == expected_entities


@given(splits)
@settings(deadline=None, max_examples=200)
def test_surfaces_with_several_labels(make_corpus, splits):
    seen = [
        ("".join(tokens[start:end]), label, place)
        for place, tokens, spans in with_places(splits)
        for start, end, label in spans
    ]
    found = {f.values["surface"]: f for f in ambiguous_surfaces(make_corpus(**splits))}
    assert set(found) == {a for a, label, _ in seen for b, other, _ in seen if a == b and label != other}
    for surface, f in found.items():
        labels = [label for other, label, _ in seen if other == surface]
        assert f.values["labels"] == {label: labels.count(label) for label in labels}
        commonest = next(iter(f.values["labels"]))
        assert labels.count(commonest) == max(map(labels.count, labels))
        rarer = [place for other, label, place in seen if other == surface and label != commonest]
        assert set(f.places) == set(rarer)
    shares = [max(f.values["labels"].values()) / sum(f.values["labels"].values()) for f in found.values()]
    assert shares == sorted(shares, reverse=True)


def test_labels_of_one_split(make_corpus):
    x, y, z = (Span(0, 1, label) for label in "XYZ")
    train = [("ab", [x, Span(1, 2, "X")]), ("ab", [y]), ("ab", [x])]
    corpus = make_corpus(train=train, val=[("ab", [y, Span(1, 2, "Z")]), ("c", [z])], test=[("ab", None)])
    found = {f.values["label"]: f for f in labels_in_one_split(corpus)}
    assert set(found) == {"X", "Z"}
    assert found["X"].values == {"label": "X", "split": "train", "entities": 3}
    assert found["X"].places == ["train:0", "train:2"]
    assert found["Z"].what == "Z: 2 in val, none elsewhere"
    assert list(labels_in_one_split(make_corpus(train=train, test=[("ab", None)]))) == []


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
        corpus = make_corpus(unit, **{k: [(row, ()) for row in v] for k, v in splits.items()})
        found = list(shared_texts(corpus))
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
    for other, n in (("का", 0), ("“की”", 1)):
        assert len(list(shared_texts(make_corpus("word", train=[(["की"], ())], test=[([other], ())])))) == n


def test_many_parts_with_the_same_beginning_are_fast():
    """20,000 texts with the same beginning against as many texts; comparing all pairs would take hours."""
    parts = [f"请帮我查询一下明天的天气{i:05}" for i in range(20_000)]
    assert texts_inside(parts, [f"{part}好吗" for part in parts], n=10) == {p: i for i, p in enumerate(parts)}


INVISIBLE = "\u200b\u200d\ufeff\u00ad\u200e\u202e\u2066\u2060\x07\x1b\x85\u2028\u2029\u3164\ufffd\ue000\u0378"
VISIBLE = "aé中，１ \t\r\n\u3000\u00a0\u2009\ufe0f\u0301😀﷽"


def test_invisible_characters(make_corpus):
    tokens = ["a", *(f"b{c}" for c in INVISIBLE + VISIBLE), f"{INVISIBLE[0]}x{INVISIBLE[0]}"]
    corpus = make_corpus("word", train=[([token], ()) for token in tokens], val=[(tokens, ())])
    found = list(invisible_characters(corpus))
    expected = {f"train:{i}" for i, token in enumerate(tokens) if set(token) & set(INVISIBLE)} | {"val:0"}
    assert {place for f in found for place in f.places} == expected
    assert found[0].values["characters"] == {"U+200B ZERO WIDTH SPACE": 1}
    assert {f.what for f in found} >= {"U+0007 control", "U+E000 private use", "U+0378 unassigned"}
    assert found[-2].what == "2 x U+200B ZERO WIDTH SPACE"
    assert sum(found[-1].values["characters"].values()) == len(INVISIBLE) + 2


def test_no_letter_digit_or_white_space_of_unicode_is_taken_for_invisible(make_corpus):
    known = [c for c in map(chr, range(sys.maxunicode)) if c.isalnum() or unicodedata.category(c) == "Zs"]
    found = invisible_characters(make_corpus(train=[(known, ())]))
    named = {name for f in found for name in f.values["characters"]}
    assert named == {
        *("U+115F HANGUL CHOSEONG FILLER", "U+1160 HANGUL JUNGSEONG FILLER"),
        *("U+3164 HANGUL FILLER", "U+FFA0 HALFWIDTH HANGUL FILLER"),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("甲<br/>乙</b>丙", ["<br/>", "</b>"]),
        ('拨打<ADDREX0TYPE="PHONE">１１９', ['<ADDREX0TYPE="PHONE">']),
        ("a&amp;b&#39;c&#x2F;d", ["&amp;", "&#39;", "&#x2F;"]),
        ("见ｈｔｔｐ：／／ｗｗｗ．ｘ．ｃｎ站<b>", ["<b>"]),
        ("站点www.people.com.cn）", []),
        ("<!-- x", ["<!--"]),
        ("[url=x]甲[/url]", ["[url", "[/url"]),
        ("1 < 2 > 0，A & B; 《书》<中>，R&D，3:4，AT&T", []),
    ],
)
def test_leftover_markup(make_corpus, text, expected):
    found = list(markup_remains(make_corpus(train=["甲乙", text])))
    assert [f.places for f in found] == [["train:1"]] * bool(expected)
    assert [match for f in found for match in f.values["markup"]] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("见ｈｔｔｐ：／／ｗｗｗ．ｘ．ｃｎ站", ["http://www.x.cn"]),
        ("站点www.people.com.cn）", ["www.people.com.cn"]),
        ("甲<br/>http://x.cn<br/>", ["http://x.cn"]),
        ("http，ftp: www", []),
    ],
)
def test_links_are_no_markup(make_corpus, text, expected):
    found = list(links(make_corpus(train=["甲乙", text])))
    assert [match for f in found for match in f.values["links"]] == expected


def test_markup_in_words(make_corpus):
    corpus = make_corpus("word", train=[(["a", "&lt;", "b"], ()), (["AT", "&", "T", ";"], ())])
    assert [(f.what, f.places) for f in markup_remains(corpus)] == [("&lt;", ["train:0"])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fish &amp; chips&#39;s</b>", ["&amp;", "&#39;", "</b>"]),
        ("see http://x.org/a_b for more<br/>", ["<br/>"]),
        ("a < b > c , if x <li and y> z ; AT&T; Q & A; 3:4 // </ b", []),
    ],
)
def test_markup_that_was_split_into_words(make_corpus, text, expected):
    tokens = [text[start:end] for start, end in split_words(text, "word")]
    corpus = make_corpus("word", train=[(tokens, ())])
    found = markup_remains(corpus)
    assert [f.what for f in links(corpus)] == ["http://"] * ("http" in text)
    assert [match for f in found for match in f.values["markup"]] == expected


@given(st.from_regex(MARKUP, fullmatch=True) | st.from_regex(LINK, fullmatch=True))
@settings(deadline=None)
def test_every_markup_contains_one_of_the_marks(text):
    assert set(text) & set(MARKS)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(1, 3))
@settings(deadline=None)
def test_lengths_beyond_the_outer_fences(make_corpus, lengths, factor):
    lengths = [*lengths, lengths[0] * 8**factor]
    rows = [("字" * n, [Span(0, n, "X")] if n % 2 else []) for n in lengths]
    found = length_outliers(make_corpus(train=rows))
    for kind, measured in (("sentence", lengths), ("entity", [n for n in lengths if n % 2])):
        first, third = np.percentile(measured or [1], [25, 75], method="inverted_cdf")
        reach = np.exp(3 * max(np.log(third) - np.log(first), np.log(2)))
        far = [n for n in measured if n > third * reach * 1.000001 or n < first / reach / 1.000001]
        assert sorted(f.values["tokens"] for f in found if f.values["kind"] == kind) == sorted(far)
    for f in found:
        assert lengths[int(f.places[0].partition(":")[2])] == f.values["tokens"]
    assert [f.values["tokens"] for f in found] == sorted((f.values["tokens"] for f in found), reverse=True)
