import dataclasses
import math

import pytest
import torch

from ner.config import from_mapping
from ner.encoders import ENCODERS
from ner.encoders.bert import Bert, BertConfig
from ner.encoders.published import find_encoder, load_tensors, published_names
from ner.errors import DataError
from ner.layers import attention as seam

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 48,
}
VOCAB_SIZE = 50


def make_bert(*, seed=0, **options):
    torch.manual_seed(seed)
    return Bert(BertConfig(**{**SMALL, **options}), vocab_size=VOCAB_SIZE).eval()


def make_pieces(*, n_rows=4, n_pieces=11, seed=0, vocab_size=VOCAB_SIZE):
    """Rows of random lengths; padding holds random pieces, so that a leak shows."""
    generator = torch.Generator().manual_seed(seed)
    piece_ids = torch.randint(vocab_size, (n_rows, n_pieces), generator=generator)
    segment_ids = torch.randint(2, (n_rows, n_pieces), generator=generator)
    n_real = torch.randint(1, n_pieces + 1, (n_rows,), generator=generator)
    n_real[0] = n_pieces
    return piece_ids, torch.arange(n_pieces) < n_real[:, None], segment_ids


def make_oracle(seed=0, **options):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(seed)
    config = transformers.BertConfig(vocab_size=VOCAB_SIZE, **{**SMALL, **options})
    oracle = transformers.BertModel(config, add_pooling_layer=False).eval()
    with torch.no_grad():
        # Fresh biases are 0 and fresh norms 1: a swapped pair would go unnoticed.
        for name, parameter in oracle.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return oracle


def make_twin(oracle):
    kind, config = find_encoder(oracle.config.to_dict(), "oracle")
    bert = kind(config, vocab_size=VOCAB_SIZE).eval()
    report = load_tensors(bert.published_tensors(), published_names(oracle.state_dict()))
    assert report.unused == []
    return bert


def assert_same_states(oracle, bert, piece_ids, mask, segment_ids):
    theirs = oracle(
        piece_ids, attention_mask=mask.long(), token_type_ids=segment_ids, output_hidden_states=True
    ).hidden_states
    ours = bert(piece_ids, mask, segment_ids, layers=True)
    assert len(ours) == len(theirs) == 1 + bert.config.num_hidden_layers
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine[mask], other[mask])
    return ours[-1], theirs[-1]


@pytest.fixture(params=["plain", "fused"])
def either_attention(request, monkeypatch):
    monkeypatch.setattr(seam, "prefers_fused", lambda query: request.param == "fused")


@pytest.mark.usefixtures("float64", "either_attention")
@pytest.mark.parametrize("hidden_act", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("with_segments", [True, False])
def test_equals_transformers_in_states_and_gradients(hidden_act, with_segments):
    oracle = make_oracle(hidden_act=hidden_act)
    bert = make_twin(oracle)
    piece_ids, mask, segment_ids = make_pieces()
    ours, theirs = assert_same_states(oracle, bert, piece_ids, mask, segment_ids if with_segments else None)
    direction = torch.randn(ours.shape) * mask[..., None] / mask.sum()
    (ours * direction).sum().backward()
    (theirs * direction).sum().backward()
    expected = {name: parameter.grad for name, parameter in oracle.named_parameters()}
    for name, parameter in bert.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name])


@pytest.mark.usefixtures("float64", "either_attention")
def test_equals_transformers_at_many_lengths():
    oracle = make_oracle(layer_norm_eps=1e-5)
    bert = make_twin(oracle)
    with torch.no_grad():
        for n_pieces in (1, 2, 17, 48):
            assert_same_states(oracle, bert, *make_pieces(n_pieces=n_pieces, seed=n_pieces))


@pytest.mark.slow
@pytest.mark.usefixtures("float64", "either_attention")
def test_equals_transformers_at_full_size():
    oracle = make_oracle(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=512,
    )
    with torch.no_grad():
        assert_same_states(oracle, make_twin(oracle), *make_pieces(n_rows=2, n_pieces=300))


def test_names_are_the_published_ones():
    oracle = make_oracle()
    counting = {"embeddings.position_ids", "embeddings.token_type_ids"}
    assert set(make_bert().state_dict()) == set(oracle.state_dict()) - counting


@pytest.mark.usefixtures("float64", "either_attention")
def test_padding_has_no_power():
    bert = make_bert()
    piece_ids, mask, segment_ids = make_pieces()
    rewritten = torch.where(mask, piece_ids, (piece_ids + 7) % VOCAB_SIZE)
    resegmented = torch.where(mask, segment_ids, 1 - segment_ids)
    before = bert(piece_ids, mask, segment_ids)
    after = bert(rewritten, mask, resegmented)
    assert torch.equal(before[mask], after[mask])


@pytest.mark.usefixtures("float64", "either_attention")
def test_a_row_alone_equals_a_row_among_others():
    bert = make_bert()
    piece_ids, mask, segment_ids = make_pieces()
    together = bert(piece_ids, mask, segment_ids)
    for row, n_real in enumerate(mask.sum(dim=1)):
        alone = bert(*(tensor[row : row + 1, :n_real] for tensor in (piece_ids, mask, segment_ids)))
        torch.testing.assert_close(alone[0], together[row, :n_real])


@pytest.mark.usefixtures("either_attention")
@pytest.mark.parametrize("precision", [None, torch.bfloat16, torch.float16])
def test_fully_padded_rows_are_finite_with_finite_gradients(precision):
    bert = make_bert().train()
    piece_ids, mask, segment_ids = make_pieces()
    mask[1:3] = False
    with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        hidden = bert(piece_ids, mask, segment_ids)
    assert hidden.isfinite().all()
    hidden.float().square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in bert.parameters())


@pytest.mark.usefixtures("either_attention")
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_autocast_is_close(precision):
    bert = make_bert()
    piece_ids, mask, segment_ids = make_pieces()
    exact = bert(piece_ids, mask, segment_ids)
    with torch.autocast("cpu", dtype=precision):
        rounded = bert(piece_ids, mask, segment_ids)
    torch.testing.assert_close(rounded[mask].float(), exact[mask], atol=0.05, rtol=0)


@pytest.mark.usefixtures("either_attention")
def test_low_precision_weights_work_without_autocast():
    bert = make_bert()
    piece_ids, mask, segment_ids = make_pieces()
    exact = bert(piece_ids, mask, segment_ids)
    rounded = bert.to(torch.bfloat16)(piece_ids, mask, segment_ids)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded[mask].float(), exact[mask], atol=0.1, rtol=0)


def test_dropout_in_training_only():
    bert = make_bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    pieces = make_pieces()
    assert torch.equal(bert(*pieces), bert(*pieces))
    bert.train()
    assert not torch.equal(bert(*pieces), bert(*pieces))


def test_random_weights_are_berts():
    state = make_bert(hidden_size=64, initializer_range=0.05).state_dict()
    for name, tensor in state.items():
        if name.endswith("bias"):
            assert (tensor == 0).all()
        elif "LayerNorm" in name:
            assert (tensor == 1).all()
        else:
            assert tensor.std().item() == pytest.approx(0.05, rel=0.2)
    assert (state["embeddings.word_embeddings.weight"][0] == 0).all()
    assert (state["embeddings.position_embeddings.weight"][0] != 0).any()


def test_what_an_encoder_tells_of_itself():
    bert = make_bert()
    assert ENCODERS["bert"] is Bert
    assert Bert.Config is BertConfig
    assert Bert.file_prefix == "bert"
    assert bert.width == bert.config.hidden_size == 32
    depths = {name: bert.depth_of(name) for name, _ in bert.named_parameters()}
    assert set(depths.values()) == {0, 1, 2}
    assert depths["embeddings.LayerNorm.bias"] == 0
    assert depths["encoder.layer.1.output.dense.weight"] == 2
    with pytest.raises(ValueError, match=r"classifier\.weight"):
        bert.depth_of("classifier.weight")


def test_refuses_pieces_beyond_its_positions_and_odd_masks():
    bert = make_bert()
    with pytest.raises(ValueError, match="got 49 pieces a row, expected at most 48"):
        bert(*make_pieces(n_pieces=49))
    piece_ids, mask, _ = make_pieces()
    with pytest.raises(ValueError, match=r"expected .* torch\.bool"):
        bert(piece_ids, mask.long())
    with pytest.raises(ValueError, match=r"got \(4, 10\) torch.bool, expected \(4, 11\)"):
        bert(piece_ids, mask[:, :-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 30}, r"hidden_size: got 30, expected a multiple of .* \(4\)"),
        ({"hidden_act": "swish"}, "hidden_act: got 'swish', expected one of gelu, gelu_new, relu"),
        ({"hidden_act": ["gelu"]}, "hidden_act: got"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: got 0, expected"),
        ({"intermediate_size": "64"}, "intermediate_size: got '64', expected"),
        ({"type_vocab_size": True}, "type_vocab_size: got True, expected"),
        ({"hidden_dropout_prob": 1.0}, "hidden_dropout_prob: got 1.0, expected"),
        ({"attention_probs_dropout_prob": None}, "attention_probs_dropout_prob: got None"),
        ({"hidden_dropout_prob": math.nan}, "hidden_dropout_prob: got nan"),
        ({"layer_norm_eps": 0}, "layer_norm_eps: got 0, expected"),
    ],
)
def test_config_refuses(options, message):
    with pytest.raises(DataError, match=rf"\Ahere: {message}"):
        from_mapping(BertConfig, SMALL | options, "here")


def test_config_is_berts_base_and_frozen():
    config = BertConfig()
    assert (config.hidden_size, config.num_hidden_layers, config.layer_norm_eps) == (768, 12, 1e-12)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.hidden_size = 1


@pytest.mark.usefixtures("float64")
def test_exported_graph_serves_every_length():
    bert = make_bert(max_position_embeddings=400)
    piece_ids, mask, _ = make_pieces()
    free = {0: torch.export.Dim("rows", max=64), 1: torch.export.Dim("pieces", max=400)}
    graph = torch.export.export(bert, (piece_ids, mask), dynamic_shapes=(free, free)).module()
    for n_pieces in (5, 300):
        piece_ids, mask, _ = make_pieces(n_rows=2, n_pieces=n_pieces)
        torch.testing.assert_close(graph(piece_ids, mask)[mask], bert(piece_ids, mask)[mask])
