"""Sentences as pieces of words."""

from itertools import chain

import pytest

from ner.data.examples import encode
from ner.data.sentence import Sentence
from tests.data.test_batches import make_sentence, make_tokenizer


def test_encode_gives_each_token_the_pieces_that_the_tokenizer_gives_it():
    tokenizer = make_tokenizer()
    sentences = [make_sentence(n, seed=n) for n in (1, 7, 30, 2)]
    examples = encode(sentences, tokenizer)
    assert len(examples) == 4
    for i, sentence in enumerate(sentences):
        pieces = [tokenizer.pieces(token) for token in sentence.tokens]
        own, starts = examples.of(i)
        assert own.tolist() == list(chain.from_iterable(pieces))
        assert starts.tolist() == [sum(map(len, pieces[:t])) for t in range(len(pieces))]
        assert examples.n_pieces[i] == sum(map(len, pieces))


def test_a_sentence_without_tokens_is_refused():
    with pytest.raises(ValueError, match="sentence 1 has no tokens"):
        encode([make_sentence(2), Sentence.with_spans((), ())], make_tokenizer())
