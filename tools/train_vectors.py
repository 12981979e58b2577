"""Character and character-bigram vectors out of plain Chinese text, for the LSTM encoder.

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

from ner.files import OPENERS


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--text", type=Path, action="append", required=True, help=".txt, .gz or .xz, a text a line"
    )
    parser.add_argument("--out_dir", type=Path, required=True)
    parser.add_argument("--character_size", type=int, default=100)
    parser.add_argument("--bigram_size", type=int, default=50)
    parser.add_argument("--bigram_min_count", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="more than 1 is not repeatable to the bit")
    parser.add_argument("--seed", type=int, default=2019)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    args.out_dir.mkdir(parents=True, exist_ok=True)
    learn(Lines(args.text, 1), args.out_dir / "characters.txt", args.character_size, 5, args)
    learn(Lines(args.text, 2), args.out_dir / "bigrams.txt", args.bigram_size, args.bigram_min_count, args)


class Lines:
    """The lines of the files, each as its overlapping runs of `n` characters, white space left out."""

    def __init__(self, paths: list[Path], n: int):
        self.paths, self.n = paths, n

    def __iter__(self) -> Iterator[list[str]]:
        for path in self.paths:
            with OPENERS.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
                for line in file:
                    text = "".join(line.split())
                    yield [text[i : i + self.n] for i in range(len(text) - self.n + 1)]


def learn(lines: Lines, path: Path, size: int, min_count: int, args: argparse.Namespace) -> None:
    """Trains vectors of `size` numbers and writes them, the most frequent first."""
    from gensim.models import Word2Vec

    model = Word2Vec(
        lines,
        vector_size=size,
        window=5,
        min_count=min_count,
        sg=1,
        negative=5,
        epochs=args.epochs,
        workers=args.threads,
        seed=args.seed,
        max_final_vocab=400_000,
    )
    model.wv.save_word2vec_format(str(path))
    print(f"{len(model.wv)} vectors of {size} written to {path}")


if __name__ == "__main__":
    sys.exit(main(parse_args()))
