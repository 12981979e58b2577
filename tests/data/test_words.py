"""Splitting raw text: every token is a slice of the text, and only white space is left out."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.words import split_words


def pieces(text, unit="word"):
    return [text[start:end] for start, end in split_words(text, unit)]


@given(st.text(max_size=30))
@settings(deadline=None, max_examples=100)
def test_every_code_point_is_a_token_of_a_char_model(text):
    assert pieces(text, "char") == list(text)


@given(st.text(st.sampled_from("ab1日ア 2.,'’-&$%_\t\n\u3000é😀MrS") | st.characters(), max_size=30))
@settings(deadline=None, max_examples=300)
def test_words_are_ordered_slices_and_only_white_space_lies_between(text):
    position = 0
    for start, end in split_words(text, "word"):
        assert position <= start < end <= len(text)
        assert not text[position:start].strip()
        assert not any(character.isspace() for character in text[start:end])
        position = end
    assert not text[position:].strip()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("EU rejects German call.", ["EU", "rejects", "German", "call", "."]),
        ("Mr. Smith's dog, J. Doe", ["Mr.", "Smith", "'s", "dog", ",", "J", ".", "Doe"]),
        ("The U.S. and U.K.", ["The", "U.S.", "and", "U.K."]),
        ("1,200.50 on 1996-08-22 at 12:30", ["1,200.50", "on", "1996-08-22", "at", "12:30"]),
        ("50% AT&T Coca-Cola", ["50%", "AT&T", "Coca-Cola"]),
        ("我在New York住", ["我", "在", "New", "York", "住"]),
        ("北京2008年", ["北", "京", "2008", "年"]),
        ("(a/b)", ["(", "a", "/", "b", ")"]),
        ("we’re they'll", ["we", "’re", "they", "'ll"]),
        ("\u3000 \t\n", []),
        ("", []),
    ],
)
def test_words_are_split_as_in_treebanks(text, words):
    assert pieces(text) == words
