"""What is saved opens in transformers, and here as it was."""

import json
import logging
import os

import pytest
import torch

from ner.heads import HEADS
from ner.model.directory import load
from ner.model.saving import restore_weights, save
from tests.model.conftest import (
    ENCODER_OPTIONS,
    EVERY_ENCODER,
    EVERY_HEAD,
    PUBLISHED_ENCODERS,
    TYPES,
    logits_of,
    make_batch,
    make_model,
    scores_of,
    write_published,
)


@pytest.fixture
def warnings_of_transformers():
    """What transformers warns of, as it does it."""
    pytest.importorskip("transformers")
    heard, listener = [], logging.Handler(logging.WARNING)
    listener.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger("transformers").addHandler(listener)
    yield heard
    logging.getLogger("transformers").removeHandler(listener)


@pytest.mark.usefixtures("float64")
@PUBLISHED_ENCODERS
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_a_softmax_model_opens_in_transformers(tmp_path, warnings_of_transformers, encoder, scheme):
    transformers = pytest.importorskip("transformers")
    model = make_model(encoder, scheme=scheme)
    save(tmp_path, model)
    oracle, info = transformers.AutoModelForTokenClassification.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert warnings_of_transformers == []
    assert all(not info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(oracle).__name__ == f"{TYPES[encoder]}ForTokenClassification"
    assert tuple(oracle.config.id2label[i] for i in range(len(model.tag_set))) == model.tag_set.tags
    batch = make_batch(model)
    assert (batch.piece_ids.shape[1], bool(batch.piece_mask.all())) == (1, False)
    torch.testing.assert_close(scores_of(model, batch), logits_of(oracle.eval(), batch))


def test_the_tokenizer_of_a_saved_model_opens_in_transformers(saved):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(saved)
    text = "王小明 在北京 AbC"
    ours = load(saved).tokenizer
    assert theirs(text)["input_ids"][1:-1] == [i for word in text.split() for i in ours.pieces(word)]


@pytest.mark.usefixtures("float64")
@PUBLISHED_ENCODERS
def test_an_encoder_saved_here_is_the_same_in_transformers(tmp_path, encoder):
    transformers = pytest.importorskip("transformers")
    model = make_model(encoder)
    save(tmp_path, model)
    oracle = transformers.AutoModel.from_pretrained(tmp_path).eval()
    batch = make_batch(model)
    ids, mask = batch.piece_ids[:, 0], batch.piece_mask[:, 0]
    with torch.no_grad():
        theirs = oracle(ids, attention_mask=mask.long()).last_hidden_state
        ours = model.tagger.encoder(ids, mask)
    torch.testing.assert_close(ours[mask], theirs[mask])


@EVERY_ENCODER
@pytest.mark.parametrize(
    ("head", "scheme"), [(h, s) for h in HEADS for s in ("BIO", "BIOES") if s in HEADS[h].schemes]
)
def test_round_trip_under_another_seed(tmp_path, encoder, head, scheme):
    model = make_model(encoder, head, scheme=scheme, dropout=0.0)
    save(tmp_path, model)
    torch.manual_seed(77)
    again = load(tmp_path)
    assert again.tagger.state_dict().keys() == model.tagger.state_dict().keys()
    for name, tensor in model.tagger.state_dict().items():
        assert torch.equal(again.tagger.state_dict()[name], tensor), name
    batch = make_batch(model)
    assert torch.equal(scores_of(model, batch), scores_of(again, batch))
    random = 5 * torch.randn_like(model.tagger(batch)[0])
    decoded = [m.tagger.head.decode(random, batch) for m in (model, again)]
    assert decoded[0] == decoded[1]
    assert any(decoded[0])
    assert (again.unit, again.max_len, again.tag_set.tags) == ("char", 40, model.tag_set.tags)
    assert again.tagger.encoder.config == model.tagger.encoder.config
    assert again.tagger.head.dropout.p == 0.0
    assert again.tokenizer.vocabulary == model.tokenizer.vocabulary
    assert not again.tagger.training


@EVERY_ENCODER
@EVERY_HEAD
def test_saving_what_was_loaded_gives_the_same_bytes(tmp_path, snapshot, encoder, head):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    save(first, make_model(encoder, head))
    save(second, load(first))
    assert snapshot(first) == snapshot(second)


@pytest.mark.parametrize(
    ("encoder", "head"), [*((encoder, "crf") for encoder in ENCODER_OPTIONS), ("lstm", "softmax")]
)
def test_what_transformers_lacks_names_an_architecture_of_its_own(tmp_path, encoder, head):
    transformers = pytest.importorskip("transformers")
    save(tmp_path, make_model(encoder, head))
    (name,) = json.loads((tmp_path / "config.json").read_text())["architectures"]
    assert not hasattr(transformers, name)


@pytest.mark.parametrize("encoder", ["electra", "albert", "distilbert"])
def test_a_tagger_is_restored_from_its_own_directory_alone(tmp_path, encoder):
    model, other = make_model(encoder), make_model(encoder, seed=1)
    save(tmp_path, model)
    restore_weights(tmp_path, other.tagger)
    for name, tensor in model.tagger.state_dict().items():
        assert torch.equal(other.tagger.state_dict()[name], tensor), name
    with pytest.raises(RuntimeError, match="Missing key"):
        restore_weights(tmp_path, make_model("bert").tagger)


@pytest.mark.parametrize(
    ("encoder", "key"), [("electra", "classifier_dropout"), ("albert", "classifier_dropout_prob")]
)
def test_the_dropout_before_the_classifier_has_its_published_name(tmp_path, encoder, key):
    write_published(tmp_path, encoder, **{key: 0.25})
    model = load(tmp_path)
    assert model.tagger.head.dropout.p == 0.25
    save(tmp_path, model)
    assert json.loads((tmp_path / "config.json").read_text())[key] == 0.25


def test_others_may_read_the_weights(saved):
    umask = os.umask(0)
    os.umask(umask)
    assert (saved / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask
