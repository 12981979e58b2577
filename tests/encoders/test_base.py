"""What every encoder promises, over the registry: a new line in `ENCODERS` is tested by existing."""

from dataclasses import fields

import pytest
import torch

from ner.encoders import ENCODERS
from ner.encoders.base import Encoder
from ner.encoders.published import find_encoder
from ner.errors import DataError

SIZES = {
    "bert": {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 12, "num_hidden_layers": 3},
    "distilbert": {"dim": 8, "n_heads": 2, "hidden_dim": 12, "n_layers": 3},
    "lstm": {"hidden_size": 8, "embedding_size": 6, "bigram_size": 4, "max_bigrams": 10},
}
SIZES["electra"] = SIZES["bert"] | {"embedding_size": 4}
SIZES["albert"] = SIZES["electra"] | {"num_hidden_groups": 2, "inner_group_num": 2}
VARIANTS = [
    *SIZES.items(),
    ("electra", SIZES["electra"] | {"embedding_size": 8}),
    ("albert", SIZES["albert"] | {"embedding_size": 8}),
    ("lstm", SIZES["lstm"] | {"max_bigrams": 0, "num_hidden_layers": 3}),
    ("lstm", SIZES["lstm"] | {"num_hidden_layers": 1}),
]
VOCAB_SIZE = 20
EVERY_ENCODER = pytest.mark.parametrize("name", ENCODERS)


def make_encoder(name, sizes=None) -> Encoder:
    torch.manual_seed(0)
    return ENCODERS[name](ENCODERS[name].Config(**(sizes or SIZES[name])), vocab_size=VOCAB_SIZE)


@pytest.mark.parametrize(("name", "sizes"), VARIANTS)
def test_numbers_are_counted_without_building(name, sizes):
    encoder = make_encoder(name, sizes)
    n_numbers = sum(tensor.numel() for tensor in encoder.state_dict().values())
    assert encoder.config.n_numbers(VOCAB_SIZE) == n_numbers


@EVERY_ENCODER
def test_an_encoder_describes_itself(name):
    encoder = make_encoder(name)
    assert isinstance(encoder, Encoder)
    assert encoder.file_prefix == name
    assert encoder.word_embeddings.num_embeddings == encoder.vocab_size == VOCAB_SIZE
    assert set(encoder.config.layer_counts) <= {field.name for field in fields(encoder.config)}
    assert max(encoder.depth_of(key) for key, _ in encoder.named_parameters()) > 0
    assert encoder.depth_of(next(key for key, _ in encoder.named_parameters())) == 0
    assert len(encoder.published_tensors()) == len(encoder.state_dict())
    states = encoder(torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4) > 0, layers=True)
    assert len(states) == encoder.n_layers + 1
    assert states[-1].shape == (1, 4, encoder.width)


@EVERY_ENCODER
def test_dropout_is_reported_as_it_acts(name):
    options = [field.name for field in fields(ENCODERS[name].Config) if "dropout" in field.name]
    pieces, mask = torch.arange(8)[None], torch.ones(1, 8) > 0
    for p in (0.0, 0.5):
        for option in options:
            sizes = SIZES[name] | dict.fromkeys(options, 0.0) | {option: p}
            encoder = make_encoder(name, sizes).train()
            assert encoder.has_dropout == (p > 0)
            assert torch.equal(encoder(pieces, mask), encoder(pieces, mask)) == (p == 0)


@EVERY_ENCODER
def test_the_most_positions_are_accepted_and_no_more(name):
    encoder = make_encoder(name)
    n_most = encoder.max_positions or 600
    pieces = torch.zeros(1, n_most + 1, dtype=torch.int64)
    encoder(pieces[:, :n_most], pieces[:, :n_most] == 0)
    if encoder.max_positions is not None:
        with pytest.raises(ValueError, match=f"got {n_most + 1} pieces a row, expected at most {n_most}"):
            encoder(pieces, pieces == 0)


@EVERY_ENCODER
def test_published_configs_lead_to_the_encoder(name):
    for model_type in ENCODERS[name].published_as or (name,):
        assert find_encoder({"model_type": model_type}, "here") == (ENCODERS[name], ENCODERS[name].Config())


@EVERY_ENCODER
def test_layers_are_recomputed_or_it_is_refused_by_name(name):
    encoder = make_encoder(name)
    if type(encoder).recompute is Encoder.recompute:
        with pytest.raises(DataError, match=rf"here: activation_checkpointing: .* encoder '{name}'"):
            encoder.recompute("here")
    else:
        encoder.recompute("here")
