"""Splitting raw text: every token is a slice of the text, and only white space is left out."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, pre_tokenizers

from ner.data.words import is_unspaced, split_words


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


UAX_29 = pre_tokenizers.Split(Regex(r"(?y{w})\X"), "isolated")
SCRIPTS = [
    "मीरा कल मुंबई से लौटी ।",
    "سَافَرَ كَرِيمٌ إلى تُونِسَ، (أمس)",
    "דָּוִד גר בִּירוּשָׁלַיִם וצה״ל",
    "கோவை நகரில் மழை",
    "రాజు హైదరాబాద్ వెళ్ళాడు",
    "শীলা কলকাতায় থাকে",
    "Trần Đức ở Huế",
    "Žofie žije v Brně",
    "서울에서 민수를",
    "Ёжик и Йод",
    "می‌رود خانه",
    "col·laboració a Elx",
]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("text", SCRIPTS)
def test_words_of_every_script_are_whole(text, form):
    text = unicodedata.normalize(form, text)
    expected = [word for word, _ in UAX_29.pre_tokenize_str(text) if not word.isspace()]
    assert pieces(text) == expected


@given(st.lists(st.sampled_from([*SCRIPTS, "e\u0301a", "か\u3099", "x\u0301\u0327 ", "1\u20e3"]), max_size=3))
@settings(deadline=None, max_examples=60)
def test_composed_and_decomposed_text_have_the_same_words(parts):
    text = " ".join(parts)
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert pieces(composed) == [unicodedata.normalize("NFC", word) for word in pieces(decomposed)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\u0301a", ["\u0301", "a"]),
        ("a \u0301\u0302 b", ["a", "\u0301\u0302", "b"]),
        ("co\u00adop a\u200bb", ["co\u00adop", "a", "\u200b", "b"]),
        ("\ud800a \x00b", ["\ud800", "a", "\x00", "b"]),
        ("สมชาย กิน", ["สมชาย", "กิน"]),
        ("𠮷𠮷野", ["𠮷", "𠮷", "野"]),
    ],
)
def test_marks_and_odd_characters(text, words):
    assert pieces(text) == words


def test_scripts_without_spaces_are_recognised():
    for text in ("ฉันชอบเชียงใหม่", "ຂ້ອຍຢູ່ວຽງຈັນ", "ខ្ញុំនៅភ្នំពេញ", "ကျွန်တော်"):
        assert is_unspaced(f"in {text}")
    for text in ("฿100", "मुंबई", "東京タワー", "plain", "서울에서"):
        assert not is_unspaced(text)
