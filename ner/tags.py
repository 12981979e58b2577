"""Spans and tags: the rules of every tag scheme.

A scheme is two tables about neighbouring tags: which tag may follow which (`legal`), and which two belong to
the same entity (`continues`).  Everything else follows from them.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import chain
from typing import NamedTuple

import numpy as np

OUTSIDE = "O"
UNNAMED = "ENTITY"  # the label of bare B, I and so on: one class without a name

# scheme -> {prefix: prefixes that may follow it inside the same entity}
_FOLLOWERS = {
    "BIO": {"B": "I", "I": "I"},
    "IOB1": {"B": "I", "I": "I"},
    "BIOS": {"B": "I", "I": "I", "S": ""},
    "BIOES": {"B": "IE", "I": "IE", "E": "", "S": ""},
    "BMES": {"B": "ME", "M": "ME", "E": "", "S": ""},
    "BILOU": {"B": "IL", "I": "IL", "L": "", "U": ""},
    "BIE": {"B": "IE", "I": "IE", "E": ""},
    "IO": {"I": "I"},
}
# scheme -> prefixes of a token inside an entity, of its last token, of its first, of its only one
_PREFIXES = {
    **{"BIO": "IIBB", "IOB1": "IIBB", "BIOS": "IIBS", "BIOES": "IEBS", "BMES": "MEBS"},
    **{"BILOU": "ILBU", "BIE": "IEBB", "IO": "IIII"},
}
# prefixes after which the entity must continue; under BIE a single B- is an entity of one token
_UNFINISHED = {"BIOS": "B", "BIOES": "BI", "BMES": "BM", "BILOU": "BI", "BIE": "I"}
SCHEMES = tuple(_FOLLOWERS)
PREFIXES = frozenset("BIESMLU")
# classes of published taggers that are not tags; they are never predicted
NON_TAGS = ("[PAD]", "[CLS]", "[SEP]", "X")


class Span(NamedTuple):
    """An entity: the tokens from `start` up to, but not including, `end` of a whole sentence."""

    start: int
    end: int
    label: str


class ScoredSpan(NamedTuple):
    """A span with the model's probability, in [0, 1], of exactly this span."""

    start: int
    end: int
    label: str
    score: float

    @property
    def span(self) -> Span:
        return Span(self.start, self.end, self.label)


def keep_apart(spans: Iterable, *, key: Callable, dropped: list[tuple] | None = None) -> list:
    """Returns spans that share no token, sorted.  Chooses greedily, the smallest `key` first.

    Appends each of the others to `dropped`, as (span, a chosen span that overlaps it).
    """
    kept: list = []
    for span in sorted(spans, key=lambda span: (key(span), span)):
        at = bisect_left(kept, span.start, key=lambda other: other.start)
        near = kept[max(at - 1, 0) : at + 1]
        overlapping = [other for other in near if other.start < span.end and span.start < other.end]
        if not overlapping:
            kept.insert(at, span)
        elif dropped is not None:
            dropped.append((span, overlapping[-1]))
    return kept


def n_overlapping(spans: Iterable[Span]) -> int:
    """Number of spans that share a token with another span."""
    overlapping, furthest = set(), None  # the span so far with the largest end
    for span in sorted(spans):
        if furthest and span.start < furthest.end:
            overlapping |= {span, furthest}
        if not furthest or span.end > furthest.end:
            furthest = span
    return len(overlapping)


def outermost(spans: Sequence[Span]) -> Sequence[Span]:
    """Returns the spans without overlaps: of spans that share tokens the longest, then the first."""
    return keep_apart(spans, key=lambda span: span.start - span.end) if n_overlapping(spans) else spans


def split_tag(tag: str, *, label: str = UNNAMED) -> tuple[str, str]:
    """`B-LOC` -> ("B", "LOC"), `O` -> ("O", ""), `B` -> ("B", `label`); ValueError for anything else."""
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, hyphen, name = tag.partition("-")
    if prefix not in PREFIXES or (hyphen and not name):
        raise ValueError(
            f"tag {tag[:60]!r}, expected O or B-, I-, E-, S-, M-, L-, U- and a label, as in B-LOC"
        )
    return prefix, name if hyphen else label


def split_tags(
    tags: Sequence[str], scheme: str | None = None, *, label: str = UNNAMED
) -> list[tuple[str, str]]:
    """Prefix and label of each tag of one set; of NON_TAGS, ("", "").

    A set spells its tags in one of three ways: `B-LOC`; `B`, whose label is `label`; or `LOC`, which under IO
    means `I-LOC`.  ValueError if a tag is none of these, or if the set mixes them.
    """
    named = [tag for tag in tags if tag != OUTSIDE and tag not in NON_TAGS]
    prefixes = {tag.partition("-")[0] for tag in named}
    if scheme == "IO":  # any prefix but I may begin a label, as in E-mail
        has_bare_labels = "I" not in prefixes and not prefixes <= PREFIXES
    else:
        has_bare_labels = scheme is None and bool(named) and not prefixes & PREFIXES
    if has_bare_labels:
        known = {tag: ("I", tag) for tag in named}
    else:
        known = {tag: split_tag(tag, label=label) for tag in named}
        with_label, without = ([tag for tag in named if ("-" in tag) is wanted] for wanted in (True, False))
        if with_label and without:
            raise ValueError(f"tags {with_label[0]!r} and {without[0]!r}, expected all with a label or none")
    return [known.get(tag, (OUTSIDE if tag == OUTSIDE else "", "")) for tag in tags]


def guess_scheme(tags: Iterable[str]) -> str:
    """Returns the scheme that has all prefixes of these tags; ValueError if none has.

    If there are only B- and I-, and a label has I- but no B-, its entities could not start under BIO.  Then
    the scheme is IOB1, or IO if there is no B- at all.
    """
    parts = set(split_tags(list(tags))) - {(OUTSIDE, ""), ("", "")}
    prefixes = {prefix for prefix, _ in parts}
    known = ("BIO", "BIOS", "BIOES", "BMES", "BILOU")
    scheme = next((scheme for scheme in known if prefixes <= set(_FOLLOWERS[scheme])), None)
    if scheme is None:
        got = ", ".join(sorted(prefixes))
        raise ValueError(f"tag prefixes {got}, expected the prefixes of BIO, BIOS, BIOES, BMES or BILOU")
    if scheme == "BIO" and any(("B", label) not in parts for _, label in parts):
        return "IOB1" if "B" in prefixes else "IO"
    return scheme


class TagSet:
    """The tags of one model or one data set, in a fixed order, under one scheme.

    `labels` are the sorted entity types; `tags[k]` is tag number k, spelled as `split_tags` says, and `label`
    that of tags without one.  The tables are numpy arrays over the K tags.  `legal` and `continues` have one
    more row and column, index K, for the edge of the sentence.
    """

    def __init__(self, tags: Sequence[str], scheme: str, *, label: str = UNNAMED):
        if scheme not in _FOLLOWERS:
            raise ValueError(f"scheme {scheme!r}, expected one of {', '.join(SCHEMES)}")
        if len(set(tags)) != len(tags) or OUTSIDE not in tags:
            raise ValueError(f"tags {list(tags)}, expected each once and {OUTSIDE} among them")
        self.tags, self.scheme, self._label = tuple(tags), scheme, label
        self.index = {tag: k for k, tag in enumerate(self.tags)}
        self._parts = split_tags(self.tags, scheme, label=label)
        for tag, (prefix, _) in zip(self.tags, self._parts, strict=True):
            if prefix not in ("", OUTSIDE) and prefix not in _FOLLOWERS[scheme]:
                raise ValueError(f"tag {tag!r}, expected a tag of scheme {scheme}")
        self.labels = tuple(sorted({label for _, label in self._parts if label}))

    @classmethod
    def from_labels(cls, labels: Iterable[str], scheme: str = "BIO") -> "TagSet":
        """Builds all tags of the labels under the scheme: `O` first, then sorted."""
        prefixes = _FOLLOWERS.get(scheme, ())  # the constructor refuses an unknown scheme
        return cls([OUTSIDE, *sorted(f"{p}-{label}" for label in set(labels) for p in prefixes)], scheme)

    def __len__(self) -> int:
        return len(self.tags)

    @cached_property
    def label_ids(self) -> np.ndarray:
        """(K,) int64: index of each tag's label in `labels`, -1 for `O`."""
        return np.array([self.labels.index(label) if label else -1 for _, label in self._parts])

    @cached_property
    def continues(self) -> np.ndarray:
        """(K+1, K+1) bool: tag i and the tag j after it belong to the same entity."""
        return self._table(self._continues)

    @cached_property
    def legal(self) -> np.ndarray:
        """(K+1, K+1) bool: tag j may follow tag i.  Row K starts a sentence, column K ends it."""
        return self._table(self._may_follow)

    def _table(self, relation) -> np.ndarray:
        parts = [*self._parts, (OUTSIDE, "")]
        return np.array([[relation(before, after) for after in parts] for before in parts], dtype=bool)

    def _continues(self, before: tuple[str, str], after: tuple[str, str]) -> bool:
        return bool(after[1]) and before[1] == after[1] and after[0] in _FOLLOWERS[self.scheme][before[0]]

    def _may_follow(self, before: tuple[str, str], after: tuple[str, str]) -> bool:
        if not before[0] or not after[0]:  # one of NON_TAGS
            return False
        if self.scheme == "IO":
            return True
        if self.scheme == "IOB1":  # B- only separates two neighbours of one label
            return after[0] != "B" or before[1] == after[1]
        if after[0] in ("I", "M", "E", "L"):
            return self._continues(before, after)
        return before[0] not in _UNFINISHED.get(self.scheme, "")

    @cached_property
    def span_tags(self) -> np.ndarray:
        """(labels + 1, 2, 2) int64: tag number by [label id + 1, is first token, is last token].

        Row 0 is `O`, and so is a tag that this set does not have.  Under IOB1 "first" means first after a
        neighbour of the same label; under IO it has no effect.
        """
        outside, prefixes = self.index[OUTSIDE], _PREFIXES[self.scheme]
        numbers = {part: number for number, part in enumerate(self._parts)}
        rows = [[numbers.get((prefix, label), outside) for prefix in prefixes] for label in self.labels]
        return np.array([[outside] * 4, *rows]).reshape(-1, 2, 2)

    def spans(self, tag_ids: Sequence[int]) -> list[Span]:
        """Reads tag numbers of a sentence as spans.  A tag that continues nothing starts an entity."""
        spans, start, before = [], -1, len(self)
        for position, tag_id in enumerate([*tag_ids, self.index[OUTSIDE]]):
            if start >= 0 and not self.continues[before, tag_id]:
                spans.append(Span(start, position, self._parts[before][1]))
                start = -1
            if start < 0 and self.label_ids[tag_id] >= 0:
                start = position
            before = tag_id
        return spans

    def tag_ids(self, spans: Iterable[Span], n_tokens: int) -> list[int]:
        """Writes spans of a sentence as tag numbers; ValueError if tags cannot represent them."""
        ids = [self.index[OUTSIDE]] * n_tokens
        end_before, label_before = 0, ""
        for start, end, label in sorted(spans):
            touches = start == end_before and label == label_before
            if not end_before <= start < end <= n_tokens or (touches and self.scheme == "IO"):
                got = (start, end, label)
                raise ValueError(f"span {got}, expected flat spans in 0..{n_tokens} ({self.scheme})")
            row = self.span_tags[self.labels.index(label) + 1]
            for position in range(start, end):
                first = position == start and (touches or self.scheme != "IOB1")
                ids[position] = int(row[int(first), int(position == end - 1)])
            end_before, label_before = end, label
        return ids

    def illegal_positions(self, tag_ids: Sequence[int]) -> list[int]:
        """Positions of tags that may not follow the tag before, or may not end the sentence."""
        edge = len(self)
        steps = zip([edge, *tag_ids], [*tag_ids, edge], strict=True)
        illegal = {min(i, len(tag_ids) - 1) for i, step in enumerate(steps) if not self.legal[step]}
        return sorted(illegal)

    def n_illegal(self, sentences: Iterable[Sequence[int]]) -> int:
        """Number of steps from tag to tag, edges of sentences included, that are illegal."""
        edge = [len(self)]
        steps = np.fromiter(chain(edge, chain.from_iterable(chain(ids, edge) for ids in sentences)), np.int64)
        return int((~self.legal[steps[:-1], steps[1:]]).sum())

    def best_fit(self, sentences: Iterable[Sequence[int]]) -> "TagSet":
        """These tags under the scheme under which the fewest steps are illegal; of equals, this one."""
        sentences = list(sentences)
        prefixes = {tag.partition("-")[0] for tag in self.tags} - {OUTSIDE, *NON_TAGS}
        fitting = [scheme for scheme, followers in _FOLLOWERS.items() if prefixes <= set(followers)]
        others = [self.under(scheme) for scheme in fitting]
        return min([self, *others], key=lambda tag_set: tag_set.n_illegal(sentences))

    def under(self, scheme: str) -> "TagSet":
        """These tags under another scheme; ValueError if it lacks one of them."""
        return TagSet(self.tags, scheme, label=self._label)


def spans_to_tags(spans: Iterable[Span], n_tokens: int, scheme: str = "BIO") -> list[str]:
    """Writes spans of a sentence as tag strings; ValueError if tags cannot represent them."""
    spans = list(spans)
    tag_set = TagSet.from_labels({span.label for span in spans}, scheme)
    return [tag_set.tags[k] for k in tag_set.tag_ids(spans, n_tokens)]
