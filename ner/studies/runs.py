"""Several runs in one directory, each an ordinary experiment: `seed-N` of a series, `trial-N` of a search."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from ner.annotations import ANNOTATIONS
from ner.config import load_options, to_json
from ner.data.wording import align_columns
from ner.errors import DataError, TrainingError
from ner.files import numbered, read_json
from ner.heads import HEADS
from ner.runtime import distributed, logs
from ner.runtime.devices import check_seed
from ner.runtime.logs import log
from ner.runtime.program import is_out_of_memory
from ner.studies.results import headlines
from ner.studies.search import (
    Range,
    Space,
    Trial,
    falls_behind,
    grid,
    in_space,
    next_values,
    overrides,
    read_trials,
    suggest,
    write_trial,
)
from ner.studies.significance import mean_and_deviation
from ner.training.extension import plan_extension
from ner.training.params import Config
from ner.training.run_dir import check_directory, check_unchanged
from ner.training.train import Settings, data_hashes, train

MAX_OTHERS = 1000  # combinations of other values that are tried with one value


def train_series(settings: Settings, seeds: Sequence[int]) -> None:
    """Trains one run for each seed, and logs their mean score.  All runs are checked before the first begins.

    `settings` are those of a run in the directory of the series.
    """
    with distributed.synchronised():
        config = load_options(Config, settings.params, settings.overrides)
        if settings.restore not in (None, "last"):
            raise DataError(f"--restore_file {settings.restore}: expected last, as there are --seeds")
        if len(set(seeds)) < len(seeds):
            raise DataError(f"--seeds: got {' '.join(map(str, seeds))}, expected different ones")
        runs = [_plan_run(settings, seed, config) for seed in seeds]
    for run in runs:
        train(run)
    if distributed.is_first():
        logs.start_log()
        best = [100 * max(headlines(run.directory)) for run in runs]
        mean, deviation = mean_and_deviation(best)
        name = ANNOTATIONS[HEADS[config.head_name].annotations[0]].headline.capitalize()
        spread = "" if deviation is None else f", standard deviation {deviation:.2f} (n - 1)"
        runs_in_words = "1 seed" if deviation is None else f"{len(best)} seeds"
        log.info(f"best val {name} of {runs_in_words}: mean {mean:.2f}{spread}")


def _plan_run(settings: Settings, seed: int, config: Config) -> Settings:
    """The settings of the run with one seed; DataError if it cannot begin or go on."""
    check_seed(seed)
    directory = settings.directory / f"seed-{seed}"
    check_directory(directory, overwrite=settings.overwrite, restore=settings.restore)
    soft_labels_dir = settings.soft_labels_dir or settings.directory  # shared: the teacher is asked once
    run = replace(settings, seed=seed, directory=directory, soft_labels_dir=soft_labels_dir)
    if settings.restore:
        run = _go_on(run)
    if run.restore:
        epoch_num = plan_extension(directory, config, extend=settings.extend).epoch_num
        asked = {"params": asdict(config) | {"epoch_num": epoch_num}, "seed": seed}
        check_unchanged(directory, read_json(directory / "resolved.json") | asked)
    own, params = directory / "params.json", settings.params
    is_checked = not run.restore and not settings.overwrite and own.exists()
    if is_checked and own.read_bytes() != params.read_bytes():
        raise DataError(f"{own}: differs, expected the same as {params}; --overwrite replaces it")
    return run


def _go_on(run: Settings) -> Settings:
    """The run goes on from its last checkpoint; it begins again if it has none."""
    is_saved = bool(numbered(run.directory / "checkpoints", "step-"))
    return replace(run, restore="last" if is_saved else None, overwrite=not is_saved)


class Pruned(Exception):
    """Ends a trial early."""


@dataclass(frozen=True)
class Search:
    """`space` is searched by trials in the directory of `settings`."""

    settings: Settings
    "those of a run in the directory of the search"
    space: Space
    n_trials: int | None
    "in all, chosen by optuna; None: every combination"
    prune_after: int
    "epochs of each trial before it may be stopped; 0: no trial is stopped"
    options: Sequence[str]
    "options of train.py, the same for all trials"

    @cached_property
    def shared(self) -> dict:
        """Facts in which all trials of the search must agree."""
        return {
            "params": asdict(load_options(Config, self.settings.params)),
            "options": list(self.options),
            "data": data_hashes(self.settings.data_dir),
        }


def run_search(search: Search) -> tuple[list[Trial], list[str]]:
    """Runs trial after trial.  Returns the trials, and a message for each one that was refused."""
    directory, refused, complaints = search.settings.directory, [], []
    while True:
        trials = read_trials(directory, search.shared)
        refused_values = [trial.values for trial in refused]
        known = [trial for trial in trials if trial.values not in refused_values]
        values = next_values(search.space, [*known, *refused], search.n_trials)
        if values is None:
            break
        try:
            run_trial(search, values, trials)
        except DataError as error:  # these values exclude each other; others are still tried
            logs.start_log()
            refused.append(Trial(directory, values, "refused"))
            complaints.append(f"{_describe(values)}: {error}")
            log.info(f"refused: {error}")
        logs.start_log()
    n_tried = len(refused) + sum(in_space(trial.values, search.space) for trial in known)
    if search.n_trials and n_tried < search.n_trials:
        log.info(f"all {n_tried} combinations have been tried, fewer than --trials")
    return trials, complaints


def check_search(search: Search) -> None:
    """DataError if the search cannot begin."""
    if search.prune_after < 0:
        raise DataError(f"--prune_after {search.prune_after}: expected 0 or more")
    check_values(search.settings.params, search.space)
    if search.n_trials is None:
        list(grid(search.space))
    elif search.n_trials < 1:
        raise DataError(f"--trials {search.n_trials}: expected 1 or more")
    else:
        suggest(search.space, [])


def check_values(params: Path, space: Space) -> None:
    """DataError for a value, or an end of a range, that is wrong whatever values the other keys have.

    At most MAX_OTHERS combinations of the other keys are tried.
    """
    ends = {key: [a.low, a.high] if isinstance(a, Range) else a for key, a in space.items()}

    def complaint(values: dict) -> DataError | None:
        try:
            load_options(Config, params, overrides(values))
        except DataError as error:
            return error

    for key, values in ends.items():
        for value in values:
            complaints = map(complaint, islice(grid({**ends, key: [value]}), MAX_OTHERS))
            first = next(complaints)
            if first and all(complaints):
                raise complaint({key: value}) or first


def run_trial(search: Search, values: dict, trials: list[Trial]) -> None:
    """Trains the trial of these values, or goes on with it; a refused trial leaves no directory."""
    parent = search.settings.directory
    config = load_options(Config, search.settings.params, overrides(values))
    known = next((trial for trial in trials if trial.values == values), None)
    # a new number is larger than the number of any folder trial-*, whoever made it
    directory = (
        known.directory if known else parent / f"trial-{max(numbered(parent, 'trial-'), default=0) + 1}"
    )
    directory.mkdir(exist_ok=known is not None)
    (directory / "params.json").write_text(to_json(config), encoding="utf-8")
    trial = Trial(directory, values, "begun")
    write_trial(trial, search.shared)
    log.info(f"{directory}: {_describe(values)}")
    others = [other for other in trials if other is not known]

    def after_epoch() -> None:
        f1s = headlines(directory)
        is_due = search.prune_after and search.prune_after <= len(f1s) < config.epoch_num
        if is_due and falls_behind(f1s, others):
            log.info(f"stopped: behind the median of {len(others)} other trials")
            raise Pruned

    state = "finished"
    try:
        train(trial_settings(search, directory), after_epoch)
    except Pruned:
        state = "pruned"
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, TrainingError) and not is_out_of_memory(error):
            raise
        log.error(f"failed: {str(error) or 'out of memory'}")
        state = "failed"
    except DataError:
        if known is None:
            shutil.rmtree(directory)
        raise
    write_trial(replace(trial, state=state), search.shared)


def trial_settings(search: Search, directory: Path) -> Settings:
    own = {"directory": directory, "params": directory / "params.json"}
    run = _go_on(replace(search.settings, soft_labels_dir=search.settings.directory, **own))
    how = ["--restore_file", "last"] if run.restore else ["--overwrite"]
    words = ["train.py", *search.options, "--model_dir", str(directory), *how]
    return replace(run, command=shlex.join(words))


def _describe(values: dict) -> str:
    return " ".join(overrides(values))


def ranking(trials: list[Trial]) -> str:
    """A table of all trials, the best first."""
    rows = [("trial", "val F1", "epochs", "state")]
    for trial in sorted(trials, key=lambda trial: max(trial.f1s, default=-1), reverse=True):
        best = f"{100 * max(trial.f1s):.2f}" if trial.f1s else "-"
        name = f"{trial.directory.name}  {_describe(trial.values)}"
        rows.append((name, best, str(len(trial.f1s)), trial.state))
    return align_columns(rows)
