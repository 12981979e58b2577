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

from tokenizers import AddedToken, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as _Pipeline

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


class Added(NamedTuple):
    """A piece that was added to a finished vocabulary: text is searched for it first.  Published names."""

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool = True
    special: bool = False


class WordPiece:
    """A WordPiece vocabulary and its normalisation.

    Of equal pieces the last one counts.  Pieces of `added` that the vocabulary lacks are numbered after it.

    Every token gets at least one piece.  A token that normalisation removes (zero-width, private use,
    U+FFFD) becomes `[UNK]`; white space becomes `[unused1]` if the vocabulary has it.  Text that spells a
    special piece, such as "[SEP]", is ordinary text.  Composed and decomposed letters have the same pieces.
    ValueError if a special piece is missing.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        normalisation: Normalisation = Normalisation(),  # noqa: B008
        added: Sequence[Added] = (),
    ):
        known = {piece: number for number, piece in enumerate(vocabulary)}
        self.vocabulary = (*vocabulary, *(one.content for one in added if one.content not in known))
        self.normalisation, self.added, self._n_learned = normalisation, tuple(added), len(vocabulary)
        self.index = {piece: number for number, piece in enumerate(self.vocabulary)}
        missing = [piece for piece in (PAD, UNK, CLS, SEP) if piece not in self.index]
        if missing:
            raise ValueError(f"vocabulary without {', '.join(missing)}, expected a BERT WordPiece vocabulary")
        self.pad_id, self.unk_id, self.cls_id, self.sep_id = (self.index[p] for p in (PAD, UNK, CLS, SEP))
        # a name that no text has for each overruled piece: the pipeline numbers added pieces after the others
        table = {piece if known[piece] == n else f"\0{n}": n for n, piece in enumerate(vocabulary)}
        model = models.WordPiece(table, unk_token=UNK, max_input_chars_per_word=100)
        self._pipeline = _Pipeline(model)
        self._pipeline.normalizer = normalisation.build()
        self._pipeline.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._pipeline.add_tokens([AddedToken(**one._asdict()) for one in added])
        self._cache: dict[str, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return len(self.vocabulary)

    @property
    def sha256(self) -> str:
        """Hex digest of the vocabulary and the switches; equal tokenizers have equal digests."""
        facts = (self.vocabulary, self.normalisation, *([self.added] if self.added else []))
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    @property
    def notes(self) -> list[str]:
        """Lines for people about equal pieces and added ones."""
        counts = Counter(self.vocabulary[: self._n_learned])
        twice = [piece for piece, count in counts.items() if count > 1]
        notes = []
        if twice:
            notes.append(f"pieces on several lines of the vocabulary: {_some(twice)}; the last line counts")
        if self.added:
            notes.append(f"added to the vocabulary: {_some([one.content for one in self.added])}")
        return notes

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
        text = "".join(f"{piece}\n" for piece in self.vocabulary[: self._n_learned])
        (model_dir / "vocab.txt").write_text(text, encoding="utf-8", newline="\n")
        values: dict = {"tokenizer_class": "BertTokenizer", **self.normalisation._asdict()}
        if self.added:
            values["added_tokens_decoder"] = {
                str(self.index[one.content]): one._asdict() for one in self.added
            }
        path = model_dir / "tokenizer_config.json"
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"{name!r:.40}" for name in names[:3]) + more


def composed(token: str) -> str:
    """The token with its letters and marks composed (NFC), as BERT's original tokenizer reads them.

    A token of which only single characters would change, such as compatibility ideographs, stays as it is:
    the fast tokenizers of published models keep these.
    """
    if token.isascii():
        return token
    text = unicodedata.normalize("NFC", token)
    return text if len(text) != len(token) or any(map(unicodedata.combining, token)) else token


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
    # each word as often as it was seen, up to 1,000 times a line
    parts = ((word, min(n - i, 1000)) for word, n in sorted(words.items()) for i in range(0, n, 1000))
    learner.train_from_iterator((" ".join([word] * n) for word, n in parts), trainer)
    vocabulary = learner.get_vocab()
    return WordPiece(sorted(vocabulary, key=vocabulary.get), normalisation)


def _letters(words: Counter[str], n_most: int) -> list[str]:
    """The `n_most` most frequent pieces of one character, first those that begin a word."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for piece in (*word, *_spelling(word)[1:]):
            counts[piece] += count
    counts = {piece: n for piece, n in counts.items() if counts[piece[-1]] > 1}
    kept = sorted(counts, key=lambda piece: (-counts[piece], piece))[: max(0, n_most)]
    return sorted(kept, key=lambda piece: (len(piece) > 1, piece))


def _spelling(word: str) -> list[str]:
    return [word[0], *(f"##{character}" for character in word[1:])]
