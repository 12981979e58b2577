"""Measures how many predicted entities depend on where long sentences are cut into windows.

    python tools/compare_windows.py --data_dir data/msra --model_dir experiments/lstm_crf --max_len 128

Tags the sentences that are longer than one window twice, with cuts in different places, and reports the share
of entities found only once.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ner.data.batches import Batches
from ner.data.folder import read_split
from ner.data.windows import Windows, encode
from ner.errors import DataError
from ner.inference.predict import predict
from ner.model.directory import load, resolve_model_dir
from ner.runtime import devices, program


def parse_args(argv=None) -> argparse.Namespace:
    parser = program.Parser(__doc__)
    add = parser.add_argument
    add("--data_dir", type=Path, default=Path("data/msra"))
    add("--model_dir", type=Path, required=True)
    add("--split", default="test")
    add("--restore_file", default="best", metavar="NAME")
    add("--max_len", type=int, help="pieces a window (default: the model's)")
    devices.add_device_arguments(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    machine = devices.choose_machine(args)
    split = read_split(args.data_dir, args.split)
    model = load(resolve_model_dir(args.model_dir, args.restore_file))
    model.tagger.place(machine.device, precision=machine.precision)
    max_len = args.max_len or model.max_len
    examples = encode(split.sentences, model.tokenizer)
    long = [split.sentences[i] for i in (examples.n_pieces > max_len - 2).nonzero()[0]]
    if not long:
        raise DataError(
            f"{args.data_dir / args.split}: no sentence over {max_len - 2} pieces, lower --max_len"
        )
    overlaps = (max_len - 2) // 3, (max_len - 2) // 2  # their cuts lie in different places
    found = [entities(model, long, Windows(max_len, size), machine.device) for size in overlaps]
    both, either = found[0] & found[1], found[0] | found[1]
    print(
        f"{len(long)} sentences over {max_len - 2} pieces, {len(found[0])} and {len(found[1])} entities; "
        f"{len(either) - len(both)} of {len(either)} ({100 * (1 - len(both) / max(1, len(either))):.2f}%) "
        f"are found with only one set of cuts"
    )


def entities(model, sentences, windows, device) -> set:
    """Sentence number and span of each predicted entity."""
    loader = Batches(encode(sentences, model.tokenizer), windows=windows, batch_tokens=8192)
    answers, _ = predict(model.tagger, loader, device=device)
    return {(row, scored.span) for row, answer in enumerate(answers) for scored in answer["spans"]}


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
