"""Carries out a search: trial after trial, each an ordinary run in `<model_dir>/trial-N`."""

import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from ner.config import to_json
from ner.data.wording import align_columns
from ner.errors import DataError, TrainingError
from ner.runtime import logs
from ner.runtime.logs import log
from ner.runtime.program import is_out_of_memory
from ner.studies.search import (
    Range,
    Space,
    Trial,
    epoch_scores,
    falls_behind,
    grid,
    in_space,
    new_directory,
    next_values,
    overrides,
    read_trials,
    suggest,
    write_trial,
)
from ner.studies.series import has_checkpoint
from ner.training.params import load_config
from ner.training.train import Settings, data_hashes, train

MAX_OTHERS = 1000  # combinations of other values that are tried with one value


class Pruned(Exception):
    """Ends a trial early."""


@dataclass(frozen=True)
class Search:
    """`space` is searched by trials in `directory`, each a run with `settings` of its own."""

    directory: Path
    space: Space
    n_trials: int | None
    "in all, chosen by optuna; None: every combination"
    prune_after: int
    "epochs of each trial before it may be stopped; 0: no trial is stopped"
    settings: Settings
    options: Sequence[str]
    "options of train.py, the same for all trials"

    @property
    def params(self) -> Path:
        return self.directory / "params.json"

    @cached_property
    def shared(self) -> dict:
        """Facts in which all trials of the search must agree."""
        return {
            "params": asdict(load_config(self.params)),
            "options": list(self.options),
            "data": data_hashes(self.settings.data_dir),
        }


def run_search(search: Search) -> tuple[list[Trial], list[str]]:
    """Runs trial after trial.  Returns the trials, and a message for each one that was refused."""
    refused, complaints = [], []
    while True:
        trials = read_trials(search.directory, search.shared)
        refused_values = [trial.values for trial in refused]
        known = [trial for trial in trials if trial.values not in refused_values]
        values = next_values(search.space, [*known, *refused], search.n_trials)
        if values is None:
            break
        try:
            run_trial(search, values, trials)
        except DataError as error:  # these values exclude each other; others are still tried
            logs.start_log()
            refused.append(Trial(search.directory, values, "refused"))
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
    check_values(search.params, search.space)
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
            load_config(params, overrides(values))
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
    config = load_config(search.params, overrides(values))
    known = next((trial for trial in trials if trial.values == values), None)
    directory = known.directory if known else new_directory(search.directory)
    (directory / "params.json").write_text(to_json(config), encoding="utf-8")
    trial = Trial(directory, values, "begun")
    write_trial(trial, search.shared)
    log.info(f"{directory}: {_describe(values)}")
    others = [other for other in trials if other is not known]

    def after_epoch() -> None:
        f1s = epoch_scores(directory)
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
    """The settings of a trial in this directory, where it goes on from its last checkpoint if it has one."""
    goes_on = has_checkpoint(directory)
    how = ["--restore_file", "last"] if goes_on else ["--overwrite"]
    return replace(
        search.settings,
        directory=directory,
        params=directory / "params.json",
        command=shlex.join(["train.py", *search.options, "--model_dir", str(directory), *how]),
        restore="last" if goes_on else None,
        overwrite=not goes_on,
        soft_labels_dir=search.directory,
    )


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
