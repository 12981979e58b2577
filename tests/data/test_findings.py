"""What a build prints: one finding a line, and the table of counts."""

from pathlib import Path

import pytest

from ner.data.build import build
from ner.data.findings import N_LISTED, count_table, findings
from ner.data.formats import Document
from ner.data.sentence import Sentence
from ner.tags import Span


def make_document(*sentences: Sentence, **facts) -> Document:
    lines = list(range(1, len(sentences) + 1))
    return Document(Path("x.txt"), list(sentences), lines, [], [], "", "BIO")._replace(**facts)


def test_the_table_is_aligned_under_full_width_labels():
    sentences = [Sentence.with_spans(("a",), (Span(0, 1, "人名"),))] * 2
    lines = count_table(build({"train": make_document(*sentences)}, val_size=0).facts).splitlines()
    assert "  人名               2" in lines
    assert "tokens               2" in lines


@pytest.mark.parametrize("n_illegal", [1, N_LISTED, N_LISTED + 5])
def test_the_first_illegal_tags_are_listed_and_the_others_counted(n_illegal):
    sentence = Sentence.with_spans(("a", "b"), (Span(0, 1, "LOC"),))
    illegal = [(number, "I-LOC") for number in range(1, n_illegal + 1)]
    lines = findings(build({"train": make_document(sentence, illegal=illegal)}, val_size=0).facts)
    first = next(i for i, line in enumerate(lines) if "illegal" in line)
    assert lines[first].startswith(f"x.txt: {n_illegal} illegal tag")
    listed = [f"  x.txt:{number}: I-LOC" for number in range(1, min(n_illegal, N_LISTED) + 1)]
    rest = [f"  and {n_illegal - N_LISTED} more, listed in dataset.json"] if n_illegal > N_LISTED else []
    assert lines[first + 1 :] == listed + rest


def test_labels_that_train_lacks_are_named():
    train = make_document(Sentence.with_spans(("a",), (Span(0, 1, "LOC"),)))
    val = make_document(*[Sentence.with_spans(("b",), (Span(0, 1, "PER"),))] * 3)
    lines = findings(build({"train": train, "val": val}).facts)
    assert "val: label PER is not in train; 3 of its entities count as missed gold" in lines
