"""Labels plain Chinese text with words and parts of speech, as a second target for pretrain.py.

    python tools/label_words.py --text news.txt.xz data/msra --out_file news.words.txt.xz

jieba, an extra (`pip install jieba`), splits every line into words and flags each word with a part of
speech; some flags are names of people (nr), places (ns) and organisations (nt).  Each line is written as
`word/flag word/flag` without its white space.  `pretrain.py --tagged_text` reads this form, also from any
other segmenter.
"""

import argparse
import multiprocessing
import sys
from itertools import chain, islice
from pathlib import Path

from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ner.errors import DataError
from ner.files import OPENERS, check_output, whole_file
from ner.pretraining.plaintext import read_tokens
from ner.runtime import program

LINES_PER_TASK = 500


def parse_args(argv=None) -> argparse.Namespace:
    parser = program.Parser(__doc__)
    add = parser.add_argument
    add("--text", type=Path, nargs="+", required=True, metavar="FILE", help="as for pretrain.py --text")
    add("--out_file", type=Path, required=True, help=f"one of {', '.join(OPENERS)}")
    add("--processes", type=int, default=1)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    if args.out_file.suffix not in OPENERS:
        raise DataError(f"--out_file {args.out_file}: expected an ending of {', '.join(OPENERS)}")
    if args.processes < 1:
        raise DataError(f"--processes {args.processes}: expected 1 or more")
    check_output(args.out_file, (path / "train" if path.is_dir() else path for path in args.text))
    try:
        silence_jieba()  # imports jieba first: if that fails in a worker, the pool restarts it forever
    except ImportError:
        raise DataError("jieba is not installed: pip install jieba") from None
    lines = chain.from_iterable(map("".join, read_tokens(path, "char")) for path in args.text)
    chunks = iter(lambda: list(islice(lines, LINES_PER_TASK)), [])  # ends at the first empty list
    with (
        whole_file(args.out_file, compressed=True) as file,
        multiprocessing.get_context("spawn").Pool(args.processes, silence_jieba) as pool,
        tqdm(unit="line", disable=not sys.stderr.isatty()) as bar,
    ):
        for labelled in pool.imap(label_lines, chunks):
            file.write("".join(f"{line}\n" for line in labelled))
            bar.update(len(labelled))


def silence_jieba() -> None:
    """Turns off jieba's messages about loading its dictionary."""
    import jieba

    jieba.setLogLevel("WARNING")


def label_lines(lines: list[str]) -> list[str]:
    """`word/flag word/flag ...` for each line."""
    from jieba import posseg

    return [" ".join(f"{word}/{flag}" for word, flag in posseg.cut(line) if word.strip()) for line in lines]


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
