"""Words and parts of speech for plain Chinese text: silver labels, the second target of pretrain.py.

    python tools/label_words.py --text news.txt.xz data/msra --out_file news.words.txt.xz

jieba, an extra (`pip install jieba`), cuts every line into words and flags each with a part of speech,
names of people (nr), places (ns) and organisations (nt) among them.  Written as `word/flag word/flag`,
a line a line, white space left out; `pretrain.py --tagged_text` reads it, and any other segmenter's
output in the same form.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ner.errors import DataError
from ner.files import OPENERS, whole_file
from ner.pretraining.plaintext import read_tokens
from ner.runtime import program

LINES_A_TASK = 500


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--text", type=Path, nargs="+", required=True, metavar="FILE", help="as for pretrain.py --text"
    )
    parser.add_argument("--out_file", type=Path, required=True, help=f"one of {', '.join(OPENERS)}")
    parser.add_argument("--processes", type=int, default=1)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    if args.out_file.suffix not in OPENERS:
        raise DataError(f"--out_file {args.out_file}: expected an ending of {', '.join(OPENERS)}")
    if args.processes < 1:
        raise DataError(f"--processes {args.processes}: expected 1 or more")
    try:
        silence()  # a process of the pool that cannot import it would be started again and again
    except ImportError:
        raise DataError("jieba is not installed: pip install jieba") from None
    lines = chain.from_iterable(map("".join, read_tokens(path, "char")) for path in args.text)
    with (
        whole_file(args.out_file, compressed=True) as file,
        multiprocessing.get_context("spawn").Pool(args.processes, silence) as pool,
        tqdm(unit="line", disable=not sys.stderr.isatty()) as bar,
    ):
        for labelled in pool.imap(label, chunks(lines)):
            file.write("".join(f"{line}\n" for line in labelled))
            bar.update(len(labelled))


def silence() -> None:
    """jieba reports every loading of its dictionary."""
    import jieba

    jieba.setLogLevel("WARNING")


def chunks(lines: Iterator[str]) -> Iterator[list[str]]:
    chunk = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == LINES_A_TASK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def label(lines: list[str]) -> list[str]:
    """`word/flag word/flag ...` for each line."""
    from jieba import posseg

    return [" ".join(f"{word}/{flag}" for word, flag in posseg.cut(line) if word.strip()) for line in lines]


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
