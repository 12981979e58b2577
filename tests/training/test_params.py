"""params.json: what loads, what is refused and in which words."""

import json
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from ner.config import from_mapping
from ner.encoders import ENCODERS
from ner.errors import DataError
from ner.heads import HEADS
from ner.training.optim import SCHEDULES
from ner.training.params import Config
from tests.factories import load_config, make_params

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(ROOT.glob("experiments/*/params.json"))
ANCESTOR = """
{
    "full_finetuning": true,
    "max_len": 180,

    "learning_rate": 3e-5,
    "weight_decay": 0.01,
    "clip_grad": 2,

    "batch_size": 30,
    "epoch_num": 20,
    "min_epoch_num": 5,
    "patience": 0.02,
    "patience_num": 10
}
"""


def test_the_file_of_the_ancestor_loads_unchanged(tmp_path):
    config = load_config(make_params(tmp_path, ANCESTOR))
    values = json.loads(ANCESTOR)
    assert {name: getattr(config, name) for name in values} == values
    assert config.head == "softmax"


def test_min_epoch_num_may_exceed_epoch_num(tmp_path):
    assert load_config(make_params(tmp_path, {"epoch_num": 1, "min_epoch_num": 5})).min_epoch_num == 5


def test_experiments_are_shipped():
    assert {"base_model", "crf", "sample"} <= {path.parent.name for path in SHIPPED}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_every_shipped_experiment_loads(path):
    config = load_config(path)
    assert config.head in HEADS
    assert config.schedule in SCHEDULES
    if config.encoder:
        options = dict(config.encoder)
        kind = ENCODERS[options.pop("name")]
        built = from_mapping(kind.Config, options, str(path))
        assert config.max_len <= getattr(built, "max_position_embeddings", config.max_len)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rat": 1e-5}, "unknown key 'learning_rat', the nearest known one is 'learning_rate'"),
        ({"batchsize": 3}, "unknown key 'batchsize', the nearest known one is 'batch_size'"),
        ({"zzz": 3}, "unknown key 'zzz', expected one of full_finetuning, max_len, "),
        ({"max_len": 12.5}, "max_len: got 12.5, expected a whole number"),
        ({"max_len": "180"}, "max_len: got '180', expected a whole number"),
        ({"max_len": True}, "max_len: got True, expected a whole number"),
        ({"learning_rate": "3e-5"}, "learning_rate: got '3e-5', expected a number"),
        ({"learning_rate": False}, "learning_rate: got False, expected a number"),
        ({"full_finetuning": 1}, "full_finetuning: got 1, expected true or false"),
        ({"head": 3}, "head: got 3, expected text"),
        ({"encoder": "bert"}, "encoder: got 'bert', expected an object"),
        ({"epoch_num": None}, "epoch_num: got None, expected a whole number"),
        ({"learning_rate": 0}, "learning_rate: got 0, expected a number above 0"),
        ({"batch_size": -1}, "batch_size: got -1, expected a number above 0"),
        ({"clip_grad": -1.0}, "clip_grad: got -1.0, expected 0 or more"),
        ({"max_len": 7}, "max_len: got 7, expected 8 or more"),
        ({"warmup": 1.5}, "warmup: got 1.5, expected a share of the steps, 0 to 1"),
        ({"head_dropout": 1}, "head_dropout: got 1, expected 0 <= p < 1"),
        ({"label_smoothing": 1}, "label_smoothing: got 1, expected 0 <= share < 1"),
        (
            {"label_smoothing": 0.1, "loss": "dice"},
            "label_smoothing: got 0.1, expected 0 with a loss other than ce",
        ),
        ({"rdrop": 1, "multi_dropout": 5}, "multi_dropout: got 5, expected 0 with rdrop: one of them"),
        ({"multi_dropout": 5, "head_dropout": 0}, "multi_dropout: got 5, expected 0 without head_dropout"),
        ({"layer_decay": 2.6}, "layer_decay: got 2.6, expected 0 <= share <= 1"),
        ({"freeze_layers": -1}, "freeze_layers: got -1, expected a number of layers, or 'embeddings'"),
        ({"freeze_layers": "head"}, "freeze_layers: got 'head', expected a number of layers, or"),
        ({"unfreeze_every": 0.5}, "unfreeze_every: got 0.5, expected a whole number"),
        (
            {"full_finetuning": False, "unfreeze_every": 1},
            "unfreeze_every: got 1, expected 0 if full_finetuning is false",
        ),
        (
            {"full_finetuning": False, "activation_checkpointing": True},
            "activation_checkpointing: got True, expected false with full_finetuning false",
        ),
        ({"learning_rate": 10**400}, "learning_rate: got 1000"),
        ({"max_len": 10**20}, f"max_len: got {10**20}, expected a number below {2**31}"),
        ({"scheme": "BILOU"}, "scheme: got 'BILOU', expected BIO or BIOES"),
    ],
)
def test_a_file_is_refused_in_one_line(tmp_path, values, message):
    path = make_params(tmp_path, values)
    with pytest.raises(DataError) as caught:
        load_config(path)
    assert re.sub(r"json:\d+:", "json:", str(caught.value), count=1).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("params", "overrides"),
    [
        ({"label_smoothing": 0.1}, ["loss=focal", "label_smoothing=0"]),
        ({"rdrop": 1.0}, ["multi_dropout=5", "rdrop=0"]),
        ({"full_finetuning": False}, ["layer_decay=0.9", "full_finetuning=true"]),
    ],
)
def test_overrides_that_go_together_may_come_in_any_order(tmp_path, params, overrides):
    path = make_params(tmp_path, params)
    assert load_config(path, overrides) == load_config(path, overrides[::-1])
    with pytest.raises(DataError, match=f"^--set {overrides[0]}: "):
        load_config(path, overrides[:1])


def test_a_config_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Config().max_len = 3
