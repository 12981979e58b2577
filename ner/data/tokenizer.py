"""Tokens to pieces with BERT's normalisation and WordPiece, computed once for each distinct token.

The `tokenizers` library does the work.  A normalisation that is only almost the same (accents, full-width
forms, control characters, CJK ranges) would give a published encoder pieces it was not trained on.
"""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer as _Pipeline
from tokenizers import models, normalizers, pre_tokenizers, trainers

from ner.errors import DataError
from ner.files import read_json, read_text

PAD, UNK, CLS, SEP, MASK, SPACE = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"


class Normalisation(NamedTuple):
    """The switches of BERT's normaliser, under their published names."""

    do_lower_case: bool = True
    strip_accents: bool | None = None  # None: with do_lower_case, as BERT does
    tokenize_chinese_chars: bool = True

    def build(self) -> normalizers.Normalizer:
        return normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=self.tokenize_chinese_chars,
            strip_accents=self.strip_accents,
            lowercase=self.do_lower_case,
        )


class WordPiece:
    """A WordPiece vocabulary and its normalisation.

    Every token gets at least one piece.  A token that normalisation removes (zero-width, private use,
    U+FFFD) becomes `[UNK]`; white space becomes `[unused1]` if the vocabulary has it.  Text that spells a
    special piece, such as "[SEP]", is ordinary text.  Composed and decomposed letters have the same pieces.
    ValueError if a special piece is missing.
    """

    def __init__(self, vocabulary: Sequence[str], normalisation: Normalisation = Normalisation()):  # noqa: B008
        self.vocabulary = tuple(vocabulary)
        self.normalisation = normalisation
        self.index = {piece: number for number, piece in enumerate(self.vocabulary)}
        missing = [piece for piece in (PAD, UNK, CLS, SEP) if piece not in self.index]
        if missing:
            raise ValueError(f"vocabulary without {', '.join(missing)}, expected a BERT WordPiece vocabulary")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = (self.index[p] for p in (PAD, UNK, CLS, SEP))
        model = models.WordPiece(dict(self.index), unk_token=UNK, max_input_chars_per_word=100)
        self._pipeline = _Pipeline(model)
        self._pipeline.normalizer = normalisation.build()
        self._pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._cache: dict[str, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def sha256(self) -> str:
        """Hex digest of the vocabulary and the switches; equal tokenizers have equal digests."""
        return hashlib.sha256(repr((self.vocabulary, self.normalisation)).encode()).hexdigest()

    def pieces(self, token: str) -> tuple[int, ...]:
        """Piece ids of one token, at least one."""
        if token not in self._cache:
            ids = self._pipeline.encode(composed(token), add_special_tokens=False).ids
            unreadable = self.index.get(SPACE, self.unk_id) if token.isspace() else self.unk_id
            self._cache[token] = tuple(ids or [unreadable])
        return self._cache[token]

    def save(self, model_dir: str | Path) -> None:
        """Writes `vocab.txt` and `tokenizer_config.json` as in a published BERT directory."""
        model_dir = Path(model_dir)
        text = "".join(f"{piece}\n" for piece in self.vocabulary)
        (model_dir / "vocab.txt").write_text(text, encoding="utf-8", newline="\n")
        values = {"tokenizer_class": "BertTokenizer", **self.normalisation._asdict()}
        path = model_dir / "tokenizer_config.json"
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def composed(token: str) -> str:
    """The token with its letters and marks composed (NFC), as BERT's original tokenizer reads them.

    A token of which only single characters would change, such as compatibility ideographs, stays as it is:
    the fast tokenizers of published models keep these.
    """
    if token.isascii():
        return token
    text = unicodedata.normalize("NFC", token)
    return text if len(text) != len(token) or any(map(unicodedata.combining, token)) else token


def load_tokenizer(model_dir: str | Path) -> WordPiece:
    """The tokenizer of a published or saved model directory.

    Reads the pieces from `vocab.txt`, or from a WordPiece `tokenizer.json`; each switch from
    `tokenizer_config.json`, else from `tokenizer.json`, else BERT's default.  DataError if a file is
    malformed or no vocabulary is found.
    """
    model_dir = Path(model_dir)
    vocab, fast, config = (model_dir / n for n in ("vocab.txt", "tokenizer.json", "tokenizer_config.json"))
    if not vocab.exists() and not fast.exists():
        other = (model_dir / "spiece.model").exists()
        expected = "a WordPiece vocabulary: spiece.model is not read" if other else "a BERT model directory"
        raise DataError(f"{model_dir}: no vocab.txt and no tokenizer.json, expected {expected}")
    published = read_json(fast) if fast.exists() else {}
    switches = _fast_switches(published) | (read_json(config) if config.exists() else {})
    switches = {name: switches[name] for name in Normalisation._fields if switches.get(name) is not None}
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise DataError(f"{model_dir}: {name}: got {value!r:.40}, expected true or false")
    normalisation = Normalisation(**switches)
    pieces = _read_vocabulary(vocab) if vocab.exists() else _fast_vocabulary(published, fast)
    try:
        return WordPiece(pieces, normalisation)
    except ValueError as error:
        raise DataError(f"{vocab if vocab.exists() else fast}: {error}") from None


def _read_vocabulary(path: Path) -> list[str]:
    pieces = [line.removesuffix("\r") for line in read_text(path).removesuffix("\n").split("\n")]
    first = {}
    for number, piece in enumerate(pieces, start=1):
        if first.setdefault(piece, number) != number:
            raise DataError(f"{path}:{number}: piece {piece!r} again, first in line {first[piece]}")
    return pieces


def _fast_switches(published: dict) -> dict:
    normalizer = published.get("normalizer")
    if not isinstance(normalizer, dict) or normalizer.get("type") != "BertNormalizer":
        return {}
    return {
        "do_lower_case": normalizer.get("lowercase"),
        "strip_accents": normalizer.get("strip_accents"),
        "tokenize_chinese_chars": normalizer.get("handle_chinese_chars"),
    }


def _fast_vocabulary(published: dict, path: Path) -> list[str]:
    model = published.get("model")
    kind = model.get("type", "WordPiece") if isinstance(model, dict) else None
    vocabulary = model.get("vocab") if kind == "WordPiece" else None
    if not isinstance(vocabulary, dict):
        raise DataError(f"{path}: model type {kind!r}, expected a WordPiece vocabulary")
    numbers = vocabulary.values()
    pieces = sorted(vocabulary, key=vocabulary.get) if all(type(n) is int for n in numbers) else []
    if not pieces or [vocabulary[piece] for piece in pieces] != list(range(len(pieces))):
        raise DataError(f"{path}: piece numbers with gaps, expected 0 to {len(pieces) - 1}")
    return pieces


def learn_vocabulary(tokens: Iterable[str], size: int = 21128, normalisation=Normalisation()) -> WordPiece:  # noqa: B008
    """Learns a WordPiece vocabulary of at most `size` pieces; the result depends only on the tokens.

    Characters seen only once are left out, so that `[UNK]` occurs in training.
    """
    normalise, cut = normalisation.build(), pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for token, count in Counter(tokens).items():
        for word, _ in cut.pre_tokenize_str(normalise.normalize_str(composed(token))):
            words[word] += count
    specials = [PAD, UNK, CLS, SEP, MASK, SPACE]
    letters = _letters(words, size - len(specials))
    # a word with any other letter becomes `[UNK]` as a whole, so nothing can be learned from it
    known = set(letters)
    words = {word: n for word, n in words.items() if known.issuperset(_spelling(word))}
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        # the trainer would number the letters in the order of a hash table; listing them fixes the order
        special_tokens=[*specials, *letters],
        show_progress=False,
    )
    learner = _Pipeline(models.WordPiece(unk_token=UNK))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    learner.train_from_iterator(_repeat(words), trainer)
    vocabulary = learner.get_vocab()
    return WordPiece(sorted(vocabulary, key=vocabulary.get), normalisation)


def _letters(words: Counter[str], n_most: int) -> list[str]:
    """The `n_most` most frequent pieces of one character, first those that begin a word."""
    characters: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    for word, count in words.items():
        for character in word:
            characters[character] += count
        for piece in _spelling(word)[1:]:
            inside[piece] += count
    counts = {c: n for c, n in characters.items() if n > 1}
    counts |= {piece: n for piece, n in inside.items() if piece[2:] in counts}
    kept = sorted(counts, key=lambda piece: (-counts[piece], piece))[: max(0, n_most)]
    return sorted(kept, key=lambda piece: (len(piece) > 1, piece))


def _spelling(word: str) -> list[str]:
    return [word[0], *(f"##{character}" for character in word[1:])]


def _repeat(words: dict[str, int]) -> Iterable[str]:
    """Each word as often as it was seen, in sorted order, up to 1,000 times a line."""
    for word, count in sorted(words.items()):
        for n_before in range(0, count, 1000):
            yield " ".join([word] * min(count - n_before, 1000))
