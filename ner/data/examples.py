"""The pieces of many sentences, in flat arrays."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ner.data.sentence import Sentence
from ner.data.tokenizer import WordPiece
from ner.data.words import is_blank


@dataclass(frozen=True)
class Examples:
    """The pieces of n sentences as flat arrays, and the sentences themselves.

    pieces       (pieces,) int32   piece ids of all sentences end to end, without special pieces
    token_starts (tokens,) int32   position of each token's first piece within its sentence
    piece_ends   (n + 1,)  int64   sentence i owns pieces[piece_ends[i] : piece_ends[i + 1]]
    token_ends   (n + 1,)  int64   sentence i owns tokens token_ends[i] to token_ends[i + 1]
    blank        (tokens,) bool    True if nothing of the token is visible; None: no token is blank
    """

    sentences: Sequence[Sentence]
    pieces: np.ndarray
    token_starts: np.ndarray
    piece_ends: np.ndarray
    token_ends: np.ndarray
    specials: tuple[int, int, int]  # [CLS], [SEP], [PAD]
    blank: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.sentences)

    @property
    def n_pieces(self) -> np.ndarray:
        """(n,) number of pieces of each sentence, without special pieces."""
        return np.diff(self.piece_ends)


def encode(sentences: Sequence[Sentence], tokenizer: WordPiece) -> Examples:
    """Splits every token into pieces, each distinct token once.  ValueError if a sentence is empty."""
    n_tokens = np.array([len(sentence.tokens) for sentence in sentences], np.int64)
    if 0 in n_tokens:
        raise ValueError(f"sentence {n_tokens.argmin()} has no tokens, expected at least one")
    token_ends = np.concatenate([[0], np.cumsum(n_tokens)]).astype(np.int64)
    number: defaultdict[str, int] = defaultdict(lambda: len(number))  # a new token gets the next number
    tokens = chain.from_iterable(sentence.tokens for sentence in sentences)
    numbers = np.fromiter(map(number.__getitem__, tokens), np.int32, int(token_ends[-1]))
    distinct = [tokenizer.pieces(token) for token in number]
    blank = np.fromiter(map(is_blank, number), bool, len(number))
    n_pieces = np.array([len(pieces) for pieces in distinct], np.int64)
    flat = np.fromiter(chain.from_iterable(distinct), np.int32, int(n_pieces.sum()))

    lengths = n_pieces[numbers]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    piece_ends = starts[token_ends]
    from_flat = np.repeat((np.cumsum(n_pieces) - n_pieces)[numbers] - starts[:-1], lengths)
    return Examples(
        sentences=sentences,
        pieces=flat[from_flat + np.arange(len(from_flat))],
        token_starts=(starts[:-1] - np.repeat(piece_ends[:-1], n_tokens)).astype(np.int32),
        piece_ends=piece_ends,
        token_ends=token_ends,
        specials=(tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id),
        blank=blank[numbers] if blank.any() else None,
    )
