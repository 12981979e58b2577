"""Small corpora for the checks."""

import pytest

from ner.data.audit import Corpus
from ner.data.sentence import Sentence


@pytest.fixture(scope="session")
def make_corpus():
    """`make_corpus("char", train=["北京"], test=[(["a", "b"], [Span(0, 1, "X")])])`: texts, or tokens and
    spans; sentence i of a split stands at `split:i`."""

    def make(unit="char", illegal=(), **splits) -> Corpus:
        sentences = {name: [make_sentence(row) for row in rows] for name, rows in splits.items()}
        places = {name: [f"{name}:{i}" for i in range(len(rows))] for name, rows in splits.items()}
        return Corpus(sentences, places, illegal, unit)

    return make


def make_sentence(row) -> Sentence:
    tokens, spans = (row, ()) if isinstance(row, str) else row
    return Sentence.with_spans(tuple(tokens), spans if spans is None else tuple(spans))
