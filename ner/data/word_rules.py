"""Rules that cut raw text into words as the tokens of a training set were cut, learned from these tokens.

Tokens do not say where the text had spaces.  What stands inside tokens does, and so do neighbours that would
be one token if they were joined.  The rules know characters by their kind: `a` a letter, `0` a digit, and a
mark as itself.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from ner.errors import DataError

HAN = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Chinese and Japanese
# joined unless train has them apart, and cut off unless train has them whole
JOINS = ("0.0", "0,0", "0:0", "0/0", "0-0", "a-a", "a-0", "0-a", "a&a", "a.a", "a'a", "0%")
CLITICS = ("'s", "'re", "'ve", "'ll", "'d", "'m", "n't")
ABBREVIATIONS = ("Mr.", "Mrs.", "Ms.", "Dr.", "St.", "Jr.", "Sr.", "Inc.", "Corp.", "Co.", "Ltd.", "No.")
# a space may stand between neighbours in a text, never inside a token, so few tokens outweigh many neighbours
MIN_SHARE, MIN_COUNT = 0.05, 4
MAX_WHOLE = 200
_KINDS = {"a": rf"[^\W\d_{HAN}]", "0": r"\d", "'": "['’]"}
_WORD_END, _WORD_START = r"(?![^\W_])", r"(?<![^\W_])"


class WordRules(NamedTuple):
    """How a text is cut; the order has no effect."""

    joins: tuple[str, ...]
    "kinds of neighbours in one token: two, or three for a mark between letters or digits, such as a'a"
    clitics: tuple[str, ...]
    "lower-case tokens cut off the word before them, as 's and n't, or after them, as l'"
    whole: tuple[str, ...]
    "tokens that the rules above would cut, such as Inc."

    def describe(self) -> str:
        clitics = f", cuts off {' '.join(self.clitics)}" if self.clitics else ""
        whole = f", keeps {len(self.whole)} others such as {self.whole[0]} whole" if self.whole else ""
        return f"joins {' '.join(self.joins) or 'nothing'}{clitics}{whole}"


def read_rules(values: object, where: str) -> WordRules | None:
    """The rules in dataset.json or config.json; None: there are none.  DataError if they are malformed."""
    if values is None:
        return None
    fields = [values.get(name) for name in WordRules._fields] if isinstance(values, dict) else [None]
    if not all(isinstance(f, list) and all(isinstance(x, str) and x for x in f) for f in fields):
        raise DataError(f"{where}: words: got {values!r:.60}, expected lists {', '.join(WordRules._fields)}")
    return WordRules(*map(tuple, fields))


def hide_marks(text: str) -> tuple[str, Sequence[int]]:
    """The text without combining marks and format characters that follow another character, and places.

    `places[i]` is the index in the text of character i of the result; the last is the length of the text.
    Unicode Standard Annex 29, WB4: rules of words do not see these characters.  U+200B separates words.
    """
    if text.isascii():
        return text, range(len(text) + 1)
    places = [i for i, character in enumerate(text) if not (i and _extends(character, text[i - 1]))]
    return "".join(map(text.__getitem__, places)), [*places, len(text)]


def _extends(character: str, before: str) -> bool:
    is_part = unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf") and character != "\u200b"
    return is_part and not before.isspace() and before != "\u200b"


@lru_cache(maxsize=16)
def pattern_of(rules: WordRules) -> re.Pattern:
    """Matches each token of a text without marks."""
    follow = [_quote(c) for c in rules.clitics if not c.endswith("'")]
    lead = [_quote(c) for c in rules.clitics if c.endswith("'")]
    clitic = rf"(?:{'|'.join(follow)}){_WORD_END}"
    inner = "".join(rf"(?!{_quote(c)}{_WORD_END})" for c in rules.clitics if c[0] != "'" and c[-1] != "'")
    run = rf"(?:(?:{inner}{_KINDS['a']})+|\d+|\S)"
    between = "|".join(map(_join, ["a0", *rules.joins]))
    stop = f"(?!{clitic})" if follow else ""
    words = [rf"{run}(?:(?:{between}){stop}{run})*"]
    if lead:
        words.insert(0, rf"{_WORD_START}(?:{'|'.join(lead)})(?=[^\W_])")
    if follow:
        words.insert(0, clitic)
    if "a.a" in rules.joins:
        words.insert(0, rf"(?:[^\W\d_]\.){{2,}}{_WORD_END}")  # U.S.
    if rules.whole:
        whole = "|".join(map(re.escape, sorted(rules.whole, key=len, reverse=True)))
        words.insert(0, rf"{_WORD_START}(?:{whole}){_WORD_END}")
    return re.compile("|".join(words))


def _quote(clitic: str) -> str:
    return "(?i:" + "".join(_KINDS["'"] if c == "'" else re.escape(c) for c in clitic) + ")"


def _join(kinds: str) -> str:
    """A pattern, of no width, of the place between two characters that belong to one token."""
    before, *mark, after = (_KINDS.get(kind) or re.escape(kind) for kind in kinds)
    if mark:
        return rf"(?<={before})(?={mark[0]}{after})|(?<={before}{mark[0]})(?={after})"
    if (kinds[0] in "a0") == (kinds[1] in "a0"):
        return rf"(?<={before})(?={after})"
    if kinds[0] in "a0":
        return rf"(?<={before})(?={after}{_WORD_END})"
    return rf"(?<![^\W_]{before})(?<={before})(?={after})"


def learn_rules(sentences: Iterable[Sequence[str]]) -> WordRules:
    """The rules under which most tokens come back from a text of the same style."""
    sentences = [tuple(hide_marks(token)[0] for token in tokens) for tokens in sentences]
    counts = Counter(token for tokens in sentences for token in tokens)
    folded: Counter[str] = Counter()
    for token, n in counts.items():
        folded[_fold(token)] += n
    apart: Counter[str] = Counter(kinds for tokens in sentences for kinds in _kinds_apart(tokens))
    clitics = _learn_clitics({token: n for token, n in folded.items() if "'" in token}, apart)
    inside: Counter[str] = Counter({kinds: MIN_COUNT for kinds in JOINS if apart[kinds] < MIN_COUNT})
    for token, n in counts.items():
        for kinds in () if _fold(token) in clitics else _kinds_inside(token):
            inside[kinds] += n
    joins = [kinds for kinds, n in inside.items() if _is_joined(kinds, n, apart[kinds])]
    rules = WordRules(tuple(sorted(joins)), tuple(sorted(clitics)), ())
    return rules._replace(whole=tuple(_learn_whole(sentences, counts, rules)))


def _is_joined(kinds: str, n_inside: int, n_apart: int) -> bool:
    if kinds in ("aa", "00", "a0", "a.", "0."):  # always joined; a full stop only where a token is whole
        return False
    if len(kinds) == 3 or kinds == "0%":
        return n_inside >= max(MIN_COUNT, MIN_SHARE * (n_inside + n_apart))
    return n_inside >= 2 and (n_inside > n_apart or kinds == "0a")


def _fold(token: str) -> str:
    return token.lower().replace("’", "'")


def _kind(character: str) -> str:
    if character.isdecimal():
        return "0"
    return "a" if character.isalnum() else "'" if character == "’" else character


def _kinds_inside(token: str) -> Iterator[str]:
    """The kinds of all neighbours in a token, as `WordRules.joins` has them."""
    kinds = [_kind(character) for character in token]
    is_mark = [kind not in "a0" for kind in kinds]
    for i in range(1, len(kinds)):
        if is_mark[i - 1 : i + 2] == [False, True, False]:
            yield "".join(kinds[i - 1 : i + 2])
        elif i < 2 or is_mark[i - 2 : i + 1] != [False, True, False]:  # else it was among the three
            yield kinds[i - 1] + kinds[i]


def _kinds_apart(tokens: Sequence[str]) -> Iterator[str]:
    """The kinds of neighbours in different tokens; of three around a token that is one mark."""
    ends = [(_kind(token[0]), _kind(token[-1])) for token in tokens]
    yield from (before[1] + after[0] for before, after in pairwise(ends))
    for (_, before), (mark, _), (after, _), token in zip(ends, ends[1:], ends[2:], tokens[1:], strict=False):
        if before in "a0" and after in "a0" and len(token) == 1 and mark not in "a0":
            yield before + mark + after


def _learn_clitics(counts: Mapping[str, int], apart: Mapping[str, int]) -> list[str]:
    """Clitics among lower-case tokens with an apostrophe: more often tokens than a part of longer ones."""
    follow = [token for token in counts if token[0] == "'" and token[1:].isalpha() and len(token) <= 3]
    lead = [token for token in counts if token[-1] == "'" and token[:-1].isalpha() and len(token) <= 6]
    found = []
    for clitic in {*follow, *lead, *CLITICS}:
        is_part = str.startswith if clitic in lead else str.endswith
        n_longer = sum(n for token, n in counts.items() if token != clitic and is_part(token, clitic))
        n = counts.get(clitic, 0)
        is_usual = clitic in CLITICS and not n_longer and not apart["a'a"]
        if n > max(1, n_longer) or (n <= 1 and is_usual):
            found.append(clitic)
    return found


def _learn_whole(
    sentences: Sequence[Sequence[str]], counts: Mapping[str, int], rules: WordRules
) -> list[str]:
    """Tokens that the rules cut though train has them more often whole than cut; the most frequent ones."""
    usual = dict.fromkeys(ABBREVIATIONS if "a.a" in rules.joins else (), 2)
    pattern, parts = pattern_of(rules), {}
    for token, n in {**usual, **counts}.items():
        if n > 1 and not token.isalnum():
            parts[token] = tuple(pattern.findall(token))
    parts = {token: cut for token, cut in parts.items() if len(cut) > 1}
    wanted = set(parts.values())
    n_apart: Counter[tuple[str, ...]] = Counter()
    for length in {len(cut) for cut in wanted}:
        for tokens in sentences:
            runs = (tokens[i : i + length] for i in range(len(tokens) - length + 1))
            n_apart.update(filter(wanted.__contains__, runs))
    whole = [token for token, cut in parts.items() if counts.get(token, 2) > n_apart[cut]]
    return sorted(whole, key=lambda token: (-counts.get(token, 0), token))[:MAX_WHOLE]
