"""Vectors of texts and tokens, against the states of transformers."""

import json

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

import predict
from ner.data.tokenizer import learn_vocabulary
from ner.errors import DataError
from ner.inference.vectors import POOLINGS, as_json, open_for_vectors, vectors_of
from ner.model.build import build_encoder
from ner.model.directory import save
from ner.model.tagger import Model, Tagger
from tests.factories import make_head
from tools import vectors

TEXTS = ["中国队昨天抵达巴黎", "外交部", "", "昨天中国外交部发言人在巴黎说，中国队已经抵达。" * 2, "国"]
SIZES = {
    "hidden_size": 12,
    "num_hidden_layers": 5,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """What transformers saves, with a vocabulary of these texts."""
    folder = tmp_path_factory.mktemp("published")
    tokenizer = learn_vocabulary([*"".join(TEXTS)] * 2)
    torch.manual_seed(0)
    bert = BertModel(BertConfig(vocab_size=len(tokenizer), **SIZES)).eval()
    with torch.no_grad():
        bert.embeddings.word_embeddings.weight.normal_()
    bert.save_pretrained(folder)
    tokenizer.save(folder)
    return folder, bert, tokenizer


def states(bert, tokenizer, text):
    """(layers, pieces, H): embeddings first, [CLS] and [SEP] at the ends."""
    ids = torch.tensor([[tokenizer.index[piece] for piece in ("[CLS]", *text, "[SEP]")]])
    with torch.no_grad():
        return torch.cat(bert(input_ids=ids, output_hidden_states=True).hidden_states)


def find(published, pooling, *, texts=TEXTS, layers="last", max_len=64, batch_tokens=128):
    model = open_for_vectors(published[0], layers=layers, unit="char", max_len=max_len)
    options = {"pooling": pooling, "device": torch.device("cpu"), "batch_tokens": batch_tokens}
    return [item.vectors for item in vectors_of(model, texts, **options)]


@pytest.mark.parametrize("layers", ["last", "concat4", "max4", 1, 3])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_vectors_are_those_of_transformers(published, pooling, layers):
    _, bert, tokenizer = published
    for text, ours in zip(TEXTS, find(published, pooling, layers=layers), strict=True):
        if not text:
            assert not ours.any()
            continue
        hidden = states(bert, tokenizer, text)
        picked = {
            "last": hidden[5],
            "concat4": torch.cat(list(hidden[2:]), dim=1),
            "max4": hidden[2:].amax(0),
        }.get(layers)
        picked = hidden[layers] if picked is None else picked
        tokens = picked[1:-1]
        expected = {"mean": tokens.mean(0), "max": tokens.amax(0), "cls": picked[0], "tokens": tokens}[
            pooling
        ]
        np.testing.assert_allclose(ours, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_neighbours_and_batches_have_no_power(published, pooling):
    together = find(published, pooling)
    for batch_tokens in (64, 4096):
        alone = [find(published, pooling, texts=[text], batch_tokens=batch_tokens)[0] for text in TEXTS]
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_text_longer_than_a_window_has_a_vector_for_every_token(published):
    vectors = find(published, "tokens", max_len=16)
    assert [len(v) for v in vectors] == [len(text) for text in TEXTS]
    assert find(published, "mean", max_len=16)[3] == pytest.approx(vectors[3].mean(0), abs=1e-5)


def lines_of(ended):
    assert ended.code == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def test_the_tool_writes_lines_and_arrays(published, tmp_path, run_main):
    options = ["--model_dir", published[0], "--unit", "char", "--layers", "concat4"]
    for text in TEXTS:
        options += ["--text", text]
    lines = lines_of(run_main(vectors, *options, "--pooling", "mean"))
    assert [line["text"] for line in lines] == TEXTS
    ended = run_main(vectors, *options, "--pooling", "mean", "--output", tmp_path / "mean.npy")
    assert ended.code == 0
    assert "5 texts written to" in ended.err
    array = np.load(tmp_path / "mean.npy")
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, [line["vector"] for line in lines], atol=1e-6)

    lines = lines_of(run_main(vectors, *options, "--pooling", "tokens"))
    run_main(vectors, *options, "--pooling", "tokens", "--output", tmp_path / "tokens.npy")
    array, lengths = np.load(tmp_path / "tokens.npy"), np.load(tmp_path / "tokens.lengths.npy")
    assert lengths.tolist() == [len(text) for text in TEXTS]
    for line, rows in zip(lines, np.split(array, lengths.cumsum()[:-1]), strict=True):
        assert "".join(line["text"][t["start"] : t["end"]] for t in line["tokens"]) == line["text"]
        expected = np.array([t["vector"] for t in line["tokens"]]).reshape(-1, 48)
        np.testing.assert_allclose(rows, expected, atol=1e-6)
    run_main(vectors, *options, "--pooling", "max", "--output", tmp_path / "tokens.npy")
    assert len(np.load(tmp_path / "tokens.npy")) == len(TEXTS)
    assert not (tmp_path / "tokens.lengths.npy").exists()  # written with the array before


def test_a_finetuned_model_and_another_encoder(tmp_path):
    tokenizer = learn_vocabulary([*"".join(TEXTS)] * 2)
    options = {"name": "lstm", "hidden_size": 8, "embedding_size": 6, "max_bigrams": 0}
    encoder = build_encoder(options, vocab_size=len(tokenizer))
    save(tmp_path, Model(Tagger(encoder, make_head("crf", width=8)), tokenizer, "char", 20))
    model = open_for_vectors(tmp_path)
    assert (model.unit, model.max_len, model.tagger.width) == ("char", 20, 8)
    (item,) = vectors_of(model, ["中国"], pooling="tokens", device=torch.device("cpu"), batch_tokens=64)
    ids = torch.tensor([[tokenizer.index[p] for p in ("[CLS]", "中", "国", "[SEP]")]])
    with torch.no_grad():
        expected = encoder.eval()(ids, ids >= 0)[0, 1:3]
    np.testing.assert_allclose(item.vectors, expected.numpy(), atol=1e-5)
    assert [(t["start"], t["end"]) for t in as_json(item)["tokens"]] == [(0, 1), (1, 2)]


@pytest.mark.parametrize(
    ("layers", "message"),
    [(6, "layers: got 6, expected 1 to 5"), ("mix", "layers: got 'mix', which is learned"), ("x", "got 'x'")],
)
def test_layers_that_are_not_there(published, layers, message):
    with pytest.raises(DataError, match=message):
        open_for_vectors(published[0], layers=layers)


@pytest.mark.parametrize(
    ("program", "options", "message"),
    [
        (predict, ["--vectors", "mean"], "--vectors has moved, expected: python tools/vectors.py"),
        (predict, ["--fill_mask"], "--fill_mask has moved, expected: python tools/fill_mask.py"),
        (predict, ["--layers", "3"], "--layers has moved, expected: python tools/vectors.py"),
        (predict, ["--output", "tagged.npy"], "expected tools/vectors.py"),
        (vectors, ["texts.txt", "--text", "北京"], "expected one of them"),
    ],
)
def test_options_of_another_program_or_of_none(program, options, message):
    with pytest.raises(DataError, match=message):
        program.parse_args(options)
