import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

import pretrain
from ner.encoders.bert import Bert
from ner.model.directory import ModelDirectory
from ner.pretraining.mlm import load_mlm, save_mlm

ENCODER = {
    **{"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    **{"intermediate_size": 32, "max_position_embeddings": 64},
}
TINY = {
    **{"encoder": ENCODER, "vocab_size": 60, "block_len": 32, "batch_tokens": 256},
    **{"learning_rate": 0.005, "max_steps": 8, "eval_steps": 2, "save_steps": 4},
}
OF_THE_CLOCK = ("minutes", "tokens_per_second")


@pytest.fixture
def start(run_main, text_file, tmp_path):
    """`start(*options)`: pretrain.py on the patterned text with a params file of its own."""
    params = tmp_path / "params.json"
    params.write_text(json.dumps(TINY))

    def run(*options, text=text_file, out="out"):
        texts = ("--text", text) if text else ()
        return run_main(pretrain, *texts, "--out_dir", tmp_path / out, "--params", params, *options)

    return run


def metrics(directory):
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in OF_THE_CLOCK} for line in lines]


def same_weights(a, b, file="model.safetensors"):
    a, b = load_file(a / file), load_file(b / file)
    return a.keys() == b.keys() and all(a[name].equal(b[name]) for name in a)


def cut_off(whole, cut):
    """A copy of a run as it stood after step 4, its model directory not yet written."""
    shutil.copytree(whole, cut, symlinks=True)
    for name in ("last", "best"):
        (cut / name).unlink()
    (cut / "last").symlink_to("checkpoints/step-4")
    for name in ("model.safetensors", "tags.safetensors"):
        (cut / name).unlink(missing_ok=True)


def test_from_random_weights_to_a_model_directory(start, tmp_path):
    ended = start()
    assert ended.code == 0, ended.err
    out = tmp_path / "out"
    model = load_mlm(out)
    assert model.unit == "char"
    assert len(model.tokenizer) <= 60
    assert ModelDirectory(out).encoder.width == 16
    resolved = json.loads((out / "resolved.json").read_text())
    assert resolved["params"]["encoder"] == TINY["encoder"]
    assert resolved["n_lines"] == {"train": 180, "held_out": 20}
    assert [line["step"] for line in metrics(out)] == [2, 4, 6, 8]
    log = (out / "train.log").read_text()
    assert "perplexity" in log
    assert "200 lines" in log


@pytest.mark.parametrize("masking", ["token", "word", "span"])
@pytest.mark.parametrize("packing", ["blocks", "lines"])
def test_resumed_is_as_if_never_stopped(start, tmp_path, masking, packing):
    options = ("--set", f"masking={masking}", "--set", f"packing={packing}")
    assert start(*options).code == 0
    whole, cut = tmp_path / "out", tmp_path / "cut"
    cut_off(whole, cut)
    ended = start("--restore_file", "last", *options, out="cut")
    assert ended.code == 0, ended.err
    assert "going on after step 4" in ended.err
    assert same_weights(whole, cut)
    assert metrics(whole) == metrics(cut)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_resumed_with_tags_is_as_if_never_stopped(start, tagged_file, tmp_path, dtype):
    options = ("--tagged_text", tagged_file, "--set", f"save_dtype={dtype}")
    assert start(*options).code == 0
    whole, cut = tmp_path / "out", tmp_path / "cut"
    cut_off(whole, cut)
    ended = start("--restore_file", "last", *options, out="cut")
    assert ended.code == 0, ended.err
    for file in ("model.safetensors", "tags.safetensors"):
        assert same_weights(whole, cut, file)
        assert same_weights(whole / "last", cut / "last", file)
        assert {tensor.dtype for tensor in load_file(cut / file).values()} == {getattr(torch, dtype)}
    assert metrics(whole) == metrics(cut)
    assert "val_tag_loss" in metrics(cut)[-1]


def test_tagged_text_alone(start, tagged_file, tmp_path):
    ended = start("--tagged_text", tagged_file, text=None)
    assert ended.code == 0, ended.err
    out = tmp_path / "out"
    model = load_mlm(out)
    names = ("B-single", "B-double", "I-double", "B-triple", "I-triple")
    assert model.lm.tag_names == names
    assert model.unit == "char"  # mostly Chinese, but for the flags
    # no flag, white space or slash is text
    assert not set("singledoubletriple/ ") & set("".join(model.tokenizer.vocabulary[6:]))
    resolved = json.loads((out / "resolved.json").read_text())
    assert resolved["data"]["tag_names"] == list(names)
    assert resolved["n_lines"] == {"train": 180, "held_out": 20}
    assert all(0 < line["val_tag_loss"] < 5 for line in metrics(out))
    assert "of tags" in (out / "train.log").read_text()
    untagged = start("--bert_model_dir", out, "--set", "max_steps=1", out="untagged")
    assert untagged.code == 0, untagged.err
    assert not (tmp_path / "untagged" / "tags.safetensors").exists()
    assert load_mlm(tmp_path / "untagged").lm.tag_head is None
    assert start("--overwrite", "--set", "max_steps=1").code == 0
    assert not (out / "tags.safetensors").exists()


def test_tags_known_before_are_guessed_on(start, tagged_file, tmp_path):
    assert start("--tagged_text", tagged_file).code == 0
    more = tmp_path / "more.txt"
    more.write_text("中国/new 愿/single\n" * 40, encoding="utf-8")
    options = ("--set", "max_steps=1", "--set", "learning_rate=1e-12")
    ended = start("--tagged_text", more, "--bert_model_dir", tmp_path / "out", *options, out="more")
    assert ended.code == 0, ended.err
    before, after = (load_mlm(tmp_path / name).lm for name in ("out", "more"))
    assert after.tag_names == ("B-new", "I-new", "B-single")
    row = before.tag_names.index("B-single")
    torch.testing.assert_close(after.tag_head.weight[2], before.tag_head.weight[row])
    torch.testing.assert_close(after.tag_head.bias[2], before.tag_head.bias[row])


def test_an_empty_tagged_file_beside_text(start, tmp_path):
    (tmp_path / "empty.txt").write_text("\n")
    ended = start("--tagged_text", tmp_path / "empty.txt", "--set", "max_steps=1")
    assert ended.code == 0, ended.err
    assert "val_tag_loss" not in metrics(tmp_path / "out")[-1]


def test_goes_on_from_a_model_directory(start, make_model, tmp_path):
    published = tmp_path / "published"
    published.mkdir()
    save_mlm(published, make_model())
    ended = start("--bert_model_dir", published, "--set", "masking=span", "--bf16")
    assert ended.code == 0, ended.err
    assert "tensors loaded" in ended.err
    trained = load_mlm(tmp_path / "out")
    assert trained.tokenizer.vocabulary == load_mlm(published).tokenizer.vocabulary
    assert not same_weights(published, tmp_path / "out")


def test_the_same_seed_gives_the_same_model(start, tmp_path):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert start("--seed", seed, "--set", "max_steps=2", out=out).code == 0
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_params_beside_the_results(run_main, text_file, tmp_path):
    (tmp_path / "params.json").write_text(json.dumps(TINY | {"max_steps": 1}))
    ended = run_main(pretrain, "--text", text_file, "--out_dir", tmp_path)
    assert ended.code == 0, ended.err
    assert [line["step"] for line in metrics(tmp_path)] == [1]


def test_a_users_error_is_one_line(start, make_model, text_file, tmp_path, snapshot):
    def refused(*options, says, **where):
        ended = start(*options, **where)
        assert ended.code == 2
        assert ended.err.splitlines()[-1].startswith("error: ")
        assert says in ended.err
        assert len([line for line in ended.err.splitlines() if line.startswith("error")]) == 1

    refused(text=tmp_path / "none.txt", says="none.txt: no such file")
    refused(text=None, says="no text: expected --text, --tagged_text or both")
    refused("--tagged_text", tmp_path / "none.txt", text=None, says="none.txt: no such file")
    refused("--tagged_text", text_file, text=None, says="text.txt:1: got '外外外外', expected word/flag")
    refused("--set", "tag_weight=-1", says="tag_weight: got -1, expected 0 or more")
    refused("--set", "block_len=65", says="block_len: got 65, expected at most 64")
    refused("--set", "encoder.name=lstm", says="encoder.name: got 'lstm', expected 'bert'")
    refused("--set", "encoder.name=albert", says="encoder.name: got 'albert', expected 'bert'")
    refused("--set", "encoder.name=gpt", says="encoder.name: got 'gpt', expected 'bert'")
    refused("--set", "encoder.hidden_size=15", says="hidden_size: got 15")
    refused("--set", "encoder={}", says="no --bert_model_dir and no `encoder` key")
    refused("--set", "maxsteps=3", says="unknown key 'maxsteps'")
    refused("--seed", "-1", says="--seed -1: expected 0 to")
    refused("--restore_file", "last", says="no such checkpoint")
    refused("--bert_model_dir", tmp_path / "nothing", says="nothing")
    refused("--params", tmp_path / "no.json", says="no.json: no such file")
    one = tmp_path / "one.txt"
    one.write_text("中国\n")
    refused(text=one, says="one.txt: got 1 lines, expected at least 2")
    refused(out="text.txt", says="text.txt: is a file, expected a folder")
    published = tmp_path / "published"
    published.mkdir()
    save_mlm(published, make_model())
    before = snapshot(published)
    refused(out="published", says="a model exists already")
    refused("--bert_model_dir", published, "--overwrite", out="published", says="is --bert_model_dir")
    assert snapshot(published) == before


def test_results_are_not_overwritten_by_accident(start, tmp_path):
    assert start("--set", "max_steps=1").code == 0
    assert start("--set", "max_steps=1").code == 2
    changed = start("--restore_file", "last", "--set", "max_steps=2")
    assert changed.code == 2
    assert "params.max_steps is 2, expected 1" in changed.err
    assert start("--set", "max_steps=2", "--overwrite").code == 0
    assert [line["step"] for line in metrics(tmp_path / "out")] == [2]


def test_layers_computed_again_are_the_same_run(start, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(Bert, "recompute", lambda self, begin=Bert.recompute: begun.append(begin(self)))
    assert start(out="kept").code == 0
    assert start("--set", "activation_checkpointing=true", out="again").code == 0
    assert len(begun) == 1
    assert metrics(tmp_path / "again") == metrics(tmp_path / "kept")
    assert same_weights(tmp_path / "again", tmp_path / "kept")
