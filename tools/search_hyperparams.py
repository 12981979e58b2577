"""Tries values of keys of params.json, each trial an ordinary experiment in `<model_dir>/trial-N`.

    python tools/search_hyperparams.py --model_dir experiments/crf --data_dir data/msra \\
        --set learning_rate=2e-5,5e-5,1e-4 --set head=softmax,crf
    python tools/search_hyperparams.py --model_dir experiments/crf --data_dir data/msra \\
        --set learning_rate=1e-5..1e-3:log --set epoch_num=5..15 --trials 20

The first command tries every combination; in the second optuna, an extra (`pip install optuna`), chooses
twenty.  All other options are passed to train.py.  A trial that falls behind the median of the others is
stopped.  Repeating the command continues a search that was cut off; more values add trials.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import train
from ner.errors import DataError
from ner.runtime import distributed, logs, program
from ner.studies.runs import Search, check_search, ranking, run_search
from ner.studies.search import parse_space
from ner.training.run_dir import only_trainer


def parse_args(argv=None) -> argparse.Namespace:
    parser = program.Parser(
        __doc__,
        epilog="Other options are those of train.py.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--model_dir", type=Path, required=True, help="holds the params.json to start from")
    set_help = "values separated by commas, or with --trials low..high or low..high:log; each key once"
    add("--set", action="append", required=True, metavar="KEY=VALUES", help=set_help)
    add("--trials", type=int, help="number of trials in all, whose values optuna chooses")
    prune_help = "epochs of each trial before it may be stopped (default 2; 0: no trial is stopped)"
    add("--prune_after", type=int, default=2, metavar="EPOCHS", help=prune_help)
    args, options = parser.parse_known_args(argv)
    return argparse.Namespace(**vars(args), options=options, run=train.parse_args(options))


def main(args: argparse.Namespace) -> None:
    distributed.refuse_torchrun("a search")
    logs.start_log()
    space = parse_space(args.set)
    for name in ("seeds", "restore_file", "overwrite"):
        if getattr(args.run, name):
            raise DataError(
                f"--{name}: not in a search, which continues by itself; each trial has one --seed"
            )
    own = {"directory": args.model_dir, "params": args.model_dir / "params.json"}
    settings = replace(train.read_settings(args.run), **own)
    search = Search(settings, space, args.trials, args.prune_after, args.options)
    check_search(search)
    with only_trainer(args.model_dir):
        trials, complaints = run_search(search)
    if trials:
        print(ranking(trials))
    if complaints:
        raise DataError(f"{len(complaints)} of the trials refused, the first {complaints[0]}")


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
