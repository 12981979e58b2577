import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ner.data.tokenizer import WordPiece
from ner.errors import DataError
from ner.pretraining.mlm import Pretrained, fill_mask, save_mlm
from tools import fill_mask as tool


@pytest.mark.parametrize("unit", ["char", "word"])
def test_five_likeliest_pieces_of_each_mask(make_model, tokenizer, unit):
    model = Pretrained(make_model().lm, tokenizer, unit)
    masks = fill_mask(model, "中[MASK]外交[MASK]playing")
    assert len(masks) == 2
    middle = {
        "char": list("外交") + ["[MASK]"] + [p for c in "playing" for p in tokenizer.pieces(c)],
        "word": [*"外交", "[MASK]", "play", "##ing"],
    }[unit]
    number = tokenizer.index
    ids = torch.tensor(
        [[number[p] if isinstance(p, str) else p for p in ["[CLS]", "中", "[MASK]", *middle, "[SEP]"]]]
    )
    places = (ids[0] == number["[MASK]"]).nonzero().flatten()
    with torch.no_grad():
        expected = model.lm.scores(ids, ids >= 0, places).softmax(-1)
    for row, probabilities in zip(masks, expected, strict=True):
        assert len(row) == 5
        assert [p for _, p in row] == sorted((p for _, p in row), reverse=True)
        for piece, probability in row:
            assert probability == pytest.approx(probabilities[number[piece]].item(), abs=1e-6)
        lowest = row[-1][1]
        better = {tokenizer.vocabulary[i] for i in (probabilities > lowest + 1e-6).nonzero().flatten()}
        assert better <= {piece for piece, _ in row} | {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}


def test_the_head_decides(make_model, tokenizer):
    model = make_model()
    with torch.no_grad():
        model.lm.predictions.bias[tokenizer.index["国"]] = 20.0
        model.lm.predictions.bias[tokenizer.index["[UNK]"]] = 30.0  # never a guess
    ((piece, probability), *_) = fill_mask(model, "中[MASK]")[0]
    assert piece == "国"
    assert probability < 1e-3


def test_nothing_to_fill(make_model):
    assert fill_mask(make_model(), "中国") == []
    assert fill_mask(make_model(), "") == []
    assert len(fill_mask(make_model(), "[MASK][MASK]")) == 2


def test_the_tool_prints_a_line_a_text(make_model, run_main, tmp_path):
    model = make_model()
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
            assert [guess["piece"] for guess in found] == [piece for piece, _ in expected]
            assert [guess["score"] for guess in found] == pytest.approx([p for _, p in expected], rel=1e-4)
    (tmp_path / "in.txt").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    assert run_main(tool, "--model_dir", tmp_path, tmp_path / "in.txt").out == ended.out


def test_the_tool_refuses_what_cannot_guess(make_model, run_main, tmp_path):
    save_mlm(tmp_path, make_model())
    too_long = run_main(tool, "--model_dir", tmp_path, "--text", "中" * 99)
    assert too_long.code == 2
    assert "got 101 pieces, expected at most 40" in too_long.err
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({k: t for k, t in tensors.items() if k.startswith("bert.")}, tmp_path / "model.safetensors")
    no_head = run_main(tool, "--model_dir", tmp_path, "--text", "中[MASK]")
    assert no_head.code == 2
    assert "only a masked language model has a prediction head" in no_head.err


def test_errors(make_model):
    model = make_model()
    with pytest.raises(DataError, match="got 102 pieces, expected at most 40"):
        fill_mask(model, "中" * 99 + "[MASK]")
    without = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"])
    with pytest.raises(DataError, match=r"vocabulary without \[MASK\]"):
        fill_mask(Pretrained(model.lm, without, "char"), "a")
