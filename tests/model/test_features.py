"""What the head sees: the choice of layers written out, the BiLSTM against torch's packed one."""

import json
from itertools import product

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ner.data.tokenizer import learn_vocabulary
from ner.encoders import ENCODERS
from ner.errors import DataError
from ner.heads import HEADS
from ner.model.directory import load, restore_weights, save
from ner.model.features import CONTEXTS, LAYERS, Features, build_features
from ner.model.tagger import Model, Tagger
from tests.factories import VOCAB_SIZE, make_batch, make_encoder, make_head

CHOICES = [choice for choice in product((*LAYERS, 2), CONTEXTS) if choice != ("last", "none")]


def deep_encoder(n_layers=5, width=8, n_heads=2):
    torch.manual_seed(0)
    sizes = {
        "hidden_size": width,
        "num_attention_heads": n_heads,
        "intermediate_size": 8,
        "num_hidden_layers": n_layers,
    }
    return ENCODERS["bert"](ENCODERS["bert"].Config(**sizes), vocab_size=VOCAB_SIZE).eval()


def random_states(n_layers=5):
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(3, 6, 8, generator=generator) for _ in range(n_layers + 1))


def test_the_last_layer_alone_is_no_module():
    assert build_features(deep_encoder(), "last", "none") is None


def test_layers_are_picked():
    states = random_states()
    pick = {name: Features(deep_encoder(), name).pick(states) for name in ("last", "concat4", "max4", 1, 3)}
    assert torch.equal(pick["last"], states[5])
    assert torch.equal(pick[1], states[1])
    assert torch.equal(pick[3], states[3])
    assert torch.equal(pick["concat4"], torch.cat([states[2], states[3], states[4], states[5]], dim=2))
    assert torch.equal(pick["max4"], states[2].maximum(states[3]).maximum(states[4]).maximum(states[5]))


@pytest.mark.usefixtures("float64")
def test_the_mix_is_a_weighted_mean_of_all_layers_and_begins_as_the_plain_one():
    features, states = Features(deep_encoder(), "mix"), random_states()
    torch.testing.assert_close(features.pick(states), sum(states[1:]) / 5)
    with torch.no_grad():
        features.mix.copy_(torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0]).log1p())
        features.scale.fill_(2.0)
    expected = 2 * sum((i + 1) / 15 * states[i + 1] for i in range(5))
    torch.testing.assert_close(features.pick(states), expected)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("layers", ["last", "concat4"])
def test_the_bilstm_is_that_of_torch_over_packed_tokens(layers):
    features = Features(deep_encoder(), layers, "bilstm")
    width = 32 if layers == "concat4" else 8
    twin = nn.LSTM(width, 4, batch_first=True, bidirectional=True)
    with torch.no_grad():
        for name, parameter in features.context.forwards.named_parameters():
            getattr(twin, name).copy_(parameter)
            getattr(twin, f"{name}_reverse").copy_(getattr(features.context.backwards, name))
    lengths = torch.tensor([6, 2, 1])
    mask = torch.arange(6) < lengths[:, None]
    hidden = torch.randn(3, 6, width)
    packed = pack_padded_sequence(hidden, lengths, batch_first=True)
    expected, _ = pad_packed_sequence(twin(packed)[0], batch_first=True)
    torch.testing.assert_close(features.read(hidden, mask)[mask], expected[mask])


def make_tagger(layers, context, *, encoder="bert", head="crf"):
    built = deep_encoder() if encoder == "bert" else make_encoder(encoder)
    features = build_features(built, layers, context)
    return Tagger(built, make_head(head, width=features.width), features).eval()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("layers", "context"), CHOICES)
def test_padding_has_no_power_and_the_gradient_reaches_every_part(layers, context):
    tagger, batch = make_tagger(layers, context), make_batch()
    scores, losses = tagger(batch)
    losses.sum().backward()
    chosen = 2 if layers == 2 else 5
    for name, parameter in tagger.named_parameters():
        above = name.startswith("encoder.encoder.layer.") and int(name.split(".")[3]) >= chosen
        assert (parameter.grad is None) == above, name
    other = batch._replace(
        piece_ids=batch.piece_ids.where(batch.piece_mask, 1), token_piece=batch.token_piece * batch.mask
    )
    torch.testing.assert_close(tagger(other)[0][batch.mask], scores[batch.mask])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize(("layers", "context"), CHOICES)
def test_a_saved_tagger_comes_back(tmp_path, layers, context, head):
    tokenizer = learn_vocabulary([chr(0x4E00 + i) for i in range(VOCAB_SIZE - 6)] * 2)
    tagger = make_tagger(layers, context, head=head)
    tagger.encoder.vocab_size = len(tokenizer)
    assert len(tokenizer) <= VOCAB_SIZE
    rows = tagger.encoder.embeddings.word_embeddings
    rows.weight = nn.Parameter(rows.weight[: len(tokenizer)].detach().clone())
    save(tmp_path, Model(tagger, tokenizer, "char", 32))
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["ner"]["layers"], config["ner"]["context"]) == (layers, context)
    assert config["architectures"][0].startswith("BertFeatures")
    batch = make_batch()
    batch = batch._replace(piece_ids=batch.piece_ids.clamp_max(len(tokenizer) - 1))
    model = load(tmp_path)
    assert torch.equal(model.tagger(batch)[0], tagger(batch)[0])
    assert not any("not used" in line for line in model.report)
    twin = make_tagger(layers, context, head=head)
    twin.encoder.embeddings.word_embeddings.weight = nn.Parameter(torch.zeros_like(rows.weight))
    restore_weights(tmp_path, twin)
    assert torch.equal(twin(batch)[0], tagger(batch)[0])


def test_a_directory_without_its_features_is_refused(tmp_path):
    tokenizer = learn_vocabulary([chr(0x4E00 + i) for i in range(VOCAB_SIZE)] * 2)
    torch.manual_seed(0)
    built = ENCODERS["bert"](deep_encoder().config, vocab_size=len(tokenizer))
    features = build_features(built, "mix", "bilstm")
    model = Model(Tagger(built, make_head("crf", width=features.width), features), tokenizer, "char", 32)
    save(tmp_path, model)
    names = load_file(tmp_path / "model.safetensors").keys()
    assert {"features.mix", "features.scale"} <= names
    config = json.loads((tmp_path / "config.json").read_text())
    config["ner"]["layers"] = "concat9"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        DataError, match=r"config.json: layers: got 'concat9', expected a number or one of last"
    ):
        load(tmp_path)


@pytest.mark.parametrize(
    ("layers", "context", "message"),
    [
        (0, "none", "layers: got 0, expected 1 to 3"),
        (4, "none", "layers: got 4, expected 1 to 3"),
        ("concat4", "none", "layers: got 'concat4', expected an encoder of 4 layers, got 3"),
        ("first", "none", "layers: got 'first', expected a number or one of last, concat4, max4, mix"),
        ("last", "gru", "context: got 'gru', expected one of none, bilstm"),
    ],
)
def test_what_is_refused(layers, context, message):
    with pytest.raises(ValueError, match=message):
        build_features(deep_encoder(3), layers, context)


def test_a_width_that_two_directions_cannot_share():
    with pytest.raises(ValueError, match="context: got 'bilstm', expected an even width, got 5"):
        build_features(deep_encoder(width=5, n_heads=1), "last", "bilstm")
