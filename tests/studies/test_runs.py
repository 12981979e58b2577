"""Plans of series and searches: what is checked before the first run, and how each run begins or goes on."""

import json

import pytest

from ner.errors import DataError
from ner.studies.runs import Search, check_search, check_values, ranking, train_series, trial_settings
from ner.studies.search import Trial, parse_space
from ner.training.new_model import Settings
from tests.factories import make_params


@pytest.fixture
def settings(tmp_path):
    params = make_params(tmp_path, {"encoder": {"name": "lstm"}})
    return Settings(directory=tmp_path, params=params, data_dir=tmp_path / "data")


def make_search(settings, *space, n_trials=None, prune_after=0, options=("--seed", "5")):
    return Search(settings, parse_space(space), n_trials, prune_after, options)


def test_a_trial_begins_again_until_it_has_a_checkpoint(settings, tmp_path):
    search, folder = make_search(settings, "head=crf"), tmp_path / "trial-3"
    begun = trial_settings(search, folder)
    assert (begun.directory, begun.params) == (folder, folder / "params.json")
    assert (begun.overwrite, begun.restore) == (True, None)
    assert begun.soft_labels_dir == tmp_path
    assert begun.command == f"train.py --seed 5 --model_dir {folder} --overwrite"
    (folder / "checkpoints" / "step-7").mkdir(parents=True)
    resumed = trial_settings(search, folder)
    assert (resumed.overwrite, resumed.restore) == (False, "last")
    assert resumed.command.endswith("--restore_file last")


def test_trials_are_ranked_by_their_best_epoch(tmp_path):
    trials = [
        Trial(tmp_path / "trial-1", {"head": "crf"}, "finished", [0.9, 0.2]),
        Trial(tmp_path / "trial-2", {"head": "softmax"}, "failed"),
        Trial(tmp_path / "trial-3", {"head": "span"}, "pruned", [0.95]),
    ]
    rows = [line.split() for line in ranking(trials).splitlines()]
    assert rows == [
        ["trial", "val", "F1", "epochs", "state"],
        ["trial-3", 'head="span"', "95.00", "1", "pruned"],
        ["trial-1", 'head="crf"', "90.00", "2", "finished"],
        ["trial-2", 'head="softmax"', "-", "0", "failed"],
    ]


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (["learning_rate=-1,1e-3"], r"learning_rate: got -1"),
        (["loss=focal,ce", "label_smoothing=0.1,0"], None),  # focal goes together with 0
        (["loss=focal,ce", "label_smoothing=0.1"], r"label_smoothing: got 0.1"),
        (["ema=0.5..2.0"], r"ema: got 2.0"),
    ],
)
def test_a_value_is_refused_only_if_no_other_values_allow_it(settings, space, message):
    if message is None:
        check_values(settings.params, parse_space(space))
        return
    with pytest.raises(DataError, match=message):
        check_values(settings.params, parse_space(space))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune_after": -1}, "--prune_after -1: expected 0 or more"),
        ({"n_trials": 0}, "--trials 0: expected 1 or more"),
        ({"space": ["learning_rate=1e-4..1e-2"]}, "a range, expected --trials with it"),
    ],
)
def test_a_search_is_checked_before_it_begins(settings, options, message):
    search = make_search(settings, *options.pop("space", ["head=crf,softmax"]), **options)
    with pytest.raises(DataError, match=message):
        check_search(search)


@pytest.mark.parametrize(
    ("seeds", "changes", "message"),
    [
        ([4, 5, 4], {}, "--seeds: got 4 5 4, expected different ones"),
        ([4], {"restore": "best"}, "--restore_file best: expected last"),
        ([4, -1], {}, "--seed -1: expected 0 to"),
    ],
)
def test_a_series_is_checked_before_it_begins(settings, tmp_path, seeds, changes, message):
    for key, value in changes.items():
        object.__setattr__(settings, key, value)
    with pytest.raises(DataError, match=message):
        train_series(settings, seeds)
    assert json.loads(settings.params.read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["params.json"]
