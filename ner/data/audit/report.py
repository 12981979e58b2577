"""The findings of an audit: a short summary, a page of Markdown, and complete JSON."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence

from ner.data.audit.checks import MIN_INSIDE
from ner.data.audit.corpus import Corpus, Finding
from ner.data.wording import count_noun

N_LISTED = 20  # findings of each check on the page; audit.json lists all
N_PLACES = 3  # places of each finding on the page

Findings = Mapping[str, Sequence[Finding]]

# the name of one finding of a check, and of several
WORDS = {
    "shared_texts": ("text that lies in another split", "texts that lie in another split"),
    "conflicting_texts": ("text with several readings", "texts with several readings"),
    "ambiguous_surfaces": ("surface with several labels", "surfaces with several labels"),
    "illegal_tags": ("illegal tag", "illegal tags"),
    "labels_in_one_split": ("label in one split alone", "labels in one split alone"),
    "invisible_characters": ("sentence with invisible characters", "sentences with invisible characters"),
    "markup_remains": ("sentence with markup remains", "sentences with markup remains"),
    "links": ("sentence with links", "sentences with links"),
    "length_outliers": ("length outlier", "length outliers"),
}
# what the findings mean for somebody who trains on the data
MEANINGS = {
    "shared_texts": (
        "The model has seen the answers. Only letters, marks and numbers are compared, without width and "
        f"case; a text inside a longer one has at least {MIN_INSIDE['char']} such characters, "
        f"or {MIN_INSIDE['word']} if tokens are words."
    ),
    "conflicting_texts": "The same tokens, annotated with different entities: at least one reading is wrong.",
    "ambiguous_surfaces": (
        "Often correct: a country is also its government. The surfaces whose other labels are rarest come "
        "first, because they are the most likely errors. The places show the rarer labels."
    ),
    "illegal_tags": (
        "A tag that must not follow the tag before it, or must not end the sentence. A tag that continues no "
        "entity is read as the start of one; a build writes legal tags for the entities that were read."
    ),
    "labels_in_one_split": (
        "The model learns it but is never scored on it, or is scored on it but never learns it."
    ),
    "invisible_characters": (
        "Control and format characters (zero-width, direction marks, byte order marks), line separators, "
        "fillers; also private, unassigned or replaced (U+FFFD) characters."
    ),
    "markup_remains": "HTML tags and HTML entities; width is ignored.",
    "links": "Beginnings of web addresses, ordinary in posts and web pages; width is ignored.",
    "length_outliers": (
        "Sentences and entities beyond Tukey's outer fences on the logarithm of their length in tokens."
    ),
}


def summary(corpus: Corpus, findings: Findings) -> list[str]:
    """A few lines: how many texts of one split lie in another, and the number of other findings."""
    lines = []
    shared = Counter(
        (f.values["split"], f.values["other_split"], f.values["whole"]) for f in findings["shared_texts"]
    )
    for name, other in dict.fromkeys((name, other) for name, other, _ in shared):
        whole, part = shared[name, other, True], shared[name, other, False]
        n = len(corpus.splits[name])
        lie_in = f"lie in {other} ({100 * (whole + part) / n:.1f}%)"
        how = f"{whole:,} as a whole text, {part:,} as part of one"
        lines.append(f"audit: {whole + part:,} of {n:,} {name} texts {lie_in}: {how}")
    others = [name for name, found in findings.items() if found and name != "shared_texts"]
    if others:
        counts = (count_noun(len(findings[name]), *WORDS[name]) for name in others)
        lines.append(f"audit: {', '.join(counts)}")
    return lines or ["audit: nothing found"]


def as_files(corpus: Corpus, findings: Findings) -> dict[str, str]:
    """The content of the audit's files, by file name: JSON with every finding and all its places; a page."""
    values = {
        "unit": corpus.unit,
        "sentences": {name: len(sentences) for name, sentences in corpus.splits.items()},
        "counts": {name: len(found) for name, found in findings.items()},
        "findings": {
            name: [{"what": f.what, "places": f.places, **f.values} for f in found]
            for name, found in findings.items()
        },
    }
    text = json.dumps(values, ensure_ascii=False, indent=1) + "\n"
    return {"audit.json": text, "audit.md": as_page(corpus, findings)}


def as_page(corpus: Corpus, findings: Findings) -> str:
    """Markdown: the summary, then the first findings of each check, each after its `file:line`."""
    sizes = ", ".join(f"{name} {len(sentences):,}" for name, sentences in corpus.splits.items())
    parts = [
        "# Audit",
        f"Sentences: {sizes}. A place is the first line of a sentence, or of an entity if every token has "
        "its own line. audit.json lists every finding.",
        _verbatim(summary(corpus, findings)),
    ]
    for name, found in findings.items():
        if found:
            parts += [f"## {count_noun(len(found), *WORDS[name])}", MEANINGS[name]]
            parts.append(_verbatim([_line(finding) for finding in found[:N_LISTED]]))
            if len(found) > N_LISTED:
                parts.append(f"And {len(found) - N_LISTED:,} more.")
    clean = [WORDS[name][1] for name, found in findings.items() if not found]
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
