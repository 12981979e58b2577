"""The findings of an audit for people and programs: a few lines, a page, and JSON that has them all."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ner.data.audit.corpus import Corpus, Finding
from ner.data.audit.overlap import MIN_INSIDE
from ner.data.formats.document import count_of

N_LISTED = 20  # findings a check on the page; audit.json has them all
N_PLACES = 3  # of one finding on the page

Findings = Mapping[str, Sequence[Finding]]


class _Words(NamedTuple):
    """What the findings of a check are called, and what they mean to somebody who trains on the data."""

    one: str
    several: str
    meaning: str


WORDS = {
    "shared_texts": _Words(
        "text that lies in another split",
        "texts that lie in another split",
        "A model has seen the answers. Compared are letters, marks and numbers alone, width and case aside; "
        f"a part of a longer text has at least {MIN_INSIDE['char']} such characters, "
        f"{MIN_INSIDE['word']} where tokens are words.",
    ),
    "conflicting_texts": _Words(
        "text with several readings",
        "texts with several readings",
        "The same tokens, annotated with different entities: one reading at least is wrong.",
    ),
    "ambiguous_surfaces": _Words(
        "surface with several labels",
        "surfaces with several labels",
        "Often right, a country is also its government; first come those whose rarer labels are rarest, "
        "which are the likelier slips. The places are those of the rarer labels.",
    ),
    "illegal_tags": _Words(
        "illegal tag",
        "illegal tags",
        "A tag that may not follow the one before, or may not end the sentence. Each is read as the start of "
        "an entity where it begins none; a build writes the legal tags of what was read.",
    ),
    "labels_in_one_split": _Words(
        "label in one split alone",
        "labels in one split alone",
        "Learned and never scored, or scored and never learned.",
    ),
    "invisible_characters": _Words(
        "sentence with invisible characters",
        "sentences with invisible characters",
        "Control and format characters (zero-width, marks of direction, byte order marks), line separators, "
        "fillers; and private, unassigned or replaced (U+FFFD) characters.",
    ),
    "markup_remains": _Words(
        "sentence with markup remains",
        "sentences with markup remains",
        "Tags and entities of HTML, beginnings of web addresses; width aside.",
    ),
    "length_outliers": _Words(
        "length outlier",
        "length outliers",
        "Sentences and entities beyond Tukey's outer fences on the logarithm of their length in tokens.",
    ),
}


def summary(corpus: Corpus, findings: Findings) -> list[str]:
    """A few lines: who lies in whom, and how many findings the other checks have."""
    lines = []
    shared = Counter(
        (f.values["split"], f.values["other_split"], f.values["whole"]) for f in findings["shared_texts"]
    )
    for name, other in dict.fromkeys((name, other) for name, other, _ in shared):
        whole, part = shared[name, other, True], shared[name, other, False]
        n = len(corpus.splits[name])
        percent = 100 * (whole + part) / n
        lines.append(
            f"audit: {whole + part:,} of {n:,} {name} texts lie in {other} ({percent:.1f}%): "
            f"{whole:,} as a whole text, {part:,} as part of one"
        )
    rest = [
        count_of(len(found), *WORDS[name][:2])
        for name, found in findings.items()
        if found and name != "shared_texts"
    ]
    if rest:
        lines.append(f"audit: {', '.join(rest)}")
    return lines or ["audit: nothing found"]


def as_files(corpus: Corpus, findings: Findings) -> dict[str, str]:
    """What is written, by file name."""
    return {"audit.json": as_json(corpus, findings), "audit.md": as_page(corpus, findings)}


def as_json(corpus: Corpus, findings: Findings) -> str:
    """Every finding with all its places."""
    values = {
        "unit": corpus.unit,
        "sentences": {name: len(sentences) for name, sentences in corpus.splits.items()},
        "counts": {name: len(found) for name, found in findings.items()},
        "findings": {
            name: [{"what": f.what, "places": f.places, **f.values} for f in found]
            for name, found in findings.items()
        },
    }
    return json.dumps(values, ensure_ascii=False, indent=1) + "\n"


def as_page(corpus: Corpus, findings: Findings) -> str:
    """Markdown: the summary, then each check with its first findings, `file:line` in front."""
    sizes = ", ".join(f"{name} {len(sentences):,}" for name, sentences in corpus.splits.items())
    parts = [
        "# Audit",
        f"Sentences: {sizes}. A line is the one on which a sentence starts, or an entity where every token "
        "has a line. audit.json has every finding.",
        _verbatim(summary(corpus, findings)),
    ]
    for name, found in findings.items():
        if found:
            parts += [f"## {count_of(len(found), *WORDS[name][:2])}", WORDS[name].meaning]
            parts.append(_verbatim([_line(finding) for finding in found[:N_LISTED]]))
            if len(found) > N_LISTED:
                parts.append(f"And {len(found) - N_LISTED:,} more.")
    clean = [WORDS[name].several for name, found in findings.items() if not found]
    if clean:
        parts.append(f"None: {', '.join(clean)}.")
    return "\n\n".join(parts) + "\n"


def _line(finding: Finding) -> str:
    more = len(finding.places) - N_PLACES
    others = [*finding.places[1:N_PLACES], *([f"{more:,} more"] if more > 0 else [])]
    also = f" (also {', '.join(others)})" if others else ""
    return f"{finding.places[0]}: {finding.what}{also}"


def _verbatim(lines: Sequence[str]) -> str:
    return "\n".join(f"    {line}" for line in lines)
