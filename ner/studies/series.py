"""A series: runs that differ in their seed alone, each an ordinary experiment in `<model_dir>/seed-N`."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from ner.errors import DataError
from ner.files import read_json
from ner.runtime import distributed, logs
from ner.runtime.devices import check_seed
from ner.runtime.logs import log
from ner.studies.results import best_headline, read_epochs
from ner.studies.significance import mean_and_deviation
from ner.training.params import Config, load_config
from ner.training.run_dir import check_directory, check_unchanged
from ner.training.train import Settings, train


def train_series(settings: Settings, seeds: Sequence[int]) -> None:
    """Trains one run for each seed, and logs their mean score.  All runs are checked before the first begins.

    `settings` are those of a run in the directory of the series.
    """
    with distributed.synchronised():
        config = load_config(settings.params, settings.overrides)
        if settings.restore not in (None, "last"):
            raise DataError(f"--restore_file {settings.restore}: expected last, as there are --seeds")
        if settings.restore and settings.overwrite:
            raise DataError("--restore_file and --overwrite: expected one of them")
        if len(set(seeds)) < len(seeds):
            raise DataError(f"--seeds: got {' '.join(map(str, seeds))}, expected different ones")
        runs = [_plan_run(settings, seed, config) for seed in seeds]
    for run in runs:
        train(run)
    if distributed.is_first():
        logs.start_log()
        log.info(summary([run.directory for run in runs]))


def _plan_run(settings: Settings, seed: int, config: Config) -> Settings:
    """The settings of the run with one seed; DataError if it cannot begin or go on."""
    check_seed(seed)
    directory = settings.directory / f"seed-{seed}"
    soft_labels_dir = settings.soft_labels_dir or settings.directory  # shared: the teacher is asked once
    run = replace(settings, seed=seed, directory=directory, soft_labels_dir=soft_labels_dir)
    if run.restore and not has_checkpoint(directory):
        run = replace(run, restore=None, overwrite=True)  # nothing was saved: the run begins again
    check_directory(directory, overwrite=run.overwrite, restore=run.restore)
    if run.restore:
        asked = {"params": asdict(config), "seed": seed}
        check_unchanged(directory, read_json(directory / "resolved.json") | asked)
    own, params = directory / "params.json", settings.params
    is_checked = not run.restore and not settings.overwrite and own.exists()
    if is_checked and own.read_bytes() != params.read_bytes():
        raise DataError(f"{own}: differs, expected the same as {params}; --overwrite replaces it")
    return run


def has_checkpoint(directory: Path) -> bool:
    return any((directory / "checkpoints").glob("step-*"))


def summary(directories: Sequence[Path]) -> str:
    """One line: mean and standard deviation of the best val F1, in percent."""
    f1s = [100 * best_headline(read_epochs(directory)) for directory in directories]
    if len(f1s) == 1:
        return f"best val F1 of 1 seed: mean {f1s[0]:.2f}"
    mean, deviation = mean_and_deviation(f1s)
    return f"best val F1 of {len(f1s)} seeds: mean {mean:.2f}, standard deviation {deviation:.2f} (n - 1)"
