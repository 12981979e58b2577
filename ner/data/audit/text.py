"""Text that is none: characters nobody sees, what is left of markup, lengths far off."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

from ner.data.audit.corpus import Corpus, Finding, shown
from ner.data.describe import percentile
from ner.tags import Span

MARKUP = re.compile(
    r"""
      </?[a-z][^<>\n]{0,200}> | <!--
    | &(?:\#\d+|\#x[\da-f]+|[a-z]{2,8});
    | (?:https?|ftp)[:∶]/[!-'*-;=?-~]* | \bwww\.[!-'*-;=?-~]+ | \[/?(?:url|img)\b
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
# where words were cut at every mark, no space between them: no more than what nobody writes otherwise
IN_PIECES = re.compile(
    r"""
      </[a-z][a-z\d]{0,9}> | <(?:br|div|span|img|font|table|t[dr]|li|[uo]l|strong|em|h[1-6])\b[^<>\n]{0,200}>
    | <!-- | &(?:\#\d+|\#x[\da-f]+|amp|lt|gt|quot|apos|nbsp); | (?:https?|ftp):// | \[/(?:url|img)\]
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
MARKS = "<&:∶.["  # every match of MARKUP has one of these
# letters by their category that show nothing, beside the categories of `_invisible`
FILLERS = "\u115f\u1160\u3164\uffa0\u034f\u2800\u17b4\u17b5"
REPLACEMENT = "\ufffd"


def invisible_characters(corpus: Corpus) -> list[Finding]:
    """Sentences with characters that show nothing: control and format characters (zero-width, marks of
    direction, byte order marks), line separators, fillers; and private, unassigned or replaced ones.

    Tabs and line ends are white space of a text."""
    odd = {token: [c for c in token if _invisible(c)] for token in corpus.distinct_tokens}
    odd = {token: characters for token, characters in odd.items() if characters}
    found = []
    for place, sentence in corpus.with_places() if odd else ():
        if not odd.keys().isdisjoint(sentence.tokens):
            counts = Counter(_named(c) for token in sentence.tokens for c in odd.get(token, ()))
            found.append(Finding(_listed(counts), [place], {"characters": counts}))
    return found


def _named(character: str) -> str:
    """`U+200B ZERO WIDTH SPACE`, `U+0007 control`."""
    nameless = {"Cc": "control", "Co": "private use", "Cs": "surrogate"}
    name = unicodedata.name(character, nameless.get(unicodedata.category(character), "unassigned"))
    return f"U+{ord(character):04X} {name}"


def _invisible(character: str) -> bool:
    if character.isprintable():  # quick, and false for all but a few
        return character in FILLERS or character == REPLACEMENT
    return unicodedata.category(character) != "Zs" and character not in "\t\n\r"


def markup_remains(corpus: Corpus) -> list[Finding]:
    """Sentences with tags or entities of HTML, or beginnings of addresses of the web, width aside."""
    known = {token: unicodedata.normalize("NFKC", token) for token in corpus.distinct_tokens}
    marks = {token for token, text in known.items() if any(mark in text for mark in MARKS)}
    found = []
    for place, sentence in corpus.with_places():
        if not marks.isdisjoint(sentence.tokens):
            tokens = [known[token] for token in sentence.tokens]
            counts = Counter(match[0] for match in MARKUP.finditer(corpus.gap.join(tokens)))
            if corpus.gap:
                counts = counts or Counter(match[0] for match in IN_PIECES.finditer("".join(tokens)))
            if counts:
                found.append(Finding(_listed(counts), [place], {"markup": counts}))
    return found


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(shown(name) if n == 1 else f"{n} x {shown(name)}" for name, n in counts.items())


def length_outliers(corpus: Corpus) -> list[Finding]:
    """Sentences and entities far longer or shorter than the others of the corpus, the longest first.

    In tokens; far is beyond the outer fences of Tukey (Exploratory Data Analysis, 1977) on the logarithm
    of the length: three times the distance between the quartiles, which counts as a doubling at least.
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
    if not lengths:
        return 0.0, 0.0
    ordered = sorted(lengths)
    first, third = percentile(ordered, 25), percentile(ordered, 75)
    reach = max(third / first, 2.0) ** 3
    return first / reach, third * reach
