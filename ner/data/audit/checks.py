"""The checks: texts in several splits, labels that disagree or are illegal, suspicious text."""

import re
import unicodedata
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate, chain

from ner.data.audit.corpus import Corpus, Finding
from ner.data.build import percentile
from ner.data.wording import excerpt
from ner.data.words import FILLERS
from ner.tags import Span

# minimum number of characters of a text inside a longer one: shorter texts match by chance
MIN_INSIDE = {"char": 10, "word": 30}
MARKUP = re.compile(
    r"""
      </?[a-z][^<>\n]{0,200}> | <!--
    | &(?:\#\d+|\#x[\da-f]+|[a-z]{2,8});
    | \[/?(?:url|img)\b
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
LINK = re.compile(r"(?:https?|ftp)[:∶]/[!-'*-;=?-~]*|\bwww\.[!-'*-;=?-~]+", re.IGNORECASE | re.ASCII)
# for words joined without their spaces: only what cannot be ordinary text
JOINED_MARKUP = re.compile(
    r"""
      </[a-z][a-z\d]{0,9}> | <(?:br|div|span|img|font|table|t[dr]|li|[uo]l|strong|em|h[1-6])\b[^<>\n]{0,200}>
    | <!-- | &(?:\#\d+|\#x[\da-f]+|amp|lt|gt|quot|apos|nbsp); | \[/(?:url|img)\]
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
JOINED_LINK = re.compile(r"(?:https?|ftp)://", re.IGNORECASE | re.ASCII)
MARKS = "<&:∶.["  # every match of MARKUP and LINK contains one of these
NOT_SHOWN = FILLERS + "\ufffd"  # the replacement character stands for a lost one


def shared_texts(corpus: Corpus) -> Iterator[Finding]:
    """Texts that two splits share, and texts of one split that lie inside longer texts of another.

    Compares only letters, marks and numbers, and ignores width and case (NFKC, casefold).  A text inside a
    longer one must have `MIN_INSIDE` characters; with unit word it must consist of whole words.  Reports a
    sentence once for each split that contains it, with one place there; of two equal texts only the one in
    the later split is reported.
    """
    texts = _folded(corpus)
    for outer in texts:
        known = {text: i for i, text in reversed(list(enumerate(texts[outer])))}
        others = [name for name in texts if name != outer]
        parts = {text for name in others for text in texts[name]} - known.keys()
        inside = texts_inside(parts, texts[outer], n=MIN_INSIDE[corpus.unit] + 2 * len(corpus.gap))
        for name in others:
            later = list(texts).index(name) > list(texts).index(outer)
            for i, text in enumerate(texts[name]):
                whole = text not in inside
                row = known.get(text) if whole and later and text else inside.get(text)
                if row is not None:
                    place, how = corpus.places[outer][row], "is" if whole else "lies in"
                    surface = corpus.text(corpus.splits[name][i].tokens)
                    what = f"the {name} text {how} the {outer} text at {place}: {surface}"
                    values = {"split": name, "other_split": outer, "whole": whole, "other_place": place}
                    yield Finding(what, [corpus.places[name][i]], values)


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


def illegal_tags(corpus: Corpus) -> Iterator[Finding]:
    """Tags that must not follow the tag before them, or must not end the sentence."""
    for place, tag in corpus.illegal:
        yield Finding(tag, [place], {"tag": tag})


def labels_in_one_split(corpus: Corpus) -> Iterator[Finding]:
    """Labels that occur in only one of several annotated splits."""
    places: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in corpus.annotated:
        for place, sentence in zip(corpus.places[name], corpus.splits[name], strict=True):
            for span in sentence.spans:
                places[span.label][name].append(place)
    for label, by_split in sorted(places.items()):
        if len(by_split) == 1 and len(corpus.annotated) > 1:
            [(name, all_places)] = by_split.items()
            what = f"{label}: {len(all_places):,} in {name}, none elsewhere"
            values = {"label": label, "split": name, "entities": len(all_places)}
            yield Finding(what, list(dict.fromkeys(all_places)), values)


def conflicting_texts(corpus: Corpus) -> Iterator[Finding]:
    """Texts with the same tokens that occur several times with different entities."""
    n_times = Counter(sentence.tokens for _, sentence in corpus.with_places() if sentence.spans is not None)
    readings: dict[tuple[str, ...], dict[tuple, list[str]]] = defaultdict(lambda: defaultdict(list))
    for place, sentence in corpus.with_places():
        if n_times[sentence.tokens] > 1 and sentence.spans is not None:
            readings[sentence.tokens][tuple(sorted(sentence.spans))].append(place)
    for tokens, by_spans in readings.items():
        if len(by_spans) > 1:
            values = []
            for spans, places in by_spans.items():
                entities = [[*span, corpus.gap.join(tokens[span.start : span.end])] for span in spans]
                values.append({"places": places, "entities": entities})
            what = f"{len(by_spans)} readings of {corpus.text(tokens)}"
            yield Finding(what, list(chain(*by_spans.values())), {"readings": values})


def ambiguous_surfaces(corpus: Corpus) -> list[Finding]:
    """Entities with the same surface and several labels, sorted by the share of the rarer labels.

    The rarer labels are all but the most frequent one; the places are their occurrences.
    """
    places: dict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for place, sentence, (start, end, label) in corpus.entities():
        places[sentence.tokens[start:end]][label].append(place)
    found = []
    for tokens, by_label in places.items():
        if len(by_label) > 1:
            ranked = sorted(by_label.items(), key=lambda item: (-len(item[1]), item[0]))
            counts = {label: len(label_places) for label, label_places in ranked}
            rarer = [place for _, label_places in ranked[1:] for place in label_places]
            what = f"{corpus.text(tokens)}: {', '.join(f'{label} {n:,}' for label, n in counts.items())}"
            values = {"surface": corpus.gap.join(tokens), "labels": counts}
            share = len(rarer) / sum(counts.values())
            found.append((share, Finding(what, list(dict.fromkeys(rarer)), values)))
    return [finding for _, finding in sorted(found, key=lambda pair: pair[0])]


def invisible_characters(corpus: Corpus) -> Iterator[Finding]:
    """Sentences with invisible characters; tabs and line ends count as white space."""
    invisible = {token: [c for c in token if _is_invisible(c)] for token in corpus.distinct_tokens}
    invisible = {token: characters for token, characters in invisible.items() if characters}
    for place, sentence in corpus.with_places() if invisible else ():
        if not invisible.keys().isdisjoint(sentence.tokens):
            counts = Counter(_name(c) for token in sentence.tokens for c in invisible.get(token, ()))
            yield Finding(_join_counts(counts), [place], {"characters": counts})


def _name(character: str) -> str:
    """`U+200B ZERO WIDTH SPACE`, `U+0007 control`."""
    nameless = {"Cc": "control", "Co": "private use", "Cs": "surrogate"}
    name = unicodedata.name(character, nameless.get(unicodedata.category(character), "unassigned"))
    return f"U+{ord(character):04X} {name}"


def _is_invisible(character: str) -> bool:
    if character.isprintable():  # fast, and decides most characters
        return character in NOT_SHOWN
    return unicodedata.category(character) != "Zs" and character not in "\t\n\r"


def markup_remains(corpus: Corpus) -> Iterator[Finding]:
    """Sentences with HTML tags or HTML entities; ignores width (NFKC)."""
    return _find_patterns(corpus, MARKUP, JOINED_MARKUP, key="markup")


def links(corpus: Corpus) -> Iterator[Finding]:
    """Sentences with beginnings of web addresses; ignores width (NFKC)."""
    return _find_patterns(corpus, LINK, JOINED_LINK, key="links")


def _find_patterns(corpus: Corpus, pattern: re.Pattern, joined: re.Pattern, *, key: str) -> Iterator[Finding]:
    """Sentences with a match of a pattern; if words have none, of `joined` in the words without spaces."""
    normalised = {token: unicodedata.normalize("NFKC", token) for token in corpus.distinct_tokens}
    with_mark = {token for token, text in normalised.items() if any(mark in text for mark in MARKS)}
    for place, sentence in corpus.with_places():
        if not with_mark.isdisjoint(sentence.tokens):
            tokens = [normalised[token] for token in sentence.tokens]
            counts = Counter(match[0] for match in pattern.finditer(corpus.gap.join(tokens)))
            if corpus.gap:
                counts = counts or Counter(match[0] for match in joined.finditer("".join(tokens)))
            if counts:
                yield Finding(_join_counts(counts), [place], {key: counts})


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
