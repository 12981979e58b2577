"""A sentence tells "not annotated" from "annotated, and nothing there"."""

from dataclasses import FrozenInstanceError

import pytest

from ner.data.sentence import Sentence
from ner.tags import Span


def test_no_annotation_is_not_an_empty_one():
    assert Sentence(("a",)).spans is None
    assert Sentence.with_spans(["a"]) == Sentence(("a",), {})
    assert Sentence.with_spans(["a"], []) == Sentence(("a",), {"spans": ()})
    assert Sentence.with_spans(["a"], []).spans == ()


def test_tokens_and_entities_become_tuples():
    sentence = Sentence.with_spans(["a", "b"], [Span(0, 2, "LOC")])
    assert (sentence.tokens, sentence.spans) == (("a", "b"), (Span(0, 2, "LOC"),))
    assert sentence.gold["spans"] is sentence.spans


def test_sentences_do_not_share_their_default_gold_and_do_not_change():
    one, other = Sentence(("a",)), Sentence(("b",))
    assert one.gold is not other.gold
    with pytest.raises(FrozenInstanceError):
        one.tokens = ("c",)
