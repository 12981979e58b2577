import json

import pytest
import torch

from ner.encoders.bert import Bert, BertConfig
from ner.encoders.published import find_encoder, load_tensors, published_names, read_config
from ner.tensors import read_weights, save_weights
from tests.factories import error_line

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}
VOCAB_SIZE = 40


def make_bert(seed=0, vocab_size=VOCAB_SIZE, **options):
    torch.manual_seed(seed)
    return Bert(BertConfig(**{**SMALL, **options}), vocab_size=vocab_size).eval()


def make_pieces():
    torch.manual_seed(1)
    mask = torch.arange(9) < torch.tensor([9, 4, 6])[:, None]
    return torch.randint(VOCAB_SIZE, (3, 9)), mask, torch.randint(2, (3, 9))


def open_dir(directory):
    """A published directory, from its config to an encoder ready to run."""
    values = read_config(directory)
    kind, config = find_encoder(values, directory / "config.json")
    bert = kind(config, vocab_size=values["vocab_size"])
    weights = published_names(read_weights(directory), use_task_id=values.get("use_task_id", False))
    return bert.eval(), load_tensors(bert.published_tensors(), weights, where=directory)


def randomise(oracle):
    with torch.no_grad():
        for parameter in oracle.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return oracle.eval()


def assert_agrees(bert, oracle_encoder):
    """In float64, where the order of summation leaves no trace."""
    bert, oracle_encoder = bert.double(), oracle_encoder.double()
    piece_ids, mask, segment_ids = make_pieces()
    with torch.no_grad():
        theirs = oracle_encoder(piece_ids, attention_mask=mask.long(), token_type_ids=segment_ids)
        ours = bert(piece_ids, mask, segment_ids)
    torch.testing.assert_close(ours[mask], theirs.last_hidden_state[mask])


@pytest.fixture(params=["BertForTokenClassification", "BertForMaskedLM", "BertModel"])
def oracle(request):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=VOCAB_SIZE, num_labels=5, **SMALL)
    return randomise(getattr(transformers, request.param)(config))


@pytest.mark.parametrize("container", ["safetensors", "sharded", "bin", "old bin", "sharded bin"])
def test_published_directory_opens_and_agrees(oracle, container, tmp_path):
    if container == "safetensors":
        oracle.save_pretrained(tmp_path)
    elif container == "sharded":
        oracle.save_pretrained(tmp_path, max_shard_size="8KB")
        assert len(list(tmp_path.glob("*.safetensors"))) > 2
    else:
        oracle.config.save_pretrained(tmp_path)
        state = oracle.state_dict()
        if container == "sharded bin":
            write_bin_shards(state, tmp_path)
        else:
            torch.save(
                state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=container == "bin"
            )
    bert, report = open_dir(tmp_path)
    assert len(report.loaded) == len(bert.state_dict())
    assert all(name.split(".")[0] in ("cls", "classifier", "pooler") for name in report.unused)
    assert_agrees(bert, oracle.base_model)


def write_bin_shards(state, directory):
    weight_map = {name: f"part-{number % 2}.bin" for number, name in enumerate(state)}
    for file in set(weight_map.values()):
        torch.save({n: t for n, t in state.items() if weight_map[n] == file}, directory / file)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("use_task_id", [True, False])
def test_ernie_with_task_vectors(use_task_id, tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.ErnieConfig(
        vocab_size=VOCAB_SIZE, use_task_id=use_task_id, task_type_vocab_size=3, **SMALL
    )
    oracle = randomise(transformers.ErnieForTokenClassification(config))
    oracle.save_pretrained(tmp_path)
    bert, report = open_dir(tmp_path)
    assert set(report.unused) == {"classifier.weight", "classifier.bias"}
    assert_agrees(bert, oracle.base_model)


def test_task_vector_is_added_to_every_segment_in_float32_or_left_alone():
    segment = torch.randn(2, 4).half()
    task = torch.randn(3, 4).half()
    names = {
        "ernie.embeddings.token_type_embeddings.weight": segment,
        "ernie.embeddings.task_type_embeddings.weight": task,
    }
    (folded,) = published_names(names).values()
    assert torch.equal(folded, segment.float() + task[0].float())
    assert len(published_names(names, use_task_id=False)) == 2
    names["ernie.embeddings.task_type_embeddings.weight"] = torch.randn(3, 5)
    assert "task_type_embeddings" in error_line(published_names, names)


def test_old_names_and_missing_prefix():
    bert = make_bert()
    state = bert.state_dict()
    old = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in state.items()
    }
    assert any("gamma" in name for name in old)
    for weights in (old, state):
        renamed = published_names(weights)
        assert list(renamed) == list(state)
        assert all(renamed[name] is state[name] for name in state)


def test_one_name_twice_is_refused():
    weights = {"bert.pooler.dense.bias": torch.zeros(1), "pooler.dense.bias": torch.ones(1)}
    assert "pooler.dense.bias twice" in error_line(published_names, weights)


def test_report_in_plain_words():
    weights = {
        **make_bert().state_dict(),
        "embeddings.position_ids": torch.arange(24)[None],
        "pooler.dense.weight": torch.zeros(16, 16),
        "pooler.dense.bias": torch.zeros(16),
        "classifier.bias": torch.zeros(3),
    }
    report = load_tensors(make_bert(seed=1).published_tensors(), weights)
    assert report.unused == ["pooler.dense.weight", "pooler.dense.bias", "classifier.bias"]
    n_loaded = len(report.loaded)
    unused = "not used: pooler.dense (2), classifier (1)"
    assert report.sentences("a/b") == [f"{n_loaded} tensors loaded from a/b", unused]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_converted(dtype, tmp_path):
    source, target = make_bert(), make_bert(seed=1)
    save_weights(tmp_path / "model.safetensors", source.to(dtype).state_dict())
    load_tensors(target.published_tensors(), read_weights(tmp_path))
    for name, tensor in target.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, source.state_dict()[name].float())


def test_missing_tensors_are_named_and_nothing_changes():
    target = make_bert()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    weights = make_bert(seed=1).state_dict()
    del weights["encoder.layer.1.attention.self.key.bias"]
    line = error_line(load_tensors, target.published_tensors(), weights)
    assert "1 of 37 tensors" in line
    assert line.endswith("encoder.layer.1.attention.self.key.bias")
    assert error_line(load_tensors, target.published_tensors(), {}).endswith(", ...")
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (make_bert(vocab_size=45), "the vocabulary has 40 pieces and the embedding 45 rows"),
        (
            make_bert(hidden_size=8, vocab_size=45),
            "embeddings.word_embeddings.weight: got shape (45, 8), expected (40, 16)",
        ),
        (make_bert(type_vocab_size=4), "token_type_embeddings.weight: got shape (4, 16), expected"),
    ],
)
def test_shape_mismatch_is_named(other, message):
    assert message in error_line(load_tensors, make_bert().published_tensors(), other.state_dict())


def test_whole_numbers_are_no_weights():
    weights = {**make_bert().state_dict(), "embeddings.LayerNorm.bias": torch.zeros(16).long()}
    line = error_line(load_tensors, make_bert().published_tensors(), weights)
    assert "embeddings.LayerNorm.bias: got torch.int64, expected torch.float32" in line


def test_nothing_to_read(tmp_path):
    for directory in (tmp_path, tmp_path / "absent"):
        assert "no weights, expected one of model.safetensors" in error_line(read_weights, directory)
    assert "no config, expected one of config.json" in error_line(read_config, tmp_path)
    assert "no such directory; models are not downloaded" in error_line(read_config, tmp_path / "absent")


def test_config_under_its_older_name_and_a_broken_one(tmp_path):
    (tmp_path / "bert_config.json").write_text('{"hidden_size": 24, "num_attention_heads": 2}')
    assert find_encoder(read_config(tmp_path), tmp_path)[1].hidden_size == 24
    path = tmp_path / "config.json"
    path.write_text('{"hidden_size": ')
    assert error_line(read_config, tmp_path).startswith(f"{path}:1: ")


def test_config_takes_what_it_knows():
    values = {"model_type": "ernie", "hidden_act": "relu", "use_task_id": True, "vocab_size": 9}
    assert find_encoder(values, "here") == (Bert, BertConfig(hidden_act="relu"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "roberta"}, "here: model_type: got 'roberta', expected one of bert, ernie"),
        ({"position_embedding_type": "relative_key"}, "here: position_embedding_type: got"),
        ({"is_decoder": True}, "here: is_decoder: got true, expected false"),
        ({"hidden_size": 10}, "here: hidden_size: got 10, expected a multiple"),
    ],
)
def test_config_refuses_what_it_cannot_be(values, message):
    assert error_line(find_encoder, values, "here").startswith(message)
