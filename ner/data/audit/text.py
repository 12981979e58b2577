"""Suspicious text: invisible characters, leftover markup, outlying lengths."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from ner.data.audit.corpus import Corpus, Finding
from ner.data.describe import percentile
from ner.data.wording import excerpt
from ner.tags import Span

MARKUP = re.compile(
    r"""
      </?[a-z][^<>\n]{0,200}> | <!--
    | &(?:\#\d+|\#x[\da-f]+|[a-z]{2,8});
    | (?:https?|ftp)[:∶]/[!-'*-;=?-~]* | \bwww\.[!-'*-;=?-~]+ | \[/?(?:url|img)\b
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
# for words joined without their spaces: only markup that cannot be ordinary text
JOINED_MARKUP = re.compile(
    r"""
      </[a-z][a-z\d]{0,9}> | <(?:br|div|span|img|font|table|t[dr]|li|[uo]l|strong|em|h[1-6])\b[^<>\n]{0,200}>
    | <!-- | &(?:\#\d+|\#x[\da-f]+|amp|lt|gt|quot|apos|nbsp); | (?:https?|ftp):// | \[/(?:url|img)\]
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
MARKS = "<&:∶.["  # every match of MARKUP contains one of these
# invisible characters in the Unicode categories of letters and symbols
FILLERS = "\u115f\u1160\u3164\uffa0\u034f\u2800\u17b4\u17b5"
REPLACEMENT = "\ufffd"


def invisible_characters(corpus: Corpus) -> list[Finding]:
    """Sentences with invisible characters: control and format characters (zero-width, direction marks, byte
    order marks), line separators, fillers; also private, unassigned or replaced (U+FFFD) characters.

    Tabs and line ends count as white space.
    """
    invisible = {token: [c for c in token if _is_invisible(c)] for token in corpus.distinct_tokens}
    invisible = {token: characters for token, characters in invisible.items() if characters}
    found = []
    for place, sentence in corpus.with_places() if invisible else ():
        if not invisible.keys().isdisjoint(sentence.tokens):
            counts = Counter(_name(c) for token in sentence.tokens for c in invisible.get(token, ()))
            found.append(Finding(_join_counts(counts), [place], {"characters": counts}))
    return found


def _name(character: str) -> str:
    """`U+200B ZERO WIDTH SPACE`, `U+0007 control`."""
    nameless = {"Cc": "control", "Co": "private use", "Cs": "surrogate"}
    name = unicodedata.name(character, nameless.get(unicodedata.category(character), "unassigned"))
    return f"U+{ord(character):04X} {name}"


def _is_invisible(character: str) -> bool:
    if character.isprintable():  # fast, and decides most characters
        return character in FILLERS or character == REPLACEMENT
    return unicodedata.category(character) != "Zs" and character not in "\t\n\r"


def markup_remains(corpus: Corpus) -> list[Finding]:
    """Sentences with HTML tags, HTML entities or beginnings of web addresses; ignores width (NFKC)."""
    normalised = {token: unicodedata.normalize("NFKC", token) for token in corpus.distinct_tokens}
    with_mark = {token for token, text in normalised.items() if any(mark in text for mark in MARKS)}
    found = []
    for place, sentence in corpus.with_places():
        if not with_mark.isdisjoint(sentence.tokens):
            tokens = [normalised[token] for token in sentence.tokens]
            counts = Counter(match[0] for match in MARKUP.finditer(corpus.gap.join(tokens)))
            if corpus.gap:
                counts = counts or Counter(match[0] for match in JOINED_MARKUP.finditer("".join(tokens)))
            if counts:
                found.append(Finding(_join_counts(counts), [place], {"markup": counts}))
    return found


def _join_counts(counts: Mapping[str, int]) -> str:
    """`<br>, 2 x &amp;`."""
    return ", ".join(excerpt(name) if n == 1 else f"{n} x {excerpt(name)}" for name, n in counts.items())


def length_outliers(corpus: Corpus) -> list[Finding]:
    """Sentences and entities far longer or shorter than the others of the corpus, the longest first.

    Lengths are in tokens.  A length is far if it lies beyond Tukey's outer fences (Exploratory Data Analysis,
    1977) on the logarithm of the length: three times the interquartile range from the quartiles.  A range of
    less than a factor of 2 counts as a factor of 2.
    """
    found = []
    whole = [(place, s, Span(0, len(s.tokens), "")) for place, s in corpus.with_places()]
    for kind, parts in (("sentence", whole), ("entity", list(corpus.entities()))):
        low, high = _fences([end - start for _, _, (start, end, _) in parts])
        for place, sentence, (start, end, label) in parts:
            n = end - start
            if not low <= n <= high:
                text = corpus.text(sentence.tokens[start:end])
                what = f"{label or kind} of {n:,} tokens, fences {low:.1f} and {high:.1f}: {text}"
                values = {"kind": kind, "tokens": n, "fences": [low, high]}
                found.append(Finding(what, [place], values))
    return sorted(found, key=lambda finding: -finding.values["tokens"])


def _fences(lengths: Sequence[int]) -> tuple[float, float]:
    """The lowest and the highest length that is no outlier."""
    if not lengths:
        return 0.0, 0.0
    ordered = sorted(lengths)
    first, third = percentile(ordered, 25), percentile(ordered, 75)
    reach = max(third / first, 2.0) ** 3
    return first / reach, third * reach
