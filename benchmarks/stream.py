"""Peak memory and characters a second of predict.py over files of 10 and of 100 megabytes.

    python -m benchmarks.stream --data_dir data/msra --threads 2 --out stream.json

The files hold random sentences of train.  Each file is tagged in bf16 by its own process, with random weights
and a model so small that memory which grows with the text would be visible.  The seconds are the time of the
whole program without its imports.
The check: every line has an answer, in the order of the lines.
"""

import argparse
import json
import sys
import tempfile
import time
from itertools import zip_longest
from pathlib import Path

import numpy as np

import predict
from benchmarks import inputs, report
from benchmarks.timing import add_worker, did_work, in_process, peak_memory, show
from ner.data.sentence import Sentence
from ner.runtime import program


def parse_args(argv=None) -> argparse.Namespace:
    parser = inputs.argument_parser(__doc__, rounds=1, megabytes=[0.01, 0.02])
    parser.add_argument(
        "--megabytes", type=float, nargs="+", default=[10, 100], help="sizes of the files (default: 10 100)"
    )
    add_worker(parser)
    return inputs.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    if did_work(args, work):
        return
    inputs.start(args)
    before = report.machine()
    sentences = inputs.read(args, "train")
    rows, measured = [], []
    with tempfile.TemporaryDirectory() as folder:
        values = {"model_dir": f"{folder}/model", "text": f"{folder}/text", "answers": f"{folder}/answers"}
        inputs.write_model(Path(values["model_dir"]), inputs.SIZES["tiny"], args, sentences)
        options = {"threads": args.threads, "device": args.device}
        for megabytes in args.megabytes:
            n_characters = write_text(Path(values["text"]), sentences, megabytes, args.seed)
            found, same = [], True
            for number in range(args.rounds):
                found.append(in_process("benchmarks.stream", values | options))
                same &= in_order(Path(values["text"]), Path(values["answers"]))
                show(f"round {number + 1} of {args.rounds}  {megabytes:g} MB: {found[-1]['seconds']:.1f} s")
            measured.append({"megabytes": megabytes, "characters": n_characters, "rounds": found})
            rows.append(row(megabytes, n_characters, found, same))
    report.finish(args, before, [{"title": "predict.py", "rows": rows, "measured": measured}])


def write_text(path: Path, sentences: list[Sentence], megabytes: float, seed: int) -> int:
    """Writes lines of at least so many bytes; returns their number of characters, without line ends."""
    random = np.random.default_rng(seed)
    n_bytes = n_characters = 0
    with path.open("wb") as file:
        while n_bytes < megabytes * 1e6:
            line = "".join(sentences[random.integers(len(sentences))].tokens)
            n_bytes += file.write(f"{line}\n".encode())
            n_characters += len(line)
    return n_characters


def in_order(text: Path, answers: Path) -> bool:
    """True if each line has its answer, in the order of the lines."""
    with text.open(encoding="utf-8", newline="\n") as lines, answers.open(encoding="utf-8") as objects:
        texts = (line.removesuffix("\n") for line in lines)
        answered = (json.loads(answer)["text"] for answer in objects)
        return all(text == answer for text, answer in zip_longest(texts, answered))


def row(megabytes: float, n_characters: int, found: list[dict], same: bool) -> dict:
    seconds, peak = (np.median([each[key] for each in found]) for key in ("seconds", "peak_memory"))
    return {
        "predict.py": f"{megabytes:g} MB",
        "peak MB": f"{peak / 1e6:,.0f}",
        "characters/s": f"{n_characters / seconds:,.0f}",
        "check": "every line, in order" if same else "NOT THE LINES",
    }


def work(args: argparse.Namespace) -> dict:
    """Tags the file in its own process; returns seconds and peak memory."""
    argv = ["--model_dir", args.model_dir, args.text, "--output", args.answers, "--bf16"]
    for name in ("threads", "device"):
        if getattr(args, name):
            argv += [f"--{name}", str(getattr(args, name))]
    start = time.perf_counter()
    predict.main(predict.parse_args(argv))
    return {"seconds": time.perf_counter() - start, "peak_memory": peak_memory()}


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
