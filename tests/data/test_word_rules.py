"""Rules of words, learned from tokens: raw text is cut as the tokens were."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats import read
from ner.data.word_rules import WordRules, hide_marks, learn_rules, read_rules
from ner.data.words import share_that_comes_back, split_words
from ner.errors import DataError
from tests.factories import error_line

TREEBANK = [
    "Nora O'Hara did n't sell the 1970s records , she 's sure .",
    "We 'll meet Mr. Pratt of Acme Inc. in the U.K. on 12-05-1998 .",
    "It costs 3.5 % or $ 1,300 -- a well-known price for AT&T .",
    "Mr. Pratt ca n't pay ; you 've read 4-3 and 6:30 ...",
    "`` I 'm in , '' said Inc. chief O'Hara , I 'd go .",
]
FRENCH = ["l' eau d' Orsay n' est qu' ici aujourd'hui", "d' abord l' idée", "aujourd'hui n' est qu' un jour"]
APART = ["Crohn ' s disease - induced by 2 . 5 mg / kg", "a beta - blocker ' s e . g . dose ( 1 . 5 )"]


def rules_of(lines):
    return learn_rules([line.split() for line in lines * 5])


def pieces(text, rules):
    return [text[start:end] for start, end in split_words(text, "word", rules)]


@pytest.mark.parametrize(
    ("lines", "text", "words"),
    [
        (TREEBANK, "Zoe O'Brien doesn't like the 1880s.", "Zoe O'Brien does n't like the 1880s ."),
        (TREEBANK, "(Pratt’s well-read: 7.25%)", "( Pratt ’s well-read : 7.25 % )"),
        (TREEBANK, "They'VE left the U.N. CAN'T wait...", "They 'VE left the U.N. CA N'T wait ..."),
        (TREEBANK, "Inc.'s Mr. Wu--$5", "Inc. 's Mr. Wu -- $ 5"),
        (FRENCH, "l'or d'Anjou aujourd'hui qu'il", "l' or d' Anjou aujourd'hui qu' il"),
        (APART, "Graves's o'clock - well-known 3.75", "Graves ' s o ' clock - well - known 3 . 75"),
        (["x y", "z"], "O'Neil's 5.30% AT&T", "O'Neil 's 5.30% AT&T"),
    ],
)
def test_raw_text_is_cut_as_the_tokens_were(lines, text, words):
    assert pieces(text, rules_of(lines)) == words.split()


@pytest.mark.parametrize("lines", [TREEBANK, FRENCH, APART])
def test_the_tokens_of_train_come_back(lines):
    sentences = [line.split() for line in lines]
    assert share_that_comes_back(sentences, rules_of(lines)) == 1.0


@pytest.mark.parametrize(
    ("name", "train", "test", "least", "general"),
    [
        ("conll2003", "eng.testa", "eng.testb", 0.998, 0.99),
        ("bc5cdr", "devel.tsv", "test.tsv", 0.9999, 0.9995),
    ],
)
def test_tokens_of_another_file_come_back(ner_data, name, train, test, least, general):
    train, test = ([s.tokens for s in read(ner_data / name / file).sentences] for file in (train, test))
    assert share_that_comes_back(test, None) < general
    assert share_that_comes_back(test, learn_rules(train)) > least


WORDS = st.text(st.sampled_from("ab1'’.,-/&$%_日\u0301") | st.characters(), min_size=1, max_size=6)


@given(st.lists(st.lists(WORDS, min_size=1, max_size=5), min_size=1, max_size=5), st.text(max_size=30))
@settings(deadline=None, max_examples=20)
def test_any_tokens_give_rules_that_cut_any_text(sentences, text):
    rules = learn_rules(sentences * 5)
    assert read_rules(json.loads(json.dumps(rules._asdict())), "x") == rules
    position = 0
    for start, end in split_words(text, "word", rules):
        assert position <= start < end <= len(text)
        assert not text[position:start].strip()
        position = end
    assert not text[position:].strip()


def test_places_of_what_is_left_of_a_text_without_marks():
    assert hide_marks("abc") == ("abc", range(4))
    assert hide_marks("e\u0301\u0327x\u00adé") == ("exé", [0, 3, 5, 6])
    assert hide_marks("\u0301a \u0301\u200b\u0301") == ("\u0301a \u0301\u200b\u0301", [0, 1, 2, 3, 4, 5, 6])


@pytest.mark.parametrize("values", [[], {}, {"joins": ["aa"]}, {"joins": "a", "clitics": [], "whole": []}])
def test_malformed_rules_are_one_line(values):
    assert error_line(read_rules, values, "config.json").startswith("config.json: words: got ")
    with pytest.raises(DataError):
        read_rules({"joins": [1], "clitics": [], "whole": []}, "x")


def test_no_rules_are_none():
    assert read_rules(None, "x") is None
    assert WordRules((), (), ()).describe() == "joins nothing"
