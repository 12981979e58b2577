"""The classic character encoder: embeddings of characters and character bigrams under a BiLSTM."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ner.layers.bilstm import BiLstmLayer

UNUSED = torch.iinfo(torch.int64).max  # sorts behind every bigram


@dataclass(frozen=True)
class LstmConfig:
    hidden_size: int = 512  # of both directions together
    num_hidden_layers: int = 2
    embedding_size: int = 100  # of a character
    bigram_size: int = 50  # of a bigram; two of them stand beside each character
    max_bigrams: int = 100_000  # the most frequent in the training text; 0: none
    piece_dropout_prob: float = 0.2  # of each whole vector, a character's or a bigram's
    embedding_dropout_prob: float = 0.3
    hidden_dropout_prob: float = 0.3
    character_vectors: str | None = None  # word2vec text files, read when training begins
    bigram_vectors: str | None = None

    def __post_init__(self):
        for name in ("hidden_size", "num_hidden_layers", "embedding_size", "bigram_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}, expected at least 1")
        if self.hidden_size % 2:
            raise ValueError(f"hidden_size {self.hidden_size}, expected an even number: two directions")
        if self.max_bigrams < 0:
            raise ValueError(f"max_bigrams {self.max_bigrams}, expected 0 or more")
        for name in ("piece_dropout_prob", "embedding_dropout_prob", "hidden_dropout_prob"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)}, expected 0 <= p < 1")


class BigramEmbedding(nn.Module):
    """Vectors of the bigrams of a known list; an unknown bigram is the zero vector.

    `keys` is sorted, so a bigram is found by binary search: no hash, no collision.
    """

    def __init__(self, n_bigrams: int, size: int, vocab_size: int):
        super().__init__()
        self.vocab_size = vocab_size
        self.register_buffer("keys", torch.full((n_bigrams,), UNUSED))
        self.vectors = nn.Embedding(n_bigrams + 1, size, padding_idx=0)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        """first, second (R, P) int64 piece ids -> (R, P, size)."""
        return self.vectors(self.rows(first * self.vocab_size + second))

    def rows(self, wanted: torch.Tensor) -> torch.Tensor:
        """Rows of `vectors` for bigram keys, 0 for an unknown one."""
        place = torch.searchsorted(self.keys, wanted).clamp_max(len(self.keys) - 1)
        return torch.where(self.keys[place] == wanted, place + 1, 0)


class LockedDropout(nn.Module):
    """Dropout of the same numbers at every piece of a row (Gal and Ghahramani, 2016)."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x (R, P, H) -> the same shape."""
        keep = nn.functional.dropout(x.new_ones(len(x), 1, x.shape[2]), self.p, self.training)
        return x * keep


class Lstm(nn.Module):
    """`forward` as every encoder's; `prepare` learns the list of bigrams and reads vectors."""

    Config = LstmConfig
    file_prefix = "lstm"

    def __init__(self, config: LstmConfig, *, vocab_size: int):
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.width = config.hidden_size
        self.n_layers = config.num_hidden_layers
        self.characters = nn.Embedding(vocab_size, config.embedding_size)
        self.bigrams = None
        if config.max_bigrams:
            self.bigrams = BigramEmbedding(config.max_bigrams, config.bigram_size, vocab_size)
        width = config.embedding_size + (2 * config.bigram_size if config.max_bigrams else 0)
        widths = [width] + [config.hidden_size] * config.num_hidden_layers
        self.layers = nn.ModuleList(BiLstmLayer(a, b) for a, b in pairwise(widths))
        self.embedding_dropout = LockedDropout(config.embedding_dropout_prob)
        self.dropout = LockedDropout(config.hidden_dropout_prob)
        self._initialise()

    def _initialise(self) -> None:
        """Embeddings as word2vec's of the same size; orthogonal recurrences; forget gates open by 1."""
        nn.init.uniform_(self.characters.weight, -0.5, 0.5)
        if self.bigrams is not None:
            nn.init.normal_(self.bigrams.vectors.weight, std=0.05)
            nn.init.zeros_(self.bigrams.vectors.weight[0])
        for name, parameter in self.layers.named_parameters():
            if "weight_hh" in name:
                for gate in parameter.data.chunk(4):
                    nn.init.orthogonal_(gate)
            elif "weight_ih" in name:
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)
                if "bias_ih" in name:
                    n_units = len(parameter) // 4
                    nn.init.ones_(parameter.data[n_units : 2 * n_units])

    def forward(
        self,
        piece_ids: torch.Tensor,
        piece_mask: torch.Tensor,
        segment_ids: torch.Tensor | None = None,
        *,
        layers: bool = False,
    ):
        """Hidden states of rows of pieces.

        piece_ids (R, P) int64; piece_mask (R, P) bool, True = real, contiguous from 0; segment_ids are
        accepted as every encoder does, and not used.  Returns (R, P, H) float, or with `layers` the tuple
        of the embeddings (R, P, I) and every layer's output.  Padding holds anything finite.
        """
        embedded = [self.characters(piece_ids)]
        if self.bigrams is not None:
            # the last piece and the padding behind it are no bigram
            pairs = self.bigrams(piece_ids[:, :-1], piece_ids[:, 1:]) * piece_mask[:, 1:, None]
            embedded += [nn.functional.pad(pairs, (0, 0, 1, 0)), nn.functional.pad(pairs, (0, 0, 0, 1))]
        states = [self.embedding_dropout(torch.cat([self._hide(part) for part in embedded], dim=2))]
        places = torch.arange(piece_ids.shape[1], device=piece_ids.device)
        reversal = torch.where(piece_mask, piece_mask.sum(dim=1, keepdim=True) - 1 - places, places)
        for layer in self.layers:
            states.append(self.dropout(layer(states[-1], reversal)))
        return tuple(states) if layers else states[-1]

    def _hide(self, vectors: torch.Tensor) -> torch.Tensor:
        """Drops whole vectors (R, P, size), so that characters and bigrams learn to do without each other."""
        kept = vectors.new_ones(*vectors.shape[:2], 1)
        return vectors * nn.functional.dropout(kept, self.config.piece_dropout_prob, self.training)

    def depth_of(self, parameter_name: str) -> int:
        """0 for embeddings, i + 1 for layer i."""
        head, _, rest = parameter_name.partition(".")
        return int(rest.partition(".")[0]) + 1 if head == "layers" else 0

    @torch.no_grad()
    def prepare(self, tokenizer, pieces: np.ndarray) -> list[str]:
        """Learns the bigrams of a training text and reads the vector files that the config names.

        pieces: int, all piece ids of the text end to end.  Returns what was done, in words, for the log.
        """
        report = []
        if self.config.character_vectors:
            report.append(self._read_character_vectors(tokenizer))
        if self.bigrams is not None:
            report.append(self._learn_bigrams(tokenizer, pieces))
        return report

    def _read_character_vectors(self, tokenizer) -> str:
        n_found = 0
        for token, vector in read_vectors(self.config.character_vectors, self.config.embedding_size):
            ids = tokenizer.pieces(token)
            if len(ids) == 1 and ids[0] not in (tokenizer.pad_id, tokenizer.unk_id):
                self.characters.weight[ids[0]] = torch.from_numpy(vector)
                n_found += 1
        return f"{n_found} character vectors from {self.config.character_vectors}"

    def _learn_bigrams(self, tokenizer, pieces: np.ndarray) -> str:
        vocab_size, capacity = self.bigrams.vocab_size, self.config.max_bigrams
        keys, counts = np.unique(pieces[:-1].astype(np.int64) * vocab_size + pieces[1:], return_counts=True)
        # a bigram seen once teaches its vector nothing that the characters do not say
        keys = keys[np.argsort(-counts, kind="stable")][: min(capacity, int((counts > 1).sum()))]
        vectors: dict[int, np.ndarray] = {}
        if self.config.bigram_vectors:
            for token, vector in read_vectors(self.config.bigram_vectors, self.config.bigram_size):
                ids = tokenizer.pieces(token)
                if len(ids) == 2 and tokenizer.unk_id not in ids:
                    vectors[ids[0] * vocab_size + ids[1]] = vector
            room = capacity - len(keys)
            known = set(keys.tolist())
            keys = np.concatenate([keys, [k for k in vectors if k not in known][:room]]).astype(np.int64)
        keys = np.sort(keys)
        self.bigrams.keys.fill_(UNUSED)
        self.bigrams.keys[: len(keys)] = torch.from_numpy(keys)
        n_found = 0
        for row, key in enumerate(keys.tolist(), start=1):
            if key in vectors:
                self.bigrams.vectors.weight[row] = torch.from_numpy(vectors[key])
                n_found += 1
        words = f"{len(keys)} bigrams"
        return f"{words}, {n_found} with vectors from {self.config.bigram_vectors}" if vectors else words


def read_vectors(path: str | Path, size: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yields (token, vector (size,) float32) from a word2vec text file, header or none.

    ValueError `file:line: ...` where a line is not UTF-8, a vector has another size or is not made of
    numbers.
    """
    try:
        file = Path(path).open("rb")  # noqa: SIM115
    except OSError as error:
        raise ValueError(f"{path}: vectors cannot be read, {error.strerror}") from None
    with file:
        for number, data in enumerate(file, start=1):
            try:
                line = data.decode("utf-8")
            except UnicodeDecodeError:
                raise ValueError(f"{path}:{number}: not utf-8, got {data[:20]!r}") from None
            token, *values = line.rstrip("\r\n ").split(" ")
            if number == 1 and len(values) == 1:
                continue
            try:
                vector = np.array(values, dtype=np.float32)
            except ValueError:
                raise ValueError(f"{path}:{number}: not numbers, got {line[:40]!r}") from None
            if len(vector) != size:
                raise ValueError(f"{path}:{number}: {len(vector)} numbers, expected {size}")
            yield token, vector
