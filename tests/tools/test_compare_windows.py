"""tools/compare_windows.py counts the entities that are found with only one set of cuts."""

import re

import pytest
import torch

from ner.data.folder import write_split
from ner.data.sentence import Sentence
from ner.data.tokenizer import learn_vocabulary
from ner.model.build import build_encoder, build_head
from ner.model.directory import save
from ner.model.tagger import Model, Tagger
from ner.tags import TagSet
from tests.factories import make_inventories
from tools import compare_windows

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
SENTENCES = [Sentence.with_spans(tuple("小明在北京访问上海" * n), ()) for n in (1, 3, 4)]


@pytest.fixture
def options(tmp_path) -> list:
    """A split and an untrained model in windows of 16 pieces."""
    write_split(tmp_path / "data" / "test", SENTENCES)
    (tmp_path / "model").mkdir()
    torch.manual_seed(0)
    tokenizer = learn_vocabulary(token for sentence in SENTENCES for token in sentence.tokens)
    encoder = build_encoder({"name": "bert", **SIZES}, vocab_size=len(tokenizer))
    inventories = make_inventories(TagSet.from_labels(["LOC", "PER"]))
    head = build_head("softmax", encoder.width, inventories, {"dropout": 0.1})
    save(tmp_path / "model", Model(Tagger(encoder, head), tokenizer, "char", 16))
    return ["--data_dir", tmp_path / "data", "--model_dir", tmp_path / "model", "--device", "cpu"]


def test_long_sentences_are_tagged_with_both_sets_of_cuts(options, run_main):
    ended = run_main(compare_windows, *options)
    assert ended.code == 0, ended.err
    n_long, *counts = map(int, re.findall(r"(\d+)(?= sentences| and| entities| of|  ?\()", ended.out))
    assert n_long == 2
    n_first, n_second, n_single, n_either = counts
    assert max(n_first, n_second) <= n_either == n_single + (n_first + n_second - n_either)


def test_a_split_without_long_sentences_is_refused(options, run_main):
    ended = run_main(compare_windows, *options, "--max_len", 60)
    assert ended.code == 2
    assert "no sentence over 58 pieces, lower --max_len" in ended.err
