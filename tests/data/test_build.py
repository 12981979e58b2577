"""Splitting and describing: the rows of each split, and the findings."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.build import build, read_splits
from ner.data.findings import findings
from ner.data.formats import Document, Reading
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import Span


def make_document(n: int) -> Document:
    sentences = [Sentence.with_spans((f"t{i}",), (Span(0, 1, "LOC"),)) for i in range(n)]
    return Document(Path("x.txt"), sentences, list(range(1, 2 * n, 2)), [], [], "", "BIO")


@given(st.integers(1, 60), st.integers(0, 20), st.integers(0, 20), st.integers(0, 3))
@settings(deadline=None, max_examples=50)
def test_every_row_is_used_once_in_the_order_of_random_shuffle(n, val_size, test_size, seed):
    if val_size + test_size >= n:
        return
    sizes = {"val_size": val_size, "test_size": test_size}
    parts = build({"train": make_document(n)}, **sizes, seed=seed).parts
    rows = [list(parts[name].rows) if name in parts else [] for name in ("train", "val", "test")]
    order = list(range(n))
    if val_size or test_size:
        random.seed(seed)
        random.shuffle(order)
    assert [*rows[0], *rows[1], *rows[2]] == order
    assert list(map(len, rows[1:])) == [val_size, test_size]


def test_train_size_keeps_a_part_of_train_and_does_not_change_val_and_test():
    document = make_document(40)
    whole = build({"train": document}, val_size=6, test_size=4).splits
    few = build({"train": document}, val_size=6, test_size=4, train_size=5)
    more = build({"train": document}, val_size=6, test_size=4, train_size=12)
    assert few.splits["val"] == more.splits["val"] == whole["val"]
    assert few.splits["test"] == whole["test"]
    assert few.splits["train"] == more.splits["train"][:5] == whole["train"][:5]
    assert more.splits["train"] == whole["train"][:12]
    assert "train: 5 of 30 sentences, taken at random (--train_size)" in findings(few.facts)
    assert few.facts["train_size"] == 5


def test_train_size_is_random_even_if_nothing_is_split_off():
    kept = build({"train": make_document(40)}, val_size=0, train_size=10).splits["train"]
    assert len({sentence.tokens for sentence in kept}) == 10
    assert kept != make_document(40).sentences[:10]


def test_a_single_file_gives_three_splits():
    splits = build({"train": make_document(10)}, val_size=2, test_size=3).splits
    assert {name: len(sentences) for name, sentences in splits.items()} == {"train": 5, "val": 2, "test": 3}
    assert len({s.tokens for sentences in splits.values() for s in sentences}) == 10


def test_train_keeps_the_file_order_if_val_is_given():
    documents = {"train": make_document(30), "val": make_document(2)}
    dataset = build(documents, val_size=3, unit="word")
    assert findings(dataset.facts) == ["val: x.txt; --val_size 3 is not used"]
    assert dataset.splits["train"] == documents["train"].sentences
    assert list(dataset.splits) == ["train", "val"]
    assert dataset.facts["shared_texts"] == {"train & val": 2}


def test_choices_of_the_program_are_reported():
    facts = build({"train": make_document(30)}).facts
    assert findings(facts) == [
        "val: 3 sentences split off train (--val_size states it)",
        "unit: word, guessed from the tokens of train (--unit states it)",
    ]
    assert findings(build({"train": make_document(30)}, val_size=0, unit="word").facts) == []
    sizes = [build({"train": make_document(n)}).facts["val_size"] for n in (1, 2, 9, 45, 45_000)]
    assert sizes == [0, 1, 1, 4, 3000]


def test_entities_at_white_space_are_counted():
    spans = [(Span(0, 1, "LOC"),), (Span(0, 2, "LOC"),), (Span(0, 3, "LOC"),)]
    sentences = [Sentence.with_spans(("a", "\u3000", "b"), own) for own in spans]
    documents = {"train": make_document(3)._replace(sentences=sentences)}
    (line,) = findings(build(documents, val_size=0, unit="char").facts)
    assert line == "train: 1 entity at white space: never predicted, counted as missed"


def test_rules_of_words_are_learned_from_tokens_and_described():
    tokens = ("The", "1990s", "did", "n't", "end", "in", "the", "U.S.", ",", "O'Hara", "said", ".")
    sentences = [Sentence.with_spans(tokens, (Span(1, 2, "DATE"),))] * 5
    documents = {"train": make_document(5)._replace(sentences=sentences)}
    facts = build(documents, val_size=0, unit="word").facts
    assert set(facts["words"]) == {"joins", "clitics", "whole"}
    assert {"0a", "a'a"} <= set(facts["words"]["joins"])
    assert "n't" in facts["words"]["clitics"]
    (line,) = findings(facts)
    # by the general rules 1990s, n't and O'Hara do not come back, of 12 tokens
    assert line.startswith(
        "raw text: learned from train's tokens, of which 100.00% come back from their text"
    )
    assert "(75.00% by the general rules)" in line
    letters = {
        "train": make_document(1)._replace(
            sentences=[Sentence.with_spans(("a", "b"), (Span(0, 1, "LOC"),))] * 2
        )
    }
    assert "words" not in build(letters, val_size=0, unit="char").facts
    texts = {"train": documents["train"]._replace(unit="word")}
    assert "words" not in build(texts, val_size=0).facts


def test_words_without_spaces_are_counted():
    sentences = [Sentence.with_spans((word,), (Span(0, 1, "LOC"),)) for word in ("ไทย", "ลาว", "Thai")]
    documents = {"train": make_document(3)._replace(sentences=sentences)}
    (line,) = findings(build(documents, val_size=0, unit="word").facts)
    assert line.startswith("train: 2 sentences in Thai, Lao,")
    assert line.endswith("expected --unit char")
    letters = [Sentence.with_spans(tuple("ไทย"), (Span(0, 3, "LOC"),))]
    letters = {"train": make_document(1)._replace(sentences=letters)}
    assert findings(build(letters, val_size=0, unit="char").facts) == []


def make_words(*tokens: str) -> Document:
    sentence = Sentence.with_spans(tokens, (Span(0, 1, "LOC"),))
    return Document(Path("x.txt"), [sentence], [4], [], [], "", "BIO")


def test_characters_are_single_but_for_their_marks_and_a_tenth():
    with pytest.raises(DataError, match=r"x.txt:5: token 'ab', --unit char .*; 1 of its 3 tokens have"):
        build({"train": make_words("a", "ab", "c")}, val_size=0, unit="char")
    for tokens in (("दि", "ल्", "e\u0301"), (*"abcdefghi", "2008")):
        facts = build({"train": make_words(*tokens)}, val_size=0, unit="char").facts
        assert facts["choices"] == []


def test_a_test_of_words_beside_a_train_of_characters_is_named():
    facts = build({"train": make_words("a", "b"), "test": make_words("a", "bc")}, val_size=0).facts
    assert (
        "test: 1 of its 2 tokens have several characters, such as 'bc', though the unit is char"
        in findings(facts)
    )


@pytest.mark.parametrize(
    "text", ["李明昨天在北京。\n他去了上海。\n", "李明昨天 在北京。\n他去了上海。\n", "李明明天去北京\n"]
)
def test_raw_text_is_cut_as_train_is(tmp_path, text):
    (tmp_path / "train").write_text("北\tB-X\n京\tI-X\n", encoding="utf-8")
    (tmp_path / "test").write_text(text, encoding="utf-8")
    paths = {name: tmp_path / name for name in ("train", "test")}
    test = read_splits(paths, None, unit=None, reading=Reading())["test"]
    assert [sentence.tokens for sentence in test.sentences] == [tuple(line) for line in text.splitlines()]
    assert (test.annotated, test.format) == (False, "text")
    assert "raw text without tags, one sentence a line" in test.notes


def test_tokens_without_tags_stay_tokens(tmp_path):
    (tmp_path / "train").write_text("EU\tB-X\nsays\tO\n", encoding="utf-8")
    (tmp_path / "test").write_text("Internationally\nno\n\nyes\n", encoding="utf-8")
    paths = {name: tmp_path / name for name in ("train", "test")}
    test = read_splits(paths, None, unit=None, reading=Reading())["test"]
    assert [sentence.tokens for sentence in test.sentences] == [("Internationally", "no"), ("yes",)]


def test_whole_documents_as_sentences_are_named():
    (line,) = findings(build({"train": make_words(*["a"] * 1500)}, val_size=0, unit="char").facts)
    assert "train: 1,500 tokens a sentence, as if whole documents; a batch of 32 then holds 48,000" in line
    assert "an epoch has 1 step" in line
    assert "--split_lines" in line
