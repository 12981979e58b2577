"""A document knows where its sentences stand."""

from pathlib import Path

import pytest

from ner.data.formats.document import Document
from ner.data.sentence import Sentence


def make_document(path, *, files=(), spans=()):
    sentences = [Sentence.with_spans(("a",), spans), Sentence.with_spans(("b",), spans)]
    return Document(path, sentences, [1, 7], [], [], "", None, files=files)


def test_a_sentence_of_a_file_is_placed_by_the_name_of_the_file():
    document = make_document(Path("raw/x.txt"))
    assert [document.place(row) for row in (0, 1)] == ["x.txt:1", "x.txt:7"]


def test_a_sentence_of_a_folder_is_placed_by_folder_and_file():
    folder = Path("raw/c")
    document = make_document(folder, files=(folder / "x.txt", folder / "sub" / "y.txt"))
    assert [document.place(row) for row in (0, 1)] == ["c/x.txt:1", "c/sub/y.txt:7"]


@pytest.mark.parametrize(("spans", "annotated"), [(None, False), ((), True)])
def test_no_entity_is_an_annotation_too(spans, annotated):
    assert make_document(Path("x"), spans=spans).annotated == annotated
