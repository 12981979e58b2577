"""Fine-tunes an encoder for named entity recognition.

    python train.py --data_dir data/msra --bert_model_dir bert-base-chinese --model_dir experiments/base_model

`<model_dir>/params.json` says what is trained; the command line says where and how.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ner.runtime import devices, distributed, program
from ner.studies.runs import train_series
from ner.training.train import Settings, train


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = program.Parser(__doc__)
    add = parser.add_argument
    add("--data_dir", type=Path, default=Path("data/msra"), help="a set made by build_dataset.py")
    add("--bert_model_dir", type=Path, help="published weights; its config decides the sizes")
    add("--model_dir", type=Path, default=Path("experiments/base_model"), help="holds params.json")
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, default=2019)
    seeds_help = "an experiment each, in <model_dir>/seed-N"
    seeds.add_argument("--seeds", type=int, nargs="+", metavar="N", help=seeds_help)
    add("--restore_file", metavar="NAME", help="go on from last, best or checkpoints/step-N")
    extend_help = "with --restore_file: a larger epoch_num may move the end of the schedule"
    add("--extend", action="store_true", help=extend_help)
    add("--new_head", action="store_true", help="do not keep the head of --bert_model_dir for the same tags")
    add("--overwrite", action="store_true", help="remove the results of an earlier run first")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of params.json")
    add("--teacher", type=Path, metavar="DIR", help="a fine-tuned model to learn from as well")
    unlabelled_help = "with --teacher: more text, tagged by it; .txt, .gz, .xz"
    add("--unlabelled", type=Path, metavar="FILE", help=unlabelled_help)
    add("--multi_gpu", action="store_true", help="DataParallel over the visible GPUs")
    add("--loss_scale", type=float, default=0, help="with --fp16: a fixed scale; 0: dynamic")
    devices.add_device_arguments(parser)
    argv = sys.argv[1:] if argv is None else argv
    args = parser.parse_args(argv, argparse.Namespace(command=shlex.join(["train.py", *argv])))
    if args.unlabelled and not args.teacher:
        parser.error("--unlabelled: expected --teacher with it")
    return args


def read_settings(args: argparse.Namespace) -> Settings:
    """The settings that the arguments ask for; all processes call it."""
    machine = devices.choose_machine(args)
    return Settings(
        directory=args.model_dir,
        params=args.model_dir / "params.json",
        data_dir=args.data_dir,
        bert_model_dir=args.bert_model_dir,
        command=args.command,
        overrides=tuple(args.set),
        seed=args.seed,
        restore=args.restore_file,
        extend=args.extend,
        new_head=args.new_head,
        overwrite=args.overwrite,
        device=distributed.local_device(machine.device),
        precision=machine.precision,
        teacher=args.teacher,
        unlabelled=args.unlabelled,
        multi_gpu=args.multi_gpu,
        loss_scale=args.loss_scale,
    )


def main(args: argparse.Namespace) -> None:
    with distributed.process_group():
        with distributed.synchronised():
            settings = read_settings(args)
        if args.seeds:
            train_series(settings, args.seeds)
        else:
            train(settings)


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
