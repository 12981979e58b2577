"""Trains an encoder to guess hidden pieces of plain text, from random or from published weights.

    python pretrain.py --text news.txt.xz --out_dir pretrained/mine --set max_minutes=60

params.json says what is trained; the command line says where and how.  In the end `--out_dir` is a model
directory that `train.py --bert_model_dir`, `tools/fill_mask.py` and transformers open.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ner.pretraining.pretrain import PretrainSettings, pretrain
from ner.runtime import devices, distributed, program


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = program.Parser(__doc__)
    add = parser.add_argument
    text_help = "UTF-8 text, a paragraph a line, as .txt, .gz or .xz; or a built set, for its train split"
    add("--text", nargs="+", type=Path, default=[], metavar="FILE", help=text_help)
    tagged_help = "text as word/flag word/flag ...: its flags are a second target (tools/label_words.py)"
    add("--tagged_text", nargs="+", type=Path, default=[], metavar="FILE", help=tagged_help)
    add("--out_dir", type=Path, required=True, help="becomes the model directory")
    add("--params", type=Path, help="default: params.json of --out_dir, if there is one")
    add("--bert_model_dir", type=Path, help="weights to start from; its config decides")
    add("--seed", type=int, default=2019)
    add("--restore_file", metavar="NAME", help="go on from last, best or checkpoints/step-N")
    add("--overwrite", action="store_true", help="remove the results of an earlier run first")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of params.json")
    devices.add_device_arguments(parser)
    argv = sys.argv[1:] if argv is None else argv
    return parser.parse_args(argv, argparse.Namespace(command=shlex.join(["pretrain.py", *argv])))


def read_settings(args: argparse.Namespace) -> PretrainSettings:
    """The settings that the arguments ask for; all processes call it."""
    machine = devices.choose_machine(args)
    own_params = args.out_dir / "params.json"
    return PretrainSettings(
        directory=args.out_dir,
        params=args.params or (own_params if own_params.exists() else None),
        text=tuple(args.text),
        tagged_text=tuple(args.tagged_text),
        bert_model_dir=args.bert_model_dir,
        command=args.command,
        overrides=tuple(args.set),
        seed=args.seed,
        restore=args.restore_file,
        overwrite=args.overwrite,
        device=distributed.local_device(machine.device),
        precision=machine.precision,
    )


def main(args: argparse.Namespace) -> None:
    with distributed.process_group():
        with distributed.synchronised():
            settings = read_settings(args)
        pretrain(settings)


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
