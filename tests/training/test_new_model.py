"""A new model from params.json and a built set: what is built, what learns, and what is refused."""

import pytest
import torch

from ner.data.folder import read_split, write_split
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import Span
from ner.training.new_model import Settings, depth_to_learn, new_model
from tests.factories import load_config, make_params

ENCODER = {"name": "bert", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
ENCODER |= {"intermediate_size": 8, "max_position_embeddings": 16}
SENTENCES = [
    Sentence.with_spans(tuple("Anna在北京"), (Span(0, 4, "PER"), Span(5, 7, "LOC"))),
    Sentence.with_spans(tuple("Anna北京在北京"), (Span(0, 4, "PER"),)),
]
NESTED = Sentence.with_spans(tuple("北京在"), (Span(0, 2, "LOC"), Span(1, 2, "PER")))


@pytest.fixture
def build(tmp_path):
    """`build(head="crf")`: a new model for a set of two sentences, its config and its examples."""

    def build(sentences=SENTENCES, **params):
        write_split(tmp_path / "train", sentences)
        (tmp_path / "tags.txt").write_text("O\nB-GPE\nB-LOC\nI-LOC\nB-PER\nI-PER\n")
        params = {"encoder": ENCODER, "max_len": 16, **params}
        path = make_params(tmp_path, {key: value for key, value in params.items() if value is not None})
        settings = Settings(directory=tmp_path / "x", params=path, data_dir=tmp_path)
        config = load_config(path)
        model, examples = new_model(settings, config, read_split(tmp_path, "train"), None)
        return model, config, examples

    return build


def test_the_vocabulary_comes_from_train_and_the_labels_from_the_list(build):
    model, _, examples = build()
    assert {"A", "a", "n", "北"} <= set(model.tokenizer.vocabulary)
    assert model.tag_set.labels == ("GPE", "LOC", "PER")
    assert model.tag_set.scheme == "BIOES"
    assert (model.unit, model.max_len) == ("char", 16)
    assert examples.sentences == SENTENCES
    assert len(model.tagger.encoder.word_embeddings.weight) == len(model.tokenizer)


def trainable(model):
    """Names of the parts of the encoder that learn."""
    names = {name for name, p in model.tagger.encoder.named_parameters() if p.requires_grad}
    parts = ("embeddings", "layer.0", "layer.1")
    return [part for part in parts if any(part in name for name in names)]


@pytest.mark.parametrize(
    ("params", "learns"),
    [
        ({}, ["embeddings", "layer.0", "layer.1"]),
        ({"full_finetuning": False}, []),
        ({"freeze_layers": "embeddings"}, ["layer.0", "layer.1"]),
        ({"freeze_layers": 1}, ["layer.1"]),
        ({"layers": 1}, ["embeddings", "layer.0"]),
    ],
)
def test_only_what_params_allow_learns(build, params, learns):
    model, *_ = build(**params)
    assert trainable(model) == learns
    assert all(parameter.requires_grad for parameter in model.tagger.head.parameters())


def test_layers_join_from_the_top_down_to_the_frozen_ones(build):
    model, config, _ = build(unfreeze_every=2, epoch_num=9)
    assert [depth_to_learn(model.tagger, config, epoch) for epoch in range(8)] == [3, 3, 2, 2, 1, 1, 0, 0]
    model, config, _ = build(unfreeze_every=1, epoch_num=9, freeze_layers=1)
    assert [depth_to_learn(model.tagger, config, epoch) for epoch in range(4)] == [3, 2, 2, 2]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_len": 17}, "max_len: got 17, expected at most 16 as the encoder has positions"),
        (
            {"transition_learning_rate": 0.1},
            "transition_learning_rate: got 0.1, expected 0 with head 'softmax'",
        ),
        ({"freeze_layers": 2}, "freeze_layers: got 2, expected at most 1 of 2 layers"),
        ({"encoder": None}, "no `encoder` key and no --bert_model_dir, expected one"),
        ({"head": "global_pointer", "scheme": "BIOES"}, "BIOES"),
        ({"sentences": [NESTED]}, "entities overlap others, such as"),
    ],
)
def test_what_the_model_does_not_allow_is_refused(build, params, message):
    with pytest.raises(DataError) as error:
        build(**params)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_random_weights_follow_the_seed(build):
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        models.append(build()[0].tagger.encoder.word_embeddings.weight)
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])
