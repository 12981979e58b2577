"""Options in JSON and on the command line: what loads, what is refused and in which words."""

import json
from dataclasses import asdict, fields

import pytest

from ner.config import from_mapping, to_json
from ner.encoders import ENCODERS
from ner.errors import DataError
from ner.training.params import Config
from tests.factories import load_config, make_params


def test_the_line_of_a_wrong_key_is_named(tmp_path):
    path = tmp_path / "params.json"
    path.write_text('{\n  "max_len": 180,\n  "patience": -1\n}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"params.json:3: patience: got -1, expected 0 or more"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"max_len": 180,\n}', r"params.json:\d+: not JSON"),
        ("[1]", "got list, expected one JSON object"),
        ('{"learning_rate": NaN}', "learning_rate: got nan, expected a number"),
        ('{"learning_rate": Infinity}', "learning_rate: got inf, expected a number"),
    ],
)
def test_what_is_no_object_of_numbers_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        load_config(make_params(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"params.json: no such file"):
        load_config(tmp_path / "params.json")


def test_overrides_are_json_or_text(tmp_path):
    path = make_params(tmp_path, {"max_len": 180, "encoder": {"name": "bert", "hidden_size": 128}})
    overrides = ["max_len=64", "head=crf", "full_finetuning=false", "learning_rate=1e-3", "warmup=0"]
    config = load_config(
        path, [*overrides, "encoder.hidden_size=32", "encoder.hidden_act=relu", "max_len=65"]
    )
    assert config.max_len == 65  # the last one counts
    assert (config.head, config.full_finetuning, config.learning_rate) == ("crf", False, 1e-3)
    assert config.encoder == {"name": "bert", "hidden_size": 32, "hidden_act": "relu"}
    assert load_config(path).encoder == {"name": "bert", "hidden_size": 128}


def test_a_whole_encoder_may_be_set_and_then_changed(tmp_path):
    path = make_params(tmp_path, {"encoder": {"name": "bert", "num_hidden_layers": 2}})
    config = load_config(path, ['encoder={"name": "lstm"}', "encoder.hidden_size=64"])
    assert config.encoder == {"name": "lstm", "hidden_size": 64}
    config = load_config(
        make_params(tmp_path, {}), ["encoder.name=lstm", "encoder.character_vectors=a=b.txt"]
    )
    assert config.encoder == {"name": "lstm", "character_vectors": "a=b.txt"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("max_len", "--set max_len: expected key=value"),
        ("max_len=abc", "--set max_len=abc: max_len: got 'abc', expected a whole number"),
        ("max_len=1e3", "--set max_len=1e3: max_len: got 1000.0, expected a whole number"),
        ("max_length=3", "--set max_length=3: unknown key 'max_length', the nearest known one is 'max_len'"),
        ("head.name=crf", "--set head.name=crf: unknown key 'head.name'"),
        ("warmup=2", "--set warmup=2: warmup: got 2, expected a share of the steps"),
        ("epoch_num=true", "--set epoch_num=true: epoch_num: got True, expected a whole number"),
        ("=3", "--set =3: unknown key ''"),
    ],
)
def test_an_override_is_refused_in_one_line(tmp_path, override, message):
    with pytest.raises(DataError) as caught:
        load_config(make_params(tmp_path, {}), [override])
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_what_is_written_is_read_again(tmp_path):
    config = Config(head="crf", encoder={"name": "lstm", "hidden_size": 8})
    text = to_json(config)
    assert text.endswith("}\n")
    assert load_config(make_params(tmp_path, text)) == config
    assert json.loads(to_json(asdict(config))) == json.loads(text)
    assert "\\u" not in to_json({"label": "人名"})


@pytest.mark.parametrize("name", ENCODERS)
def test_the_options_of_an_encoder_are_checked_as_well(name):
    kind = ENCODERS[name].Config
    names = [field.name for field in fields(kind)]
    first, width = names[0], "dim" if "dim" in names else "hidden_size"
    with pytest.raises(DataError, match=f"encoder '{name}': unknown key '{first}x', the nearest known one"):
        from_mapping(kind, {f"{first}x": 1}, f"encoder {name!r}")
    with pytest.raises(DataError, match=f"encoder '{name}': {width}: got 'big', expected a whole number"):
        from_mapping(kind, {width: "big"}, f"encoder {name!r}")
    with pytest.raises(DataError, match=f"encoder '{name}': {width}"):
        from_mapping(kind, {width: 0}, f"encoder {name!r}")
    assert from_mapping(kind, {width: 192}, "") == kind(**{width: 192})


def test_a_value_that_may_be_null_may_be():
    kind = ENCODERS["lstm"].Config
    assert from_mapping(kind, {"character_vectors": None}, "").character_vectors is None
    with pytest.raises(DataError, match="character_vectors: got 3, expected text or null"):
        from_mapping(kind, {"character_vectors": 3}, "encoder")
