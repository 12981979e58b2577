"""Tries values of any keys of params.json, each trial an ordinary experiment in `<model_dir>/trial-N`.

    python tools/search_hyperparams.py --model_dir experiments/crf --data_dir data/msra \\
        --set learning_rate=2e-5,5e-5,1e-4 --set head=softmax,crf
    python tools/search_hyperparams.py --model_dir experiments/crf --data_dir data/msra \\
        --set learning_rate=1e-5..1e-3:log --set epoch_num=5..15 --trials 20

The first tries every combination; the second lets optuna, an extra (`pip install optuna`), choose twenty.
Options that are not its own are those of train.py.  A trial that falls behind the median of the others is
stopped.  The same command again goes on where a search was cut off, and with more values tries those.
"""

import argparse
import shutil
import sys
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train
from ner.config import to_json
from ner.errors import DataError, TrainingError
from ner.runtime import distributed, logs, program
from ner.runtime.logs import log
from ner.runtime.program import is_out_of_memory
from ner.scoring.tables import table
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
    parse_space,
    read_trials,
    suggest,
    write_trial,
)
from ner.studies.series import is_begun
from ner.training.params import load_config
from ner.training.run_dir import only_trainer

MAX_OTHERS = 1000  # combinations that are tried for one which goes with a value


class Pruned(Exception):
    """A trial is stopped early."""


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog="Other options are those of train.py.",
        allow_abbrev=False,
    )
    parser.add_argument("--model_dir", type=Path, required=True, help="holds the params.json to start from")
    parser.add_argument(
        "--set",
        action="append",
        required=True,
        metavar="KEY=VALUES",
        help="values with commas between, or with --trials low..high or low..high:log; once a key",
    )
    parser.add_argument("--trials", type=int, help="let optuna choose the values of so many trials in all")
    parser.add_argument(
        "--prune_after",
        type=int,
        default=2,
        metavar="EPOCHS",
        help="epochs that every trial has before it may be stopped (default 2; 0: none is stopped)",
    )
    args, args.options = parser.parse_known_args(argv)
    args.run = train.parse_args(args.options)
    return args


def main(args: argparse.Namespace) -> None:
    distributed.refuse_torchrun("a search")
    logs.start_log()
    params = args.model_dir / "params.json"
    space = parse_space(args.set)
    check(args, space)
    shared = {
        "params": asdict(load_config(params)),
        "options": args.options,
        "data": train.data_hashes(args.run.data_dir),
    }
    with only_trainer(args.model_dir):
        search(args, space, shared)


def search(args: argparse.Namespace, space: Space, shared: dict) -> None:
    """Trial after trial, then the ranking; DataError where some were refused."""
    refused: list[Trial] = []
    complaints: list[str] = []
    while True:
        trials = read_trials(args.model_dir, shared)
        turned_down = [trial.values for trial in refused]
        known = [trial for trial in trials if trial.values not in turned_down]
        values = next_values(space, [*known, *refused], args.trials)
        if values is None:
            n_tried = len(refused) + sum(in_space(trial.values, space) for trial in known)
            break
        try:
            run_trial(args, values, trials, shared)
        except DataError as error:  # a pair that does not go together; the others still do
            refused.append(Trial(args.model_dir, values, "refused"))
            complaints.append(str(error))
            log.info(f"refused: {error}")
        logs.start_log()
    if trials:
        print(ranking(trials))
    if args.trials and n_tried < args.trials:
        log.info(f"all {n_tried} combinations have been tried, fewer than --trials")
    if refused:
        which = described(refused[0].values)
        raise DataError(f"{len(refused)} of the trials refused, the first {which}: {complaints[0]}")


def check(args: argparse.Namespace, space: Space) -> None:
    """DataError where the search cannot begin."""
    for name in ("seeds", "restore_file", "overwrite"):
        if getattr(args.run, name):
            raise DataError(f"--{name}: not of a search, which goes on by itself; each trial has one --seed")
    if args.prune_after < 0:
        raise DataError(f"--prune_after {args.prune_after}: expected 0 or more")
    check_values(args.model_dir / "params.json", space)
    if args.trials is None:
        list(grid(space))
    elif args.trials < 1:
        raise DataError(f"--trials {args.trials}: expected 1 or more")
    else:
        suggest(space, [])


def check_values(params: Path, space: Space) -> None:
    """DataError at a value, or an end of a range, that is wrong whatever the other keys are.

    Of the others, at most MAX_OTHERS combinations are tried.
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


def run_trial(args: argparse.Namespace, values: dict, trials: list[Trial], shared: dict) -> None:
    """Trains, or goes on with, the trial of these values; one that is refused leaves no directory."""
    config = load_config(args.model_dir / "params.json", overrides(values))
    known = next((trial for trial in trials if trial.values == values), None)
    directory = known.directory if known else new_directory(args.model_dir)
    (directory / "params.json").write_text(to_json(config), encoding="utf-8")
    trial = Trial(directory, values, "begun")
    write_trial(trial, shared)
    log.info(f"{directory}: {described(values)}")
    others = [other for other in trials if other is not known]

    def after_epoch() -> None:
        f1s = epoch_scores(directory)
        is_due = args.prune_after and args.prune_after <= len(f1s) < config.epoch_num
        if is_due and falls_behind(f1s, others):
            log.info(f"stopped: behind the median of {len(others)} other trials")
            raise Pruned

    how = ["--restore_file", "last"] if is_begun(directory) else ["--overwrite"]
    state = "finished"
    try:
        run = train.parse_args([*args.options, "--model_dir", str(directory), *how])
        run.soft_labels_dir = args.model_dir
        train.main(run, after_epoch)
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
    write_trial(replace(trial, state=state), shared)


def described(values: dict) -> str:
    return " ".join(overrides(values))


def ranking(trials: list[Trial]) -> str:
    """All trials, the best first."""
    rows = [("trial", "val F1", "epochs", "state")]
    for trial in sorted(trials, key=lambda trial: max(trial.f1s, default=-1), reverse=True):
        best = f"{100 * max(trial.f1s):.2f}" if trial.f1s else "-"
        name = f"{trial.directory.name}  {described(trial.values)}"
        rows.append((name, best, str(len(trial.f1s)), trial.state))
    return table(rows)


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
