"""The tool that fills masks, from the command line."""

import json

import pytest
from safetensors.torch import load_file, save_file

from ner.data.tokenizer import WordPiece
from ner.pretraining.mlm import fill_mask, save_mlm
from tests.factories import CHINESE, LATIN, SPECIALS, make_pretrained
from tools import fill_mask as tool

TOKENIZER = WordPiece(SPECIALS + CHINESE + LATIN)


def test_the_tool_prints_a_line_a_text(run_main, tmp_path):
    model = make_pretrained(TOKENIZER)
    save_mlm(tmp_path, model)
    texts = ["中[MASK]", "", "[MASK]国[MASK]"]
    options = [item for text in texts for item in ("--text", text)]
    ended = run_main(tool, "--model_dir", tmp_path, *options)
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert [line["text"] for line in lines] == texts
    assert [len(line["masks"]) for line in lines] == [1, 0, 2]
    for text, line in zip(texts, lines, strict=True):
        for found, expected in zip(line["masks"], fill_mask(model, text), strict=True):
            assert [guess["piece"] for guess in found] == [guess["piece"] for guess in expected]
            scores = [guess["score"] for guess in expected]
            assert [guess["score"] for guess in found] == pytest.approx(scores, rel=1e-4)
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    assert run_main(tool, "--model_dir", tmp_path, tmp_path / "in.txt").out == ended.out


def test_the_tool_refuses_what_cannot_guess(run_main, tmp_path):
    save_mlm(tmp_path, make_pretrained(TOKENIZER))
    too_long = run_main(tool, "--model_dir", tmp_path, "--text", "中" * 99)
    assert too_long.code == 2
    assert "got 101 pieces, expected at most 40" in too_long.err
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({k: t for k, t in tensors.items() if k.startswith("bert.")}, tmp_path / "model.safetensors")
    no_head = run_main(tool, "--model_dir", tmp_path, "--text", "中[MASK]")
    assert no_head.code == 2
    assert "only a masked language model has a prediction head" in no_head.err
