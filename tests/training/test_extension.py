"""How a run grows by more epochs: over what its schedule runs, and what is refused."""

import json

import pytest

from ner.errors import DataError
from ner.training.extension import Extension, plan_extension, record_extension
from ner.training.params import Config


@pytest.fixture
def begun(tmp_path):
    """The directory of a run that began with 4 epochs."""
    (tmp_path / "resolved.json").write_text(json.dumps({"params": {"epoch_num": 4}, "seed": 1}))
    return tmp_path


@pytest.mark.parametrize("asked", [2, 4])
def test_no_more_epochs_are_no_extension(begun, asked):
    config = Config(epoch_num=asked, min_epoch_num=1)
    assert plan_extension(begun, config, extend=False) == Extension(asked, 4)


def test_a_constant_schedule_grows_as_it_is(begun):
    found = plan_extension(begun, Config(epoch_num=6, schedule="constant"), extend=False)
    assert found[:2] == (4, 4)
    assert found.note == "epoch_num grows from 4 to 6: the learning rate stays constant"


def test_another_schedule_is_stretched_if_asked(begun):
    config = Config(epoch_num=6, schedule="linear")
    with pytest.raises(DataError, match="--extend stretches the schedule 'linear' over 6 epochs"):
        plan_extension(begun, config, extend=False)
    assert plan_extension(begun, config, extend=True)[:2] == (4, 6)


def test_a_run_that_was_extended_goes_on_so(begun):
    config = Config(epoch_num=6, schedule="linear")
    record_extension(begun, plan_extension(begun, config, extend=True), config)
    values = json.loads((begun / "resolved.json").read_text())
    assert values == {"params": {"epoch_num": 6}, "seed": 1, "schedule_epochs": 6}
    assert plan_extension(begun, config, extend=False) == Extension(6, 6)
