"""Tags raw text: every line in gives one JSON line out.

echo 中国队昨天抵达巴黎 | python predict.py --model_dir experiments/base_model
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from ner import runtime
from ner.corpus import UNITS, DataError, read_split
from ner.model import load, resolve_model_dir
from ner.predictions import tag_sentences, tag_texts
from ner.runtime import log


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
    parser.add_argument("--batch_tokens", type=int, default=8192, help="pieces a batch")
    runtime.add_device_arguments(parser)
    args = parser.parse_args(argv)
    if sum(x is not None for x in (args.input, args.text, args.data_dir)) > 1:
        parser.error("a file, --text and --data_dir: expected one of them")
    if (args.data_dir is None) != (args.split is None):
        parser.error("--data_dir and --split go together")
    return args


def main(args: argparse.Namespace) -> None:
    device, precision = runtime.device_and_precision(args)
    runtime.start_log()
    if args.input is not None and not args.input.exists():
        raise DataError(f"{args.input}: no such file")
    for text in args.text or ():
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"--text: not utf-8, got {text!a}")
    sentences = read_split(args.data_dir, args.split).sentences if args.data_dir else None
    model_dir = resolve_model_dir(args.model_dir, args.restore_file)
    model = load(model_dir, unit=args.unit, max_len=args.max_len)
    model.tagger.to(device).precision = precision
    model.tagger.max_cells = args.batch_tokens
    options = {"device": device, "batch_tokens": args.batch_tokens}
    if sentences is not None:
        tagged = tag_sentences(model, sentences, **options)
    else:
        tagged = tag_texts(model, args.text if args.text is not None else read_lines(args.input), **options)
    if args.output is None:
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        write(tagged, sys.stdout)
    else:
        with args.output.open("w", encoding="utf-8", newline="\n") as file:
            write(tagged, file)
        log.info(f"written to {args.output}")


def read_lines(path: Path | None) -> Iterator[str]:
    """Lines of a file or of standard input; only a newline ends one, and spaces are kept."""
    file = sys.stdin.buffer if path is None else path.open("rb")
    with file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.removesuffix(b"\n").decode("utf-8")
            except UnicodeDecodeError as error:
                got = line[error.start : error.start + 1].hex()
                raise DataError(f"{path or 'standard input'}:{number}: not utf-8, got byte {got}") from None


def write(tagged: Iterator[dict], file) -> None:
    for values in tagged:
        file.write(json.dumps(values, ensure_ascii=False) + "\n")
    file.flush()


if __name__ == "__main__":
    sys.exit(runtime.run(main, parse_args))
