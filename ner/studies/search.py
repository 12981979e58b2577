"""A search over keys of params.json: what to try next, and which trial to stop early.

Each trial is an ordinary experiment in `<model_dir>/trial-N`.  Its file `trial.json` holds the values tried,
the state of the trial, and what all trials of the search share.  A search keeps no other state, so it
continues from its directories.
"""

import itertools
import json
import re
import statistics
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ner.config import parse_value, to_json
from ner.errors import DataError
from ner.files import numbered, read_json, whole_file
from ner.studies.results import headlines
from ner.training.params import Config
from ner.training.run_dir import check_same

MIN_RIVALS = 4  # a trial is stopped only if so many others have come as far
MAX_SUGGESTIONS = 100  # requests to optuna, which may suggest values that were tried before
STATES = ("begun", "finished", "pruned", "failed")
RANGE = re.compile(r"(.+?)\.\.(.+?)(:log)?")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole numbers if both ends are of type int."""

    low: int | float
    high: int | float
    log: bool = False
    "True: the logarithm is drawn uniformly"

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high


Space = Mapping[str, Range | Sequence[Any]]


@dataclass(frozen=True)
class Trial:
    """One trial.  `state` is one of STATES (failed: training stopped with an error) or "refused".

    A refused trial has no directory of its own.
    """

    directory: Path
    values: dict[str, Any]
    state: str
    f1s: list[float] = field(default_factory=list)
    "the headline metric on val, a fraction for each epoch"


def parse_space(items: Sequence[str]) -> dict[str, Range | list[Any]]:
    """Parses items `KEY=VALUE,VALUE` or `KEY=LOW..HIGH[:log]`; a value is JSON, or text if it is not JSON.

    A range of a key that is a float in `Config` has float ends.
    """
    kinds, space = typing.get_type_hints(Config), {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals:
            raise DataError(f"--set {item}: expected key=value,value or key=low..high")
        if key in space:
            raise DataError(f"--set {item}: {key} twice, expected it once")
        listed = [parse_value(part) for part in text.split(",")]
        space[key] = _parse_range(item, text, kinds.get(key)) or listed
    return space


def _parse_range(item: str, text: str, kind: Any) -> Range | None:
    """The range in `text`, or None if it is a list of values."""
    found = RANGE.fullmatch(text)
    ends = [parse_value(end) for end in found.groups()[:2]] if found else []
    if not ends or not all(isinstance(end, int | float) for end in ends):
        return None
    low, high = map(float, ends) if kind is float else ends
    log = bool(found[3])
    if low >= high or (log and low <= 0):
        positive = ", above 0" if log else ""
        raise DataError(f"--set {item}: expected the lower end first{positive}")
    return Range(low, high, log)


def overrides(values: Mapping[str, Any]) -> list[str]:
    """The values as `key=value` overrides for `load_options`."""
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def grid(space: Space) -> Iterator[dict[str, Any]]:
    """Yields every combination, the last key changing fastest; DataError if the space has a range."""
    for key, values in space.items():
        if isinstance(values, Range):
            raise DataError(
                f"--set {key}={values.low:g}..{values.high:g}: a range, expected --trials with it"
            )
    for combination in itertools.product(*space.values()):
        yield dict(zip(space, combination, strict=True))


def read_trials(directory: Path, shared: dict) -> list[Trial]:
    """Reads all trials in the directory, by number; DataError if one belongs to another search."""
    trials, folders = [], numbered(directory, "trial-").values()
    for folder in {path.parent for path in directory.glob("trial-*/trial.json")}.difference(folders):
        raise DataError(f"{folder}: expected a number behind trial-")
    for path in (folder / "trial.json" for folder in folders if (folder / "trial.json").exists()):
        check_same(path, shared, list(shared), "the search")
        written = read_json(path)
        values, state = written.get("values"), written.get("state")
        if not isinstance(values, dict) or state not in STATES:
            raise DataError(f"{path}: got state {state!r} of values {values!r}, expected one of {STATES}")
        scores = [] if state == "begun" else headlines(path.parent)
        trials.append(Trial(path.parent, values, state, scores))
    return trials


def write_trial(trial: Trial, shared: dict) -> None:
    """Writes `trial.json`."""
    with whole_file(trial.directory / "trial.json") as file:
        file.write(to_json({"values": trial.values, "state": trial.state, **shared}))


def next_values(space: Space, trials: Sequence[Trial], n_trials: int | None) -> dict[str, Any] | None:
    """What to try next, or to continue; None if the grid, or the number of trials, is complete."""
    known = [trial for trial in trials if in_space(trial.values, space)]
    for trial in known:
        if trial.state == "begun":
            return trial.values
    if n_trials is None:
        tried = [trial.values for trial in known]
        return next((values for values in grid(space) if values not in tried), None)
    return suggest(space, known) if len(known) < n_trials else None


def in_space(values: Mapping[str, Any], space: Space) -> bool:
    """True if the values lie in the space; a directory may also hold trials of other spaces."""
    return values.keys() == space.keys() and all(values[key] in space[key] for key in space)


def suggest(space: Space, trials: Sequence[Trial]) -> dict[str, Any] | None:
    """Suggests values by optuna's tree-structured Parzen estimator (Bergstra et al. 2011).

    Each call builds a new study from the trials and takes their number as its seed, so the same trials lead
    to the same suggestion.  None if all values have been tried.  DataError if optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise DataError("--trials: optuna is not installed: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kinds = optuna.distributions

    def distribution(allowed: Range | Sequence[Any]):
        if not isinstance(allowed, Range):
            return kinds.CategoricalDistribution(allowed)
        is_whole = isinstance(allowed.low, int) and isinstance(allowed.high, int)
        kind = kinds.IntDistribution if is_whole else kinds.FloatDistribution
        return kind(allowed.low, allowed.high, log=allowed.log)

    distributions = {key: distribution(allowed) for key, allowed in space.items()}
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=len(trials)))
    for trial in trials:
        ended = trial.state == "finished" and trial.f1s
        past = optuna.trial.create_trial(
            state=optuna.trial.TrialState.COMPLETE if ended else optuna.trial.TrialState.PRUNED,
            value=max(trial.f1s) if ended else None,
            params=trial.values,
            distributions=distributions,
            intermediate_values=dict(enumerate(trial.f1s, start=1)),
        )
        study.add_trial(past)
    tried = [trial.values for trial in trials]
    for _ in range(MAX_SUGGESTIONS):
        values = study.ask(distributions).params
        if values not in tried:
            return values
    # only a space of whole numbers and lists can be used up
    finite = {key: range(a.low, a.high + 1) if isinstance(a, Range) else a for key, a in space.items()}
    return next((values for values in grid(finite) if values not in tried), None)


def falls_behind(f1s: Sequence[float], others: Sequence[Trial]) -> bool:
    """True if the best score so far is below the median of the best scores of the others up to this epoch.

    This is the median rule of Vizier (Golovin et al. 2017), but with the best score of each other trial, not
    its running average.  A finished trial with fewer epochs counts with its best.  At least MIN_RIVALS others
    must have come as far.
    """
    n_epochs = len(f1s)
    rivals = [
        max(other.f1s[:n_epochs])
        for other in others
        if len(other.f1s) >= n_epochs or (other.f1s and other.state == "finished")
    ]
    return len(rivals) >= MIN_RIVALS and max(f1s) < statistics.median(rivals)
