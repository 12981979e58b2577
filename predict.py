"""Tags raw text: every line in gives one JSON line out.

echo 中国队昨天抵达巴黎 | python predict.py --model_dir experiments/base_model
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tqdm import tqdm

from ner import files
from ner.data.folder import read_split
from ner.data.sentence import UNITS
from ner.data.windows import LONG_TEXT
from ner.errors import DataError
from ner.inference.compiling import compile_encoder
from ner.inference.texts import CHUNK_TEXTS, tag_sentences, tag_texts
from ner.inference.vectors import (
    POOLINGS,
    TextVectors,
    as_json,
    open_for_vectors,
    vectors_of,
    width_of,
    write_npy,
)
from ner.model.directory import Model, load, resolve_model_dir
from ner.pretraining.fill_mask import fill_texts
from ner.pretraining.mlm import load_mlm
from ner.runtime import devices, logs, program
from ner.runtime.logs import log


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "input", nargs="?", type=Path, help="a UTF-8 file, a text a line (default: standard input)"
    )
    parser.add_argument("--text", action="append", help="tag this text instead; may be given again")
    parser.add_argument("--data_dir", type=Path, help="with --split: tag a built split instead")
    parser.add_argument("--split", help="train, val or test of --data_dir")
    parser.add_argument("--model_dir", type=Path, default=Path("experiments/base_model"))
    parser.add_argument(
        "--restore_file", default="best", metavar="NAME", help="of an experiment: best or last"
    )
    parser.add_argument("--output", type=Path, help="write here (default: standard output)")
    parser.add_argument("--unit", choices=UNITS, help="how text is cut (default: as the model's data was)")
    parser.add_argument("--max_len", type=int, help="pieces a window (default: the model's)")
    parser.add_argument(
        "--long_text", choices=LONG_TEXT, help="what becomes of longer texts (default: the model's)"
    )
    devices.add_batch_tokens(parser)
    parser.add_argument(
        "--compile", action="store_true", help="compile the encoder first, half a minute, for much text"
    )
    parser.add_argument(
        "--chunk", type=int, default=CHUNK_TEXTS, help="texts read before they are answered; 1 for a dialogue"
    )
    parser.add_argument(
        "--fill_mask",
        action="store_true",
        help="guess each [MASK] of the texts instead, with a model of pretrain.py",
    )
    parser.add_argument(
        "--vectors",
        choices=POOLINGS,
        help="vectors instead, of the texts or, with `tokens`, of their tokens; .npy where --output ends so",
    )
    parser.add_argument(
        "--layers",
        help="of the encoder, for --vectors: last (default), concat4, max4 or a number from 1",
    )
    devices.add_device_arguments(parser)
    args = parser.parse_args(argv)
    if sum(x is not None for x in (args.input, args.text, args.data_dir)) > 1:
        parser.error("a file, --text and --data_dir: expected one of them")
    if (args.data_dir is None) != (args.split is None):
        parser.error("--data_dir and --split go together")
    for name in ("fill_mask", "vectors"):
        if getattr(args, name) and args.data_dir is not None:
            parser.error(f"--{name}: expected texts, not --data_dir")
        if getattr(args, name) and args.long_text:
            parser.error(f"--{name} and --long_text: expected one of them")
    if args.layers and not args.vectors:
        parser.error("--layers: expected --vectors with it")
    if args.output and args.output.suffix == ".npy" and not args.vectors:
        parser.error(f"--output {args.output}: expected --vectors with .npy")
    if args.fill_mask and args.vectors:
        parser.error("--fill_mask and --vectors: expected one of them")
    if args.fill_mask and args.compile:
        parser.error("--fill_mask and --compile: expected one of them")
    return args


def main(args: argparse.Namespace) -> None:
    devices.bound_kernels()
    machine = devices.choose_machine(args)
    logs.start_log()
    if args.chunk < 1:
        raise DataError(f"--chunk {args.chunk}: expected 1 or more")
    if args.input is not None and not args.input.exists():
        raise DataError(f"{args.input}: no such file")
    for text in args.text or ():
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"--text: not utf-8, got {text!a}")
    if args.vectors and args.output is not None and args.output.suffix == ".npy":
        model = open_vectors(args, machine)
        found = read_vectors(args, model, machine)
        n_texts = write_npy(args.output, found, width_of(model.tagger), tokens=args.vectors == "tokens")
        log.info(f"{n_texts} texts written to {args.output}")
        return
    answer = vectors if args.vectors else fill if args.fill_mask else tag
    answers = answer(args, machine)
    if args.output is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        write(answers, sys.stdout)
    else:
        with files.whole_file(args.output) as file:
            write(answers, file)
        log.info(f"written to {args.output}")


def tag(args: argparse.Namespace, machine: devices.Machine) -> Iterator[dict]:
    """The entities of every text or sentence."""
    sentences = read_split(args.data_dir, args.split).sentences if args.data_dir else None
    model_dir = resolve_model_dir(args.model_dir, args.restore_file)
    model = load(model_dir, unit=args.unit, max_len=args.max_len, long_text=args.long_text)
    if model.long_text != "windows":
        log.info(
            f"long_text {model.long_text}: of a text of more than {model.windows.capacity} pieces the others "
            "are not read; --long_text windows reads all"
        )
    prepare(model, args, machine)
    options = {"device": machine.device, "batch_tokens": machine.batch_tokens}
    if sentences is not None:
        return tag_sentences(model, sentences, **options)
    return tag_texts(model, read_texts(args), chunk_texts=args.chunk, **options)


def prepare(model: Model, args: argparse.Namespace, machine: devices.Machine) -> None:
    model.tagger.to(machine.device).precision = machine.precision
    model.tagger.max_cells = machine.batch_tokens
    if args.compile:
        compile_encoder(model.tagger)


def fill(args: argparse.Namespace, machine: devices.Machine) -> Iterator[dict]:
    """The likeliest pieces for each [MASK] of every text."""
    model = load_mlm(resolve_model_dir(args.model_dir, args.restore_file), unit=args.unit or "")
    model.lm.to(machine.device).precision = machine.precision
    return fill_texts(model, read_texts(args))


def open_vectors(args: argparse.Namespace, machine: devices.Machine) -> Model:
    """The encoder of the model directory and what is taken of it."""
    layers = args.layers or "last"
    layers = int(layers) if layers.isdecimal() else layers
    model_dir = resolve_model_dir(args.model_dir, args.restore_file)
    model = open_for_vectors(model_dir, layers=layers, unit=args.unit, max_len=args.max_len)
    prepare(model, args, machine)
    return model


def read_vectors(args: argparse.Namespace, model: Model, machine: devices.Machine) -> Iterator[TextVectors]:
    return vectors_of(
        model,
        read_texts(args),
        pooling=args.vectors,
        device=machine.device,
        batch_tokens=machine.batch_tokens,
        chunk_texts=args.chunk,
    )


def vectors(args: argparse.Namespace, machine: devices.Machine) -> Iterator[dict]:
    """The vector of every text, or those of its tokens."""
    return map(as_json, read_vectors(args, open_vectors(args, machine), machine))


def read_texts(args: argparse.Namespace) -> Iterable[str]:
    """What is asked for on the command line, in a file, or on standard input."""
    return args.text if args.text is not None else read_lines(args.input)


def read_lines(path: Path | None) -> Iterator[str]:
    """Lines of a file or of standard input; LF or CRLF ends one, and spaces are kept.

    On a terminal a bar shows how far the file, not its answers, has been read.
    """
    file = sys.stdin.buffer if path is None else path.open("rb")
    size = 0 if path is None else path.stat().st_size
    hidden = path is None or not sys.stderr.isatty()
    with file, tqdm(total=size, unit="B", unit_scale=True, leave=False, disable=hidden) as bar:
        for number, line in enumerate(file, start=1):
            bar.update(len(line))
            try:
                yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
            except UnicodeDecodeError as error:
                got = line[error.start : error.start + 1].hex()
                raise DataError(f"{path or 'standard input'}:{number}: not utf-8, got byte {got}") from None


def write(answers: Iterator[dict], file) -> None:
    for values in answers:
        file.write(json.dumps(values, ensure_ascii=False) + "\n")
        file.flush()


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
