"""Trains character and character-bigram vectors on plain Chinese text, for the LSTM encoder.

    python tools/train_vectors.py --text news.txt.xz --text data/msra/train/sentences.txt --out_dir vectors

Skip-gram with negative sampling (Mikolov et al., 2013) by gensim, an extra: `pip install gensim`.
Writes `characters.txt` and `bigrams.txt` in word2vec's text format; params.json names them under
`encoder` as `character_vectors` and `bigram_vectors`.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ner.files import OPENERS, check_output, numbered_lines
from ner.runtime import program


def parse_args(argv=None) -> argparse.Namespace:
    parser = program.Parser(__doc__)
    add = parser.add_argument
    add("--text", type=Path, action="append", required=True, help=".txt, .gz or .xz, one text a line")
    add("--out_dir", type=Path, required=True)
    add("--character_size", type=int, default=100)
    add("--bigram_size", type=int, default=50)
    add("--bigram_min_count", type=int, default=20)
    add("--epochs", type=int, default=3)
    add("--threads", type=int, default=1, help="more than 1 is not reproducible")
    add("--seed", type=int, default=2019)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    for name in ("characters.txt", "bigrams.txt"):
        check_output(args.out_dir / name, args.text)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    options = {"epochs": args.epochs, "workers": args.threads, "seed": args.seed}
    characters = {"vector_size": args.character_size, "min_count": 5}
    train_vectors(NGrams(args.text, 1), args.out_dir / "characters.txt", **characters, **options)
    bigrams = {"vector_size": args.bigram_size, "min_count": args.bigram_min_count}
    train_vectors(NGrams(args.text, 2), args.out_dir / "bigrams.txt", **bigrams, **options)


class NGrams:
    """The lines of the files, each as its overlapping runs of `n` characters, without white space."""

    def __init__(self, paths: list[Path], n: int):
        self.paths, self.n = paths, n

    def __iter__(self) -> Iterator[list[str]]:
        for path in self.paths:
            for _, line in numbered_lines(path, OPENERS.get(path.suffix, open)):
                text = "".join(line.split())
                yield [text[i : i + self.n] for i in range(len(text) - self.n + 1)]


def train_vectors(ngrams: NGrams, path: Path, *, vector_size: int, **options: int) -> None:
    """Trains vectors of `vector_size` numbers by gensim and writes them, the most frequent first."""
    from gensim.models import Word2Vec

    options |= {"window": 5, "sg": 1, "negative": 5, "max_final_vocab": 400_000}
    model = Word2Vec(ngrams, vector_size=vector_size, **options)
    model.wv.save_word2vec_format(str(path))
    print(f"{len(model.wv)} vectors of {vector_size} written to {path}")


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
