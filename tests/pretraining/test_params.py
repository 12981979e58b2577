import json

import pytest

from ner.config import load_options
from ner.errors import DataError
from ner.pretraining.params import PretrainConfig


def test_defaults_without_a_file():
    assert load_options(PretrainConfig, None) == PretrainConfig()


def test_file_then_overrides(tmp_path):
    path = tmp_path / "params.json"
    path.write_text(json.dumps({"block_len": 128, "encoder": {"hidden_size": 64, "num_hidden_layers": 2}}))
    config = load_options(
        PretrainConfig,
        path,
        ["masking=span", "max_minutes=1.5", "encoder.hidden_size=32", "encoder.hidden_act=relu"],
    )
    assert (config.block_len, config.masking, config.max_minutes) == (128, "span", 1.5)
    assert config.encoder == {"hidden_size": 32, "num_hidden_layers": 2, "hidden_act": "relu"}


@pytest.mark.parametrize(
    ("override", "match"),
    [
        ("blocklen=3", "--set blocklen=3: unknown key 'blocklen', the nearest known one is 'block_len'"),
        ("block_len=abc", "block_len: got 'abc', expected a whole number"),
        ("block_len=4", "block_len: got 4, expected 8 pieces or more"),
        ("mask_rate=1", "mask_rate: got 1, expected a share"),
        ("masking=letter", "masking: got 'letter', expected one of"),
        ("packing=boxes", "packing: got 'boxes', expected one of blocks, lines"),
        ("schedule=steps", "schedule: got 'steps', expected one of"),
        ("unit=byte", "unit: got 'byte', expected one of"),
        ("max_steps=0", "max_steps: got 0, expected a number above 0"),
        ("max_minutes=-1", "max_minutes: got -1, expected 0 or more"),
        ("tag_weight=-0.5", "tag_weight: got -0.5, expected 0 or more"),
        ("save_dtype=bfloat16", "save_dtype: got 'bfloat16', expected one of"),
        ("dropout=1", "dropout: got 1, expected 0 <= p < 1, or null"),
        ("dropout=much", "dropout: got 'much', expected a number or null"),
        ("warmup=2", "warmup: got 2, expected a share of the run"),
        ("vocab_size=6", "vocab_size: got 6, expected 16"),
        ("masking", "--set masking: expected key=value"),
    ],
)
def test_names_what_is_wrong(override, match):
    with pytest.raises(DataError, match=match):
        load_options(PretrainConfig, None, [override])


def test_names_the_file(tmp_path):
    path = tmp_path / "params.json"
    path.write_text('{"max_span": 0}')
    with pytest.raises(DataError, match=r"params.json:1: max_span: got 0, expected a number above 0"):
        load_options(PretrainConfig, path)
