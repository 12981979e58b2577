"""Texts of one split that another has seen."""

import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import accumulate

from ner.data.audit.corpus import Corpus, Finding

# characters that a text must have to be looked for inside longer ones: shorter ones lie in them by chance
MIN_INSIDE = {"char": 10, "word": 30}


def shared_texts(corpus: Corpus) -> list[Finding]:
    """Texts that two splits share, and texts of one split inside longer ones of another.

    Compared are letters, marks and numbers alone, width and case aside (NFKC, casefold); a part must
    have `MIN_INSIDE` characters, and begin and end with a word where the unit is word.  Each sentence is
    named once a split it lies in, with one place there; equal texts in the later of the two splits.
    """
    texts = _folded(corpus)
    found = []
    for outer in texts:
        known = {text: i for i, text in reversed(list(enumerate(texts[outer])))}
        others = [name for name in texts if name != outer]
        parts = {text for name in others for text in texts[name]} - known.keys()
        inside = texts_inside(parts, texts[outer], n=MIN_INSIDE[corpus.unit] + 2 * len(corpus.gap))
        for name in others:
            later = list(texts).index(name) > list(texts).index(outer)
            for i, text in enumerate(texts[name]):
                if text in inside:
                    found.append(_shared(corpus, (name, i), (outer, inside[text]), whole=False))
                elif later and text and text in known:
                    found.append(_shared(corpus, (name, i), (outer, known[text]), whole=True))
    return found


def _shared(corpus: Corpus, inner: tuple[str, int], outer: tuple[str, int], *, whole: bool) -> Finding:
    (name, i), (other, row) = inner, outer
    place = corpus.places[other][row]
    how = "is" if whole else "lies in"
    what = f"the {name} text {how} the {other} text at {place}: {corpus.text(corpus.splits[name][i].tokens)}"
    values = {"split": name, "other_split": other, "whole": whole, "other_place": place}
    return Finding(what, [corpus.places[name][i]], values)


def _folded(corpus: Corpus) -> dict[str, list[str]]:
    """What `shared_texts` compares; words are set between spaces, so that a part is made of whole ones."""
    fold = {token: _fold(token) for token in corpus.distinct_tokens}.__getitem__
    texts = {}
    for name, sentences in corpus.splits.items():
        if corpus.gap:
            words = (" ".join(filter(None, map(fold, sentence.tokens))) for sentence in sentences)
            texts[name] = [f" {text} " if text else "" for text in words]
        else:
            texts[name] = ["".join(map(fold, sentence.tokens)) for sentence in sentences]
    return texts


def _fold(token: str) -> str:
    characters = unicodedata.normalize("NFKC", token).casefold()
    return "".join(c for c in characters if unicodedata.category(c)[0] in "LMN")


def texts_inside(parts: Collection[str], texts: Sequence[str], *, n: int) -> dict[str, int]:
    r"""{part: index of the first text that holds it} for the parts of n characters or more; none holds \n.

    A dictionary has the first n characters of every part, with the lengths of the parts that begin so; all
    runs of n characters of the texts are looked up in it, and what is found is compared in full.
    """
    parts = {part for part in parts if len(part) >= n}
    lengths: dict[str, set[int]] = defaultdict(set)
    for part in parts:
        lengths[part[:n]].add(len(part))
    joined = "\n".join(texts)
    starts = list(accumulate((len(text) + 1 for text in texts), initial=0))
    found: dict[str, int] = {}
    for start in (i for i in range(len(joined) - n + 1) if joined[i : i + n] in lengths):
        for length in lengths[joined[start : start + n]]:
            piece = joined[start : start + length]
            if piece in parts and piece not in found:
                found[piece] = bisect_right(starts, start) - 1
    return found
