"""Tags raw text.  Writes one JSON line for each line of input.

echo 中国队昨天抵达巴黎 | python predict.py --model_dir experiments/base_model
"""

import argparse
import sys
from pathlib import Path

from ner.data.folder import read_split
from ner.data.sentence import UNITS
from ner.data.windows import LONG_TEXT
from ner.errors import DataError
from ner.files import check_output
from ner.inference.predict import CHUNK_TEXTS, WRITERS, compile_encoder, tag_sentences, tag_texts
from ner.model.directory import load, resolve_model_dir
from ner.runtime import devices, logs, program
from ner.runtime.logs import log

# options that are programs of their own now
MOVED = {"--vectors": "tools/vectors.py", "--layers": "tools/vectors.py", "--fill_mask": "tools/fill_mask.py"}


def parse_args(argv=None) -> argparse.Namespace:
    parser = program.Parser(__doc__)
    add = parser.add_argument
    program.add_text_arguments(parser)
    add("--data_dir", type=Path, help="with --split: tag a built split instead")
    add("--split", help="train, val or test of --data_dir")
    add("--model_dir", type=Path, default=Path("experiments/base_model"))
    add("--restore_file", default="best", metavar="NAME", help="checkpoint of an experiment: best or last")
    add("--unit", choices=UNITS, help="how to cut text (default: as the training data)")
    add("--max_len", type=int, help="pieces of a window (default: the model's)")
    add("--long_text", choices=LONG_TEXT, help="how to read longer texts (default: the model's)")
    devices.add_batch_tokens(parser)
    program.add_tag_arguments(parser)
    add("--compile", action="store_true", help="compile the encoder first: half a minute, for much text")
    add("--chunk", type=int, default=CHUNK_TEXTS, help="texts read before they are answered; 1: a dialogue")
    devices.add_device_arguments(parser)
    for flag in MOVED:
        add(flag, nargs="?", const="", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    for flag, command in MOVED.items():
        if getattr(args, flag.removeprefix("--")) is not None:
            parser.error(f"{flag} has moved, expected: python {command}")
    if sum(x is not None for x in (args.input, args.text, args.data_dir)) > 1:
        parser.error("a file, --text and --data_dir: expected one of them")
    if (args.data_dir is None) != (args.split is None):
        parser.error("--data_dir and --split go together")
    if args.output and args.output.suffix == ".npy":
        parser.error(f"--output {args.output}: .npy holds vectors, expected tools/vectors.py")
    return args


def main(args: argparse.Namespace) -> None:
    devices.bound_kernels()
    machine = devices.choose_machine(args)
    logs.start_log()
    if args.chunk < 1:
        raise DataError(f"--chunk {args.chunk}: expected 1 or more")
    if args.data_dir is None:
        program.check_texts(args.input, args.text, args.output)
    else:
        check_output(args.output, [args.data_dir / args.split])
    sentences = read_split(args.data_dir, args.split).sentences if args.data_dir else None
    model_dir = resolve_model_dir(args.model_dir, args.restore_file)
    model = load(
        model_dir,
        unit=args.unit,
        max_len=args.max_len,
        long_text=args.long_text,
        scheme=args.scheme,
        label_names=args.label_names,
    )
    for note in model.notes:
        log.info(note)
    if model.long_text != "windows":
        log.info(
            f"long_text {model.long_text}: texts of more than {model.windows.capacity} pieces are truncated; "
            "--long_text windows reads all"
        )
    model.tagger.place(machine.device, precision=machine.precision, max_cells=machine.batch_tokens)
    if args.compile:
        compile_encoder(model.tagger)
    options = {"device": machine.device, "batch_tokens": machine.batch_tokens}
    if sentences is None:
        lines = program.read_texts(args.input, args.text)
        answers = tag_texts(model, lines, chunk_texts=args.chunk, **options)
    else:
        answers = tag_sentences(model, sentences, **options)
    program.write_output(args.output, lambda file: WRITERS["jsonl"](answers, file))


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
