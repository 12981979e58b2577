"""What the tests of pretraining share: a small vocabulary, a small model, a small text."""

from pathlib import Path

import pytest
import torch

from ner.data.tokenizer import WordPiece
from ner.encoders.bert import Bert, BertConfig
from ner.pretraining.mlm import MaskedLm, Pretrained

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"]
CHINESE = list("外交部发言人在周二的例行记者会上表示中国愿同法就气候议题保持密切沟通")
LATIN = ["play", "##ing", "##ed", "the", "a", "##b", "##c", "b", "c", "e", "##e", ".", ",", "1", "##2", "2"]


@pytest.fixture(scope="session")
def tokenizer() -> WordPiece:
    return WordPiece(SPECIALS + CHINESE + LATIN)


@pytest.fixture
def make_model(tokenizer):
    """`make_model(seed=0, **sizes)`: a small masked language model in evaluation."""

    def make(*, seed=0, **options) -> Pretrained:
        torch.manual_seed(seed)
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
        sizes |= {"intermediate_size": 32, "max_position_embeddings": 40}
        encoder = Bert(BertConfig(**(sizes | options)), vocab_size=len(tokenizer))
        return Pretrained(MaskedLm(encoder).eval(), tokenizer, "char")

    return make


@pytest.fixture
def text_file(tmp_path) -> Path:
    """Two hundred lines, each of one character again and again: easily learned."""
    path = tmp_path / "text.txt"
    lines = (CHINESE[i % 33] * (4 + i % 9) for i in range(200))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def tagged_file(tmp_path) -> Path:
    """The same two hundred lines as words of one to three characters, whose length is their flag."""
    path = tmp_path / "tagged.txt"
    flags = ["", "single", "double", "triple"]
    lines = []
    for i in range(200):
        rest, words = 4 + i % 9, []
        while rest:
            size = min(rest, 1 + (i + len(words)) % 3)
            words.append(f"{CHINESE[i % 33] * size}/{flags[size]}")
            rest -= size
        lines.append(" ".join(words))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path
