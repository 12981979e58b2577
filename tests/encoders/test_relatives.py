"""Compares the states, gradients and dropouts of BERT's relatives with transformers."""

import pytest
import torch
from torch import nn

from ner.config import from_mapping
from ner.encoders import ENCODERS
from ner.encoders.bert import BertConfig
from ner.encoders.published import COUNTING_BUFFERS, find_encoder, load_tensors, published_names
from ner.encoders.relatives import AlbertConfig, DistilBertConfig, ElectraConfig
from ner.errors import DataError
from ner.layers import attention as seam
from ner.layers.dropout import dropout

VOCAB_SIZE = 50
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 24,
}
# architecture, what its transformers class begins with, options
VARIANTS = {
    "electra": ("Electra", SIZES | {"embedding_size": 12}),
    "electra, equal widths": ("Electra", SIZES | {"embedding_size": 32}),
    "albert": ("Albert", SIZES | {"embedding_size": 12}),
    "albert, equal widths, gelu": ("Albert", SIZES | {"embedding_size": 32, "hidden_act": "gelu"}),
    "albert, groups": (
        "Albert",
        SIZES | {"embedding_size": 12, "num_hidden_layers": 5, "num_hidden_groups": 3, "inner_group_num": 2},
    ),
    "distilbert": (
        "DistilBert",
        {
            "dim": 32,
            "n_layers": 3,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": 24,
            "activation": "relu",
        },
    ),
}
EVERY_VARIANT = pytest.mark.parametrize("variant", VARIANTS)


def make_oracle(variant, seed=0, **options):
    transformers = pytest.importorskip("transformers")
    prefix, sizes = VARIANTS[variant]
    config = getattr(transformers, f"{prefix}Config")(vocab_size=VOCAB_SIZE, **(sizes | options))
    torch.manual_seed(seed)
    oracle = getattr(transformers, f"{prefix}Model")._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        # Fresh biases are 0 and fresh norms 1: a swapped pair would go unnoticed.
        for parameter in oracle.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return oracle.eval()


def make_twin(oracle):
    kind, config = find_encoder(oracle.config.to_dict(), "oracle")
    twin = kind(config, vocab_size=VOCAB_SIZE)
    report = load_tensors(
        twin.published_tensors(), published_names(oracle.state_dict(), (f"{twin.file_prefix}.",))
    )
    assert all(name.startswith("pooler.") for name in report.unused)
    return twin.eval()


def make_pieces(*, n_rows=4, n_pieces=11, seed=0):
    """Rows of random lengths; padding holds random pieces, so that a leak shows."""
    generator = torch.Generator().manual_seed(seed)
    piece_ids = torch.randint(VOCAB_SIZE, (n_rows, n_pieces), generator=generator)
    segment_ids = torch.randint(2, (n_rows, n_pieces), generator=generator)
    n_real = torch.randint(1, n_pieces + 1, (n_rows,), generator=generator)
    n_real[0] = n_pieces
    return piece_ids, torch.arange(n_pieces) < n_real[:, None], segment_ids


def states_of(oracle, piece_ids, mask, segment_ids=None):
    segments = {} if segment_ids is None else {"token_type_ids": segment_ids}
    options = {"attention_mask": mask.long(), "output_hidden_states": True}
    return oracle(piece_ids, **options, **segments).hidden_states


@pytest.fixture(params=["plain", "fused"])
def either_attention(request, monkeypatch):
    monkeypatch.setattr(seam, "prefers_fused", lambda query: request.param == "fused")


@EVERY_VARIANT
@pytest.mark.usefixtures("float64", "either_attention")
def test_equals_transformers_in_states_and_gradients(variant):
    oracle = make_oracle(variant)
    twin = make_twin(oracle)
    piece_ids, mask, segment_ids = make_pieces()
    segments = () if variant == "distilbert" else (segment_ids,)
    theirs = states_of(oracle, piece_ids, mask, *segments)
    ours = twin(piece_ids, mask, *segments, layers=True)
    assert len(ours) == len(theirs) > 3
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine[mask], other[mask])
    direction = torch.randn(ours[-1].shape) * mask[..., None] / mask.sum()
    (ours[-1] * direction).sum().backward()
    (theirs[-1] * direction).sum().backward()
    expected = {name: parameter.grad for name, parameter in oracle.named_parameters()}
    for name, parameter in twin.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[twin.published_name(name)])


@pytest.mark.usefixtures("float64")
@EVERY_VARIANT
def test_equals_transformers_at_many_lengths_without_segments(variant):
    oracle = make_oracle(variant)
    twin = make_twin(oracle)
    for n_pieces in (1, 2, 17, 24):
        piece_ids, mask, segment_ids = make_pieces(n_pieces=n_pieces, seed=n_pieces)
        with torch.no_grad():
            ours, theirs = twin(piece_ids, mask), oracle(piece_ids, attention_mask=mask.long())
        torch.testing.assert_close(ours[mask], theirs.last_hidden_state[mask])
        if variant == "distilbert":
            assert torch.equal(twin(piece_ids, mask, segment_ids), ours)


@pytest.mark.usefixtures("float64")
@EVERY_VARIANT
def test_dropout_stands_where_transformers_has_it(variant, monkeypatch):
    """The same seed drops the same numbers only where the same tensors meet dropout in the same order."""

    def same_masks(x, p=0.5, training=True, inplace=False):
        return dropout(x, p) if training else x

    monkeypatch.setattr(torch.nn.functional, "dropout", same_masks)
    shares = {"dropout": 0.3, "attention_dropout": 0.2}
    if variant != "distilbert":
        # transformers' ALBERT lacks the one behind the feed-forward half; see albert.py
        hidden = 0.0 if variant.startswith("albert") else 0.3
        shares = {"hidden_dropout_prob": hidden, "attention_probs_dropout_prob": 0.2}
    oracle = make_oracle(variant, **shares).train()
    twin = make_twin(oracle).train()
    piece_ids, mask, _ = make_pieces()
    torch.manual_seed(5)
    theirs = oracle(piece_ids, attention_mask=mask.long()).last_hidden_state
    torch.manual_seed(5)
    ours = twin(piece_ids, mask)
    torch.testing.assert_close(ours[mask], theirs[mask])
    assert not torch.allclose(ours[mask], twin(piece_ids, mask)[mask], atol=1e-2)


def test_albert_has_the_authors_dropout():
    config = AlbertConfig(**VARIANTS["albert"][1], hidden_dropout_prob=0.3)
    albert = ENCODERS["albert"](config, vocab_size=9)
    assert [m.p for m in albert.modules() if isinstance(m, nn.Dropout)] == [0.3, 0.0, 0.3, 0.3]


@EVERY_VARIANT
def test_names_are_the_published_ones(variant):
    oracle = make_oracle(variant)
    published = {name for name in oracle.state_dict() if not name.startswith("pooler.")}
    assert set(make_twin(oracle).published_tensors()) == published - COUNTING_BUFFERS


@EVERY_VARIANT
def test_a_missing_a_misshapen_and_a_superfluous_tensor(variant):
    oracle = make_oracle(variant)
    twin = make_twin(oracle)
    weights = {name: t for name, t in oracle.state_dict().items() if not name.startswith("pooler.")}
    before = {name: tensor.clone() for name, tensor in twin.state_dict().items()}
    for name in twin.published_tensors():
        others = {key: tensor + 1 for key, tensor in weights.items() if key != name}
        with pytest.raises(ValueError, match=r"\Adir: 1 of \d+ tensors are missing: ") as caught:
            load_tensors(twin.published_tensors(), others, where="dir")
        assert str(caught.value).endswith(f": {name}")
        with pytest.raises(ValueError, match=r"\Adir: .+ \(7, 9\)") as caught:
            load_tensors(twin.published_tensors(), others | {name: torch.zeros(7, 9)}, where="dir")
        assert f"{name}: got shape (7, 9), expected {tuple(weights[name].shape)}" in str(caught.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in twin.state_dict().items())
    report = load_tensors(
        twin.published_tensors(), weights | {"encoder.layer.9.output.dense.bias": torch.zeros(3)}
    )
    assert report.unused == ["encoder.layer.9.output.dense.bias"]
    assert set(report.loaded) == set(twin.published_tensors())


@pytest.mark.parametrize("n_groups", range(1, 13))
def test_albert_goes_through_its_groups_as_transformers_does(n_groups):
    for n_layers in range(n_groups, 25):
        sizes = {"num_hidden_layers": n_layers, "num_hidden_groups": n_groups}
        order = AlbertConfig(**sizes).layer_order
        assert order == tuple(int(step / (n_layers / n_groups)) for step in range(n_layers))
        assert set(order) == set(range(n_groups))
        doubled = AlbertConfig(**sizes, inner_group_num=2).layer_order
        assert doubled == tuple(2 * group + inner for group in order for inner in (0, 1))


@EVERY_VARIANT
def test_what_a_relative_tells_of_itself(variant):
    twin = make_twin(make_oracle(variant))
    name = variant.partition(",")[0]
    assert type(twin) is ENCODERS[name]
    assert (twin.file_prefix, twin.width) == (name, 32)
    n_own = len(twin.encoder.layer)
    depths = {name: twin.depth_of(name) for name, _ in twin.named_parameters()}
    assert set(depths.values()) == set(range(n_own + 1))
    assert all((depth == 0) == name.startswith("embeddings") for name, depth in depths.items())
    assert n_own == {"albert": 1, "albert, equal widths, gelu": 1, "albert, groups": 6}.get(variant, 3)


@pytest.mark.parametrize(
    ("kind", "oracle"),
    [
        (BertConfig, "Bert"),
        (ElectraConfig, "Electra"),
        (AlbertConfig, "Albert"),
        (DistilBertConfig, "DistilBert"),
    ],
)
def test_defaults_are_those_of_a_published_config(kind, oracle):
    transformers = pytest.importorskip("transformers")
    theirs = getattr(transformers, f"{oracle}Config")()
    for name, value in vars(kind()).items():
        assert getattr(theirs, name) == value, name


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (ElectraConfig, {"embedding_size": 0}, "embedding_size: got 0, expected 1 or more"),
        (ElectraConfig, {"hidden_size": 30}, r"hidden_size: got 30, expected a multiple of .*\(4\)"),
        (AlbertConfig, {"num_hidden_groups": 13}, r"num_hidden_groups: got 13, expected at most .*\(12\)"),
        (AlbertConfig, {"inner_group_num": True}, "inner_group_num: got True, expected a whole number"),
        (DistilBertConfig, {"dim": 30}, r"dim: got 30, expected a multiple of n_heads \(12\)"),
        (DistilBertConfig, {"activation": "silu"}, "activation: got 'silu', expected one of gelu"),
        (DistilBertConfig, {"dropout": 1.0}, "dropout: got 1.0, expected a number below 1"),
        (DistilBertConfig, {"attention_dropout": None}, "attention_dropout: got None, expected a number"),
        (
            DistilBertConfig,
            {"initializer_range": 0.0},
            "initializer_range: got 0.0, expected a number above 0",
        ),
    ],
)
def test_a_config_refuses(kind, options, message):
    with pytest.raises(DataError, match=rf"\Ahere: {message}"):
        from_mapping(kind, options, "here")
