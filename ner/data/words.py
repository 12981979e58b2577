"""Splits raw text into tokens with code-point offsets, as the model's training data was split."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from ner.data.sentence import Sentence
from ner.data.word_rules import HAN, WordRules, hide_marks, pattern_of

# Words of English and similar languages: numbers and dates, initials, abbreviations; clitics are separated
# from their word as in treebanks, hyphenated words stay whole.  Chinese and Japanese: one character each.
# Middle dots, and quotes between Hebrew letters, are parts of words (Unicode Standard Annex 29, WB6 to WB7c).
_HAN = f"[{HAN}]"
_WORD = re.compile(
    rf"""
      \d+(?:[.,:/-]\d+)*%?                    # 1,200.50  1996-08-22  12:30
    | (?:[^\W\d_]\.){{2,}}                      # U.S.
    | {_HAN}
    | (?:Mr|Mrs|Ms|Dr|St|Jr|Sr|Inc|Corp|Co|Ltd|No)\.
    | ['’](?:s|re|ve|ll|d|m|t)\b              # clitics
    | (?:(?!{_HAN})[^\W_])+
      (?:(?:[-&\u00b7\u05f4\u2027]|(?<=[\u05d0-\u05ea])["'](?=[\u05d0-\u05ea]))(?:(?!{_HAN})[^\W_])+)*
    | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)

_HAN_OR_KANA = re.compile(_HAN)
# Thai, Lao, Burmese, Khmer and Tai: two letters or more, because a run of them may be a whole sentence
_UNSPACED = re.compile(
    r"[\u0e01-\u0e3a\u0e40-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\ua9e0-\ua9ff\uaa60-\uaadf]{2}"
)
UNSPACED = "in Thai, Lao, Burmese or Khmer, whose words have no spaces between them; expected --unit char"

# invisible characters in the Unicode categories of letters and symbols
FILLERS = "\u115f\u1160\u3164\uffa0\u034f\u2800\u17b4\u17b5"


class Token(NamedTuple):
    """`text[start:end]` of the raw text, in code points."""

    start: int
    end: int


def split_words(text: str, unit: str, rules: WordRules | None = None) -> list[Token]:
    """The tokens of a raw text.

    Unit char: every code point is a token, also white space, so that token and character offsets are equal.
    Unit word: words and punctuation marks; white space belongs to no token.  Combining marks and format
    characters belong to the character before them, so composed and decomposed spellings are split alike.
    `rules` were learned from a training set's tokens; None: the rules above.
    """
    if unit == "char":
        return list(map(Token, range(len(text)), range(1, len(text) + 1)))
    seen, places = hide_marks(text)
    matches = (_WORD if rules is None else pattern_of(rules)).finditer(seen)
    return [Token(places[match.start()], places[match.end()]) for match in matches]


def is_unspaced(text: str) -> bool:
    """True if the text has words of a script that puts no space between words: unit word cannot split it."""
    return not text.isascii() and _UNSPACED.search(text) is not None


def is_blank(token: str) -> bool:
    """True if nothing of a token is visible: white space, control and format characters, fillers."""
    if token.isprintable():  # fast, and true of most tokens
        return not token.strip(f" {FILLERS}")
    return all(c.isspace() or c in FILLERS or unicodedata.category(c) in ("Cc", "Cf") for c in token)


def count_blank_ends(sentences: Iterable[Sentence]) -> int:
    """Number of gold entities that begin or end with a blank token, which no model predicts."""
    ends = ((s.tokens[i] for i in (span.start, span.end - 1)) for s in sentences for span in s.spans or ())
    return sum(any(map(is_blank, tokens)) for tokens in ends)


def join_words(tokens: Sequence[str], unit: str) -> tuple[str, list[Token]]:
    """A text with these tokens, without a gap (unit char) or with a space, and the place of each token."""
    gap = "" if unit == "char" else " "
    ends = [end - len(gap) for end in accumulate(len(token) + len(gap) for token in tokens)]
    starts = (end - len(token) for end, token in zip(ends, tokens, strict=True))
    return gap.join(tokens), list(map(Token, starts, ends))


def share_that_comes_back(sentences: Iterable[Sequence[str]], rules: WordRules | None) -> float:
    """The share of tokens that are tokens again after the sentence is joined and split."""
    n_back = n_tokens = 0
    for tokens in sentences:
        text, places = join_words(tokens, "word")
        n_back += len(set(places) & set(split_words(text, "word", rules)))
        n_tokens += len(places)
    return n_back / max(n_tokens, 1)


def guess_unit_of_tokens(sentences: Sequence[Sentence]) -> str:
    """`char` if at least nine tokens in ten are a single code point, else `word`."""
    n_single = sum(len(token) == 1 for sentence in sentences for token in sentence.tokens)
    n_tokens = sum(len(sentence.tokens) for sentence in sentences)
    return "char" if n_single >= 0.9 * n_tokens else "word"


def guess_unit_of_vocabulary(pieces: Sequence[str]) -> str:
    """`char` if at least a fifth of the vocabulary is single Chinese characters, else `word`."""
    n_chinese = sum(len(piece) == 1 and "\u4e00" <= piece <= "\u9fff" for piece in pieces)
    return "char" if 5 * n_chinese >= len(pieces) else "word"


def guess_unit_of_texts(texts: Iterable[str]) -> str:
    """`char` if more than half of the words of the texts are Chinese characters or kana, else `word`."""
    n_characters = n_words = 0
    for text in texts:
        words = [text[start:end] for start, end in split_words(text, "word")]
        n_words += sum(word[0].isalnum() for word in words)
        n_characters += sum(_HAN_OR_KANA.match(word) is not None for word in words)
    return "char" if 2 * n_characters > n_words else "word"
