"""A series: runs that differ only in their seed, each an ordinary experiment in `<model_dir>/seed-N`."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ner.errors import DataError
from ner.files import read_json
from ner.runtime.seeds import check_seed
from ner.studies.results import best_headline, read_epochs
from ner.studies.significance import mean_and_deviation
from ner.training.params import Config
from ner.training.run_dir import check_directory, check_unchanged


def plan(
    params: Path, seeds: Sequence[int], config: Config, *, restore: str | None, overwrite: bool
) -> list[dict]:
    """Returns train.py's arguments for each run: model_dir, seed, restore_file, overwrite.

    `params` is the params.json of the series.  DataError if any run cannot start or continue.
    """
    if restore not in (None, "last"):
        raise DataError(f"--restore_file {restore}: expected last, as there are --seeds")
    if restore and overwrite:
        raise DataError("--restore_file and --overwrite: expected one of them")
    if len(set(seeds)) < len(seeds):
        raise DataError(f"--seeds: got {' '.join(map(str, seeds))}, expected different ones")
    runs = []
    for seed in seeds:
        check_seed(seed)
        directory = params.parent / f"seed-{seed}"
        run = {"model_dir": directory, "seed": seed, "restore_file": restore, "overwrite": overwrite}
        if restore and not is_begun(directory):
            run |= {
                "restore_file": None,
                "overwrite": True,
            }  # no checkpoint to continue from, and nothing to lose
        check_directory(directory, overwrite=run["overwrite"], restore=run["restore_file"])
        if run["restore_file"]:
            asked = {"params": asdict(config), "seed": seed}
            check_unchanged(directory, read_json(directory / "resolved.json") | asked)
        elif not overwrite:
            check_params(params, directory)
        runs.append(run)
    return runs


def is_begun(directory: Path) -> bool:
    """True if the run has a checkpoint."""
    return any((directory / "checkpoints").glob("step-*"))


def check_params(params: Path, directory: Path) -> None:
    """DataError if the run's params.json exists and differs from the one of the series."""
    own = directory / "params.json"
    if own.exists() and own.read_bytes() != params.read_bytes():
        raise DataError(f"{own}: differs, expected the same as {params}; --overwrite replaces it")


def copy_params(params: Path, directory: Path) -> None:
    """Copies the params.json of the series into the directory of a run."""
    if params.parent != directory:
        shutil.copyfile(params, directory / "params.json")


def summary(directories: Sequence[Path]) -> str:
    """One line: mean and standard deviation of the best val F1, in percent."""
    f1s = [100 * best_headline(read_epochs(directory)) for directory in directories]
    mean, deviation = mean_and_deviation(f1s)
    if len(f1s) == 1:
        return f"best val F1 of 1 seed: mean {mean:.2f}"
    spread = f"standard deviation {deviation:.2f} (n - 1)"
    return f"best val F1 of {len(f1s)} seeds: mean {mean:.2f}, {spread}"
