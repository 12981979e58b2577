"""The classic character encoder: embeddings of characters and character bigrams under a BiLSTM.

The baseline of most NER papers (Huang, Xu and Yu, 2015; bigrams for Chinese: Chen et al., 2015).
A "character" here is a piece, so it encodes words too.
Axes: R rows, P pieces, I width of all embeddings of a piece, H hidden width.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ner.config import option, require
from ner.data.tokenizer import WordPiece
from ner.encoders.base import DROPOUT, SIZE, Encoder, EncoderConfig
from ner.errors import DataError
from ner.files import numbered_lines
from ner.layers.bilstm import BiLstmLayer, reversal
from ner.runtime.logs import log

UNUSED = torch.iinfo(torch.int64).max  # sorts after every bigram


@dataclass(frozen=True, kw_only=True)
class LstmConfig(EncoderConfig):
    """The options of the BiLSTM encoder."""

    hidden_size: int = option(512, **SIZE)
    "H, both directions together; an even number"
    num_hidden_layers: int = option(2, **SIZE)
    embedding_size: int = option(100, **SIZE)
    "width of a character's vector"
    bigram_size: int = option(50, **SIZE)
    "width of a bigram's vector; each character gets two: with its left and with its right neighbour"
    max_bigrams: int = option(100_000, low=0, high=SIZE["high"])
    "bigrams that have a vector, the most frequent of the training text; 0: none"
    piece_dropout_prob: float = option(0.2, **DROPOUT)
    "share of whole vectors, a character's or a bigram's, set to 0 in training"
    embedding_dropout_prob: float = option(0.3, **DROPOUT)
    "share of the numbers of all embeddings set to 0 in training, the same at every piece of a row"
    hidden_dropout_prob: float = option(0.3, **DROPOUT)
    "the same for the output of each layer"
    character_vectors: str | None = None
    "word2vec text file, read before training begins"
    bigram_vectors: str | None = None
    "word2vec text file, read before training begins"

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.hidden_size
        require(size % 2 == 0, "hidden_size", size, "an even number: two directions")

    @property
    def input_width(self) -> int:
        """I: a character's vector and those of its two bigrams."""
        return self.embedding_size + (2 * self.bigram_size if self.max_bigrams else 0)

    def n_numbers(self, vocab_size: int) -> int:
        # each direction of a layer: four gates with input weights, recurrent weights and two biases
        n_units, n_layers = self.hidden_size // 2, self.num_hidden_layers
        inputs = self.input_width + (n_layers - 1) * self.hidden_size
        layers = 2 * 4 * n_units * (inputs + n_layers * (n_units + 2))
        keys_and_vectors = self.max_bigrams + (self.max_bigrams + 1) * self.bigram_size
        return vocab_size * self.embedding_size + layers + (keys_and_vectors if self.max_bigrams else 0)


class BigramEmbedding(nn.Module):
    """A vector for each bigram of a list; any other bigram gets the zero vector.

    `keys` (n_bigrams,) int64 is sorted, and a binary search finds a bigram: no hash, so no collisions.
    """

    def __init__(self, n_bigrams: int, size: int, vocab_size: int):
        super().__init__()
        self.vocab_size = vocab_size
        self.register_buffer("keys", torch.full((n_bigrams,), UNUSED))
        self.vectors = nn.Embedding(n_bigrams + 1, size, padding_idx=0)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Piece ids first, second (R, P) int64 -> (R, P, size)."""
        bigrams = first * self.vocab_size + second
        place = torch.searchsorted(self.keys, bigrams).clamp_max(len(self.keys) - 1)
        return self.vectors(torch.where(self.keys[place] == bigrams, place + 1, 0))


class SharedDropout(nn.Dropout):
    """Dropout of (R, P, H) that makes one choice for all places along an axis.

    Along P it sets the same numbers to 0 at every piece of a row (Gal and Ghahramani, 2016).  Along H it sets
    whole vectors to 0, so that neither kind of embedding relies on the other.
    """

    def __init__(self, p: float, *, along: int):
        super().__init__(p)
        self.along = along

    def forward(self, x: Tensor) -> Tensor:
        return x * super().forward(torch.ones_like(x.narrow(self.along, 0, 1)))


class Lstm(Encoder):
    """`prepare` learns the list of bigrams and reads the vector files that the config names."""

    Config = LstmConfig
    file_prefix = "lstm"

    def __init__(self, config: LstmConfig, *, vocab_size: int):
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        self.width, self.n_layers = config.hidden_size, config.num_hidden_layers
        self.characters = nn.Embedding(vocab_size, config.embedding_size)
        self.bigrams = None
        if config.max_bigrams:
            self.bigrams = BigramEmbedding(config.max_bigrams, config.bigram_size, vocab_size)
        widths = [config.input_width] + [config.hidden_size] * config.num_hidden_layers
        self.layers = nn.ModuleList(BiLstmLayer(a, b) for a, b in pairwise(widths))
        self.vector_dropout = SharedDropout(config.piece_dropout_prob, along=2)
        self.embedding_dropout = SharedDropout(config.embedding_dropout_prob, along=1)
        self.dropout = SharedDropout(config.hidden_dropout_prob, along=1)
        self._initialise()

    def _initialise(self) -> None:
        """Character vectors in the range of word2vec's; orthogonal recurrences; forget biases of 1."""
        nn.init.uniform_(self.characters.weight, -0.5, 0.5)
        if self.bigrams is not None:
            nn.init.normal_(self.bigrams.vectors.weight, std=0.05)
            nn.init.zeros_(self.bigrams.vectors.weight[0])
        for layer in self.layers:
            for lstm in (layer.forwards, layer.backwards):
                nn.init.xavier_uniform_(lstm.weight_ih_l0)
                for gate in lstm.weight_hh_l0.data.chunk(4):
                    nn.init.orthogonal_(gate)
                nn.init.zeros_(lstm.bias_ih_l0)
                nn.init.zeros_(lstm.bias_hh_l0)
                nn.init.ones_(lstm.bias_ih_l0.data.chunk(4)[1])  # the second gate of four

    def forward(self, piece_ids, piece_mask, segment_ids=None, *, layers=False):
        """As `Encoder.forward`; `segment_ids` are ignored.  The embeddings are (R, P, I)."""
        embedded = [self.characters(piece_ids)]
        if self.bigrams is not None:
            # (R, P - 1, size); the last piece and the padding after it are no bigram
            pairs = self.bigrams(piece_ids[:, :-1], piece_ids[:, 1:]) * piece_mask[:, 1:, None]
            embedded += [nn.functional.pad(pairs, (0, 0, 1, 0)), nn.functional.pad(pairs, (0, 0, 0, 1))]
        states = [self.embedding_dropout(torch.cat([self.vector_dropout(part) for part in embedded], dim=2))]
        backwards = reversal(piece_mask)
        for layer in self.layers:
            states.append(self.dropout(layer(states[-1], backwards)))
        return tuple(states) if layers else states[-1]

    @property
    def word_embeddings(self) -> nn.Embedding:
        return self.characters

    def depth_of(self, parameter_name: str) -> int:
        head, _, rest = parameter_name.partition(".")
        return int(rest.partition(".")[0]) + 1 if head == "layers" else 0

    @torch.no_grad()
    def prepare(self, tokenizer: WordPiece, pieces: np.ndarray) -> None:
        if path := self.config.character_vectors:
            n_found = 0
            for token, vector in read_vectors(path, self.config.embedding_size):
                ids = tokenizer.pieces(token)
                if len(ids) == 1 and ids[0] not in (tokenizer.pad_id, tokenizer.unk_id):
                    self.characters.weight[ids[0]] = torch.from_numpy(vector)
                    n_found += 1
            log.info(f"{n_found} character vectors from {path}")
        if self.bigrams is not None:
            self._learn_bigrams(tokenizer, pieces)

    def _learn_bigrams(self, tokenizer: WordPiece, pieces: np.ndarray) -> None:
        vocab_size, capacity = self.bigrams.vocab_size, self.config.max_bigrams
        keys, counts = np.unique(pieces[:-1].astype(np.int64) * vocab_size + pieces[1:], return_counts=True)
        # the vector of a bigram that occurs once would only repeat what the two characters' vectors say
        keys = keys[np.argsort(-counts, kind="stable")][: min(capacity, int((counts > 1).sum()))]
        vectors: dict[int, np.ndarray] = {}
        if self.config.bigram_vectors:
            for token, vector in read_vectors(self.config.bigram_vectors, self.config.bigram_size):
                ids = tokenizer.pieces(token)
                if len(ids) == 2 and tokenizer.unk_id not in ids:
                    vectors[ids[0] * vocab_size + ids[1]] = vector
            known = set(keys.tolist())
            more = [key for key in vectors if key not in known][: capacity - len(keys)]
            keys = np.concatenate([keys, more]).astype(np.int64)
        keys = np.sort(keys)
        self.bigrams.keys.fill_(UNUSED)
        self.bigrams.keys[: len(keys)] = torch.from_numpy(keys)
        rows = {row: vectors[key] for row, key in enumerate(keys.tolist(), start=1) if key in vectors}
        for row, vector in rows.items():
            self.bigrams.vectors.weight[row] = torch.from_numpy(vector)
        found = f", {len(rows)} with vectors from {self.config.bigram_vectors}" if vectors else ""
        log.info(f"{len(keys)} bigrams{found}")


def read_vectors(path: str, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (token, vector (size,) float32) from a word2vec text file, with or without a header.

    DataError as for `numbered_lines`, or `file:line: ...` if a vector has another size or is not numbers.
    """
    for number, line in numbered_lines(path):
        token, *values = line.rstrip("\r\n ").split(" ")
        if number == 1 and len(values) == 1:
            continue
        try:
            vector = np.array(values, dtype=np.float32)
        except ValueError:
            raise DataError(f"{path}:{number}: not numbers, got {line[:40]!r}") from None
        if len(vector) != size:
            raise DataError(f"{path}:{number}: {len(vector)} numbers, expected {size}")
        yield token, vector
