"""What ships: an encoder, small, whole, opened by others, and good for what its card says."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForMaskedLM

from ner.config import load_options
from ner.model.directory import ModelDirectory
from ner.pretraining.mlm import MODEL_FILES, fill_mask, load_mlm
from ner.pretraining.params import PretrainConfig

ROOT = Path(__file__).parents[1]
PRETRAINED = ROOT / "pretrained"
ZH_SMALL = PRETRAINED / "zh-small"


@pytest.mark.parametrize("path", sorted(PRETRAINED.glob("*/params.json")), ids=lambda path: path.parent.name)
def test_params_load_and_are_those_of_the_weights(path):
    sizes = {k: v for k, v in load_options(PretrainConfig, path).encoder.items() if k != "name"}
    encoder = ModelDirectory(path.parent).encoder
    assert sizes.items() <= vars(encoder.config).items()


def test_it_is_small_in_half_precision():
    assert sum((ZH_SMALL / name).stat().st_size for name in MODEL_FILES) <= 30e6
    with safe_open(ZH_SMALL / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118


def test_transformers_opens_it_and_scores_alike():
    ours = load_mlm(ZH_SMALL)
    theirs = AutoModelForMaskedLM.from_pretrained(ZH_SMALL, dtype=torch.float64).eval()
    pieces = ["[CLS]", *"中国外交部发言人昨天在北", "[MASK]", "[SEP]"]
    ids = torch.tensor([[ours.tokenizer.index[piece] for piece in pieces]])
    places = torch.arange(ids.shape[1])
    with torch.no_grad():
        scores = ours.lm.double().scores(ids, ids >= 0, places)
        torch.testing.assert_close(scores, theirs(input_ids=ids).logits[0])


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("中国外交部发言人昨天在北[MASK]举行记者会。", "京"),
        ("中华人民共和[MASK]国务院总理", "国"),
        ("会议在上[MASK]市召开", "海"),
        ("美[MASK]总统抵达东京", "国"),
    ],
)
def test_it_knows_what_comes_next(text, answer):
    assert fill_mask(load_mlm(ZH_SMALL), text)[0][0]["piece"] == answer


def test_it_knows_words_and_their_kinds():
    model = load_mlm(ZH_SMALL)
    text = "江泽民主席在北京会见了美国总统"
    ids = torch.tensor([[model.tokenizer.index[piece] for piece in ("[CLS]", *text, "[SEP]")]])
    with torch.no_grad():
        rows = model.lm.tag_head(model.lm.encoder(ids, ids >= 0))[0].argmax(-1).tolist()[1:-1]
    tags = [model.lm.tag_names[row] for row in rows]
    assert tags[:3] == ["B-nr", "I-nr", "I-nr"]
    assert tags[6:8] == tags[11:13] == ["B-ns", "I-ns"]
