"""Suspicious text: invisible characters, markup, lengths."""

import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.audit.checks import MARKS, MARKUP, invisible_characters, length_outliers, markup_remains
from ner.data.words import split_words
from ner.tags import Span

INVISIBLE = "\u200b\u200d\ufeff\u00ad\u200e\u202e\u2066\u2060\x07\x1b\x85\u2028\u2029\u3164\ufffd\ue000\u0378"
VISIBLE = "aé中，１ \t\r\n\u3000\u00a0\u2009\ufe0f\u0301😀﷽"


def test_invisible_characters(make_corpus):
    tokens = ["a", *(f"b{c}" for c in INVISIBLE + VISIBLE), f"{INVISIBLE[0]}x{INVISIBLE[0]}"]
    corpus = make_corpus("word", train=[([token], ()) for token in tokens], val=[(tokens, ())])
    found = invisible_characters(corpus)
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
        ("见ｈｔｔｐ：／／ｗｗｗ．ｘ．ｃｎ站", ["http://www.x.cn"]),
        ("站点www.people.com.cn）", ["www.people.com.cn"]),
        ("<!-- x", ["<!--"]),
        ("[url=x]甲[/url]", ["[url", "[/url"]),
        ("1 < 2 > 0，A & B; 《书》<中>，R&D，3:4，AT&T", []),
    ],
)
def test_leftover_markup(make_corpus, text, expected):
    found = markup_remains(make_corpus(train=["甲乙", text]))
    assert [f.places for f in found] == [["train:1"]] * bool(expected)
    assert [match for f in found for match in f.values["markup"]] == expected


def test_markup_in_words(make_corpus):
    corpus = make_corpus("word", train=[(["a", "&lt;", "b"], ()), (["AT", "&", "T", ";"], ())])
    assert [(f.what, f.places) for f in markup_remains(corpus)] == [("&lt;", ["train:0"])]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fish &amp; chips&#39;s</b>", ["&amp;", "&#39;", "</b>"]),
        ("see http://x.org/a_b for more<br/>", ["http://", "<br/>"]),
        ("a < b > c , if x <li and y> z ; AT&T; Q & A; 3:4 // </ b", []),
    ],
)
def test_markup_that_was_split_into_words(make_corpus, text, expected):
    tokens = [text[start:end] for start, end in split_words(text, "word")]
    found = markup_remains(make_corpus("word", train=[(tokens, ())]))
    assert [match for f in found for match in f.values["markup"]] == expected


@given(st.from_regex(MARKUP, fullmatch=True))
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
