"""The pieces of many sentences, in flat arrays."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ner.data.sentence import Sentence
from ner.data.tokenizer import WordPiece


@dataclass(frozen=True)
class Examples:
    """The pieces of n sentences as flat arrays, and the sentences themselves.

    pieces     (pieces,)     int32  piece ids of all sentences end to end, without special pieces
    starts     (tokens + 1,) int64  position in `pieces` of the first piece of each token, then the end
    token_ends (n + 1,)      int64  sentence i owns tokens token_ends[i] to token_ends[i + 1]
    """

    sentences: Sequence[Sentence]
    pieces: np.ndarray
    starts: np.ndarray
    token_ends: np.ndarray
    specials: tuple[int, int, int]  # [CLS], [SEP], [PAD]

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def n_pieces(self) -> np.ndarray:
        """(n,) number of pieces of each sentence, without special pieces."""
        return np.diff(self.starts[self.token_ends])

    def of(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """The pieces of sentence i, and the position among them of each token's first piece."""
        starts = self.starts[self.token_ends[i] : self.token_ends[i + 1] + 1]
        return self.pieces[starts[0] : starts[-1]], starts[:-1] - starts[0]


def encode(sentences: Sequence[Sentence], tokenizer: WordPiece) -> Examples:
    """Splits every token into pieces, each distinct token once.  ValueError if a sentence is empty."""
    n_tokens = [len(sentence.tokens) for sentence in sentences]
    if 0 in n_tokens:
        raise ValueError(f"sentence {n_tokens.index(0)} has no tokens, expected at least one")
    number: defaultdict[str, int] = defaultdict(lambda: len(number))  # a new token gets the next number
    tokens = chain.from_iterable(sentence.tokens for sentence in sentences)
    numbers = np.fromiter(map(number.__getitem__, tokens), np.int32, sum(n_tokens))
    distinct = [tokenizer.pieces(token) for token in number]
    n_pieces = np.array([len(pieces) for pieces in distinct], np.int64)
    flat = np.fromiter(chain.from_iterable(distinct), np.int32, int(n_pieces.sum()))
    starts = np.append(0, np.cumsum(n_pieces[numbers]))
    from_flat = np.repeat((np.cumsum(n_pieces) - n_pieces)[numbers] - starts[:-1], n_pieces[numbers])
    return Examples(
        sentences=sentences,
        pieces=flat[from_flat + np.arange(len(from_flat))],
        starts=starts,
        token_ends=np.cumsum([0, *n_tokens]),
        specials=(tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id),
    )
