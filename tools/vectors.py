"""Vectors of texts, or of their tokens, from a pretrained or a fine-tuned model.

    python tools/vectors.py --model_dir pretrained/zh-small --pooling mean --text 北京欢迎你
    python tools/vectors.py texts.txt --model_dir experiments/base_model --pooling tokens --output vectors.npy

Writes one JSON line a text, or a float32 array if --output ends in .npy.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ner.data.sentence import UNITS
from ner.errors import DataError
from ner.inference.predict import CHUNK_TEXTS, compile_encoder, write_json_lines
from ner.inference.vectors import POOLINGS, as_json, open_for_vectors, vectors_of, write_npy
from ner.model.directory import resolve_model_dir
from ner.runtime import devices, logs, program
from ner.runtime.logs import log


def parse_args(argv=None) -> argparse.Namespace:
    parser = program.Parser(__doc__)
    add = parser.add_argument
    program.add_text_arguments(parser)
    add("--model_dir", type=Path, default=Path("experiments/base_model"))
    add("--restore_file", default="best", metavar="NAME", help="checkpoint of an experiment: best or last")
    add("--pooling", choices=POOLINGS, default="mean", help="how a text gets its vector; tokens: one a token")
    add("--layers", default="last", help="encoder layers: last (default), concat4, max4 or a number from 1")
    add("--unit", choices=UNITS, help="how to cut text (default: as the training data)")
    add("--max_len", type=int, help="pieces of a window (default: the model's)")
    devices.add_batch_tokens(parser)
    add("--compile", action="store_true", help="compile the encoder first: half a minute, for much text")
    add("--chunk", type=int, default=CHUNK_TEXTS, help="texts read before they are encoded")
    devices.add_device_arguments(parser)
    return program.parse_text_arguments(parser, argv)


def main(args: argparse.Namespace) -> None:
    devices.bound_kernels()
    machine = devices.choose_machine(args)
    logs.start_log()
    if args.chunk < 1:
        raise DataError(f"--chunk {args.chunk}: expected 1 or more")
    program.check_texts(args.input, args.text, args.output)
    model_dir = resolve_model_dir(args.model_dir, args.restore_file)
    layers = int(args.layers) if args.layers.isdecimal() else args.layers
    model = open_for_vectors(model_dir, layers=layers, unit=args.unit, max_len=args.max_len)
    model.tagger.place(machine.device, precision=machine.precision, max_cells=machine.batch_tokens)
    if args.compile:
        compile_encoder(model.tagger)
    options = {"device": machine.device, "batch_tokens": machine.batch_tokens, "chunk_texts": args.chunk}
    lines = program.read_texts(args.input, args.text)
    found = vectors_of(model, lines, pooling=args.pooling, **options)
    if args.output is not None and args.output.suffix == ".npy":
        n_texts = write_npy(args.output, found, model.tagger.width, tokens=args.pooling == "tokens")
        log.info(f"{n_texts} texts written to {args.output}")
    else:
        program.write_output(args.output, lambda file: write_json_lines(map(as_json, found), file))


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
