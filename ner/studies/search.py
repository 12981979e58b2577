"""A search over keys of params.json: what to try next, and which trial to stop early.

Each trial is an ordinary experiment in `<model_dir>/trial-N`.  Beside its params.json stands `trial.json`:
the values tried, how far it came, and what all trials of the search share.  Nothing else is kept, so that
a search goes on from its directories.
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

from ner.config import to_json
from ner.errors import DataError
from ner.files import read_json, whole_file
from ner.studies.results import read_epochs
from ner.training.params import Config
from ner.training.run_dir import check_same

N_RIVALS = 4  # trials that must have come as far before one is stopped
N_ASKED = 100  # times that optuna may answer with what was tried before
STATES = ("begun", "finished", "pruned", "failed")
SHARED = ("params", "options", "data")
RANGE = re.compile(r"(.+?)\.\.(.+?)(:log)?")


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole where both ends are (`parse_space`)."""

    low: int | float
    high: int | float
    log: bool = False
    "drawn evenly in the logarithm"


Space = Mapping[str, Range | Sequence[Any]]


@dataclass(frozen=True)
class Trial:
    """`state` is one of STATES (failed: training broke off), or refused, of which nothing is kept."""

    directory: Path
    values: dict[str, Any]
    state: str
    f1s: list[float] = field(default_factory=list)
    "on val, an epoch each"


def parse_space(items: Sequence[str]) -> dict[str, Range | list[Any]]:
    """`KEY=VALUE,VALUE` or `KEY=LOW..HIGH[:log]` each; a value is JSON, or else text.

    The ends of a range are whole where they are written so and the key is no fraction in `Config`.
    """
    kinds = typing.get_type_hints(Config)
    space: dict[str, Range | list[Any]] = {}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals:
            raise DataError(f"--set {item}: expected key=value,value or key=low..high")
        if key in space:
            raise DataError(f"--set {item}: {key} twice, expected it once")
        space[key] = _parse_range(item, text, kinds.get(key)) or [_value(part) for part in text.split(",")]
    return space


def _parse_range(item: str, text: str, kind: Any) -> Range | None:
    found = RANGE.fullmatch(text)
    ends = [_value(end) for end in found.groups()[:2]] if found else []
    if not ends or not all(isinstance(end, int | float) for end in ends):
        return None
    low, high = map(float, ends) if kind is float else ends
    log = bool(found[3])
    if low >= high or (log and low <= 0):
        raise DataError(f"--set {item}: expected the lower end first{', above 0' * log}")
    return Range(low, high, log)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def overrides(values: Mapping[str, Any]) -> list[str]:
    """As for `load_config`."""
    return [f"{key}={json.dumps(value)}" for key, value in values.items()]


def grid(space: Space) -> Iterator[dict[str, Any]]:
    """Every combination, the last key changing fastest; DataError where the space has a range."""
    for key, values in space.items():
        if isinstance(values, Range):
            raise DataError(
                f"--set {key}={values.low:g}..{values.high:g}: a range, expected --trials with it"
            )
    for combination in itertools.product(*space.values()):
        yield dict(zip(space, combination, strict=True))


def read_trials(directory: Path, shared: dict) -> list[Trial]:
    """All that stand in the directory, by number; DataError where one was not of the same search."""
    trials = []
    for path in sorted(directory.glob("trial-*/trial.json"), key=lambda path: _number(path.parent)):
        check_same(path, shared, SHARED, "the search")
        written = read_json(path)
        values, state = written.get("values"), written.get("state")
        if not isinstance(values, dict) or state not in STATES:
            raise DataError(f"{path}: got state {state!r} of values {values!r}, expected one of {STATES}")
        trials.append(Trial(path.parent, values, state, [] if state == "begun" else val_f1s(path.parent)))
    return trials


def _number(directory: Path) -> int:
    try:
        return int(directory.name.removeprefix("trial-"))
    except ValueError:
        raise DataError(f"{directory}: expected a number behind trial-") from None


def new_directory(directory: Path) -> Path:
    """Makes `trial-N`, N above that of all which stand there, be they of a search or somebody's own."""
    names = [path.name.removeprefix("trial-") for path in directory.glob("trial-*")]
    made = directory / f"trial-{max((int(name) for name in names if name.isdecimal()), default=0) + 1}"
    made.mkdir()
    return made


def val_f1s(directory: Path) -> list[float]:
    """Of each epoch so far; empty where none is over."""
    if not (directory / "metrics.jsonl").exists():
        return []
    return [epoch["val_f1"] for epoch in read_epochs(directory)]


def write_trial(trial: Trial, shared: dict) -> None:
    with whole_file(trial.directory / "trial.json") as file:
        file.write(to_json({"values": trial.values, "state": trial.state, **shared}))


def next_values(space: Space, trials: Sequence[Trial], n_trials: int | None) -> dict[str, Any] | None:
    """What to try next, or to go on with; None where the grid, or the number of trials, is complete."""
    fitting = [trial for trial in trials if fits(trial.values, space)]
    for trial in fitting:
        if trial.state == "begun":
            return trial.values
    if n_trials is None:
        tried = [trial.values for trial in fitting]
        return next((values for values in grid(space) if values not in tried), None)
    return suggest(space, fitting) if len(fitting) < n_trials else None


def fits(values: Mapping[str, Any], space: Space) -> bool:
    """Whether they are of this space: a directory may hold the trials of others."""

    def holds(allowed: Range | Sequence[Any], value: Any) -> bool:
        if not isinstance(allowed, Range):
            return value in allowed
        return isinstance(value, int | float) and allowed.low <= value <= allowed.high

    return values.keys() == space.keys() and all(holds(space[key], values[key]) for key in space)


def suggest(space: Space, trials: Sequence[Trial]) -> dict[str, Any] | None:
    """Values by optuna's tree-structured Parzen estimator (Bergstra et al. 2011), random ones at first.

    The study is made anew of the trials each time, the seed their number: the same trials lead to the
    same suggestion.  What was tried is not suggested again; None where that is all there is.
    """
    try:
        import optuna
    except ImportError:
        raise DataError("--trials: optuna is not installed: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions = {key: _distribution(allowed) for key, allowed in space.items()}
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=len(trials)))
    for trial in trials:
        ended = trial.state == "finished" and trial.f1s
        told = optuna.trial.create_trial(
            state=optuna.trial.TrialState.COMPLETE if ended else optuna.trial.TrialState.PRUNED,
            value=max(trial.f1s) if ended else None,
            params=trial.values,
            distributions=distributions,
            intermediate_values=dict(enumerate(trial.f1s, start=1)),
        )
        study.add_trial(told)
    tried = [trial.values for trial in trials]
    for _ in range(N_ASKED):
        values = study.ask(distributions).params
        if values not in tried:
            return values
    return next((values for values in grid(_listed(space)) if values not in tried), None)


def _listed(space: Space) -> Space:
    """The whole numbers of each range one by one; those between fractions have no end."""
    return {
        key: range(allowed.low, allowed.high + 1) if isinstance(allowed, Range) else allowed
        for key, allowed in space.items()
    }


def _distribution(allowed: Range | Sequence[Any]):
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not isinstance(allowed, Range):
        return CategoricalDistribution(allowed)
    is_whole = isinstance(allowed.low, int) and isinstance(allowed.high, int)
    return (IntDistribution if is_whole else FloatDistribution)(allowed.low, allowed.high, log=allowed.log)


def falls_behind(f1s: Sequence[float], others: Sequence[Trial]) -> bool:
    """True where the best val F1 so far is below the median of what the others had after as many epochs.

    After the median rule of Vizier (Golovin et al. 2017), which takes running averages of the others where
    this takes their best; a finished trial that stopped sooner counts with its best, and four others at
    least must have come so far.
    """
    n_epochs = len(f1s)
    rivals = [
        max(other.f1s[:n_epochs])
        for other in others
        if len(other.f1s) >= n_epochs or (other.f1s and other.state == "finished")
    ]
    return len(rivals) >= N_RIVALS and max(f1s) < statistics.median(rivals)
