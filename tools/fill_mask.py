"""The most probable pieces for each [MASK] of a text, from a model of pretrain.py.

python tools/fill_mask.py --model_dir pretrained/zh-small --text 中国外交部发言人昨天在北[MASK]举行记者会。
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ner.data.sentence import UNITS
from ner.inference.predict import write_json_lines
from ner.model.directory import resolve_model_dir
from ner.pretraining.mlm import fill_texts, load_mlm
from ner.runtime import devices, logs, program


def parse_args(argv=None) -> argparse.Namespace:
    parser = program.Parser(__doc__)
    add = parser.add_argument
    program.add_text_arguments(parser)
    add("--model_dir", type=Path, default=Path("pretrained/zh-small"))
    add("--restore_file", default="best", metavar="NAME", help="checkpoint of a run: best or last")
    add("--unit", choices=UNITS, help="how to cut text (default: as the training data)")
    devices.add_device_arguments(parser)
    return program.parse_text_arguments(parser, argv)


def main(args: argparse.Namespace) -> None:
    devices.bound_kernels()
    machine = devices.choose_machine(args)
    logs.start_log()
    program.check_texts(args.input, args.text, args.output)
    model = load_mlm(resolve_model_dir(args.model_dir, args.restore_file), unit=args.unit or "")
    model.lm.to(machine.device).precision = machine.precision
    answers = fill_texts(model, program.read_texts(args.input, args.text))
    program.write_output(args.output, lambda file: write_json_lines(answers, file))


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
