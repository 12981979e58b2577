"""Parts are built by name."""

import pytest

from ner.errors import DataError
from ner.heads import HEADS
from ner.model.build import build_encoder, build_head
from ner.tags import TagSet
from tests.factories import make_inventories


def test_a_head_with_tags_works_in_bioes_unless_asked_otherwise():
    schemes = {"softmax": "BIOES", "crf": "BIOES", "span": "BIO", "global_pointer": "BIO"}
    assert {name: head.default_scheme for name, head in HEADS.items()} == schemes


def test_unknown_names_list_the_known_ones():
    tag_set = TagSet.from_labels(["LOC"])
    with pytest.raises(DataError, match="head: got 'x', expected one of softmax, crf"):
        build_head("x", 4, make_inventories(tag_set), {"dropout": 0.1})
    with pytest.raises(DataError, match=r"encoder\.name: got 'x', expected one of bert, electra, "):
        build_encoder({"name": "x"}, vocab_size=5)
    with pytest.raises(DataError, match="unknown key 'hidden_sise', the nearest known one is 'hidden_size'"):
        build_encoder({"name": "bert", "hidden_sise": 4}, vocab_size=5)
