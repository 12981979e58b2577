"""Splitting and describing: the rows of each split, and the findings."""

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.build import build, count_table, findings
from ner.data.formats import Document
from ner.data.sentence import Sentence
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


def test_the_table_is_aligned_under_full_width_labels():
    sentences = [Sentence.with_spans(("a",), (Span(0, 1, "人名"),))] * 2
    document = make_document(2)._replace(sentences=sentences)
    lines = count_table(build({"train": document}, val_size=0).facts).splitlines()
    assert "  人名               2" in lines
    assert "tokens               2" in lines
