"""Texts of one split that also occur in another."""

import unicodedata
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Sequence
from itertools import accumulate

from ner.data.audit.corpus import Corpus, Finding

# minimum number of characters of a text inside a longer one: shorter texts match by chance
MIN_INSIDE = {"char": 10, "word": 30}


def shared_texts(corpus: Corpus) -> list[Finding]:
    """Texts that two splits share, and texts of one split that lie inside longer texts of another.

    Compares only letters, marks and numbers, and ignores width and case (NFKC, casefold).  A text inside a
    longer one must have `MIN_INSIDE` characters; with unit word it must consist of whole words.  Reports a
    sentence once for each split that contains it, with one place there; of two equal texts only the one in
    the later split is reported.
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
    """The texts as `shared_texts` compares them, with spaces around each word: only whole words match."""
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
    r"""Maps each part of at least n characters to the index of the first text that contains it.

    No part or text may contain \n.  A dictionary maps the first n characters of every part to the lengths of
    the parts that begin with them.  Every run of n characters of the texts is looked up there; for a match
    the whole part is compared.
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
