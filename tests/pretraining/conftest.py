"""What the tests of pretraining share: a small vocabulary, a small model, a small text."""

from functools import partial
from pathlib import Path

import pytest

from ner.data.tokenizer import WordPiece
from tests.factories import CHINESE, LATIN, SPECIALS, make_pretrained


@pytest.fixture(scope="session")
def tokenizer() -> WordPiece:
    return WordPiece(SPECIALS + CHINESE + LATIN)


@pytest.fixture
def make_model(tokenizer):
    """`make_model(seed=0, **sizes)`: a small masked language model in evaluation."""
    return partial(make_pretrained, tokenizer)


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
