"""Sentences whose tokens have tags, as a document: what every format with columns shares."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ner.annotations.tag_spelling import tag_set_of
from ner.data.formats.content import Content
from ner.data.formats.document import Document, Reading
from ner.data.formats.rows import Block, several_tags
from ner.data.sentence import Sentence
from ner.data.wording import count_noun, note_lines
from ner.errors import DataError
from ner.tags import UNNAMED, Span, TagSet, keep_apart

_INDEXED = re.compile(r"(.)[-_#:@/|]?\d+", re.DOTALL)


def make_document(
    path: str | Path,
    content: Content,
    blocks: list[Block],
    reading: Reading,
    notes: Sequence[str] = (),
    *,
    label: str | None = None,
) -> Document:
    """A document whose tags are read under `reading.scheme`; DataError names the first wrong one.

    Of several columns of tags, each adds its entities.  `label` names tags without a label of their own;
    None: as `reading.label_names` says.
    """
    notes = [*content.notes, *notes, *_read_indices(path, blocks, strip=reading.strip_index)]
    notes += _separate_tags(path, blocks, first=reading.first_tag)
    first_seen: dict[str, int] = {}
    for block in blocks:
        for tags in block.tags:
            for i, tag in enumerate(tags):
                if tag not in first_seen:
                    first_seen[tag] = block.line_of(i)
    label = label or _name_of_class(path, first_seen, reading)
    tag_set = tag_set_of(first_seen, path, reading.scheme, label=label)
    for tag, number in first_seen.items():
        if "\r" in tag:
            raise DataError(f"{path}:{number}: tag {tag[:60]!r}, expected a tag without CR")
    sentences, illegal = _read_tags(blocks, tag_set)
    if reading.scheme is None:
        n_entities = sum(len(sentence.spans or ()) for sentence in sentences)
        if 2 * len(illegal) > n_entities:  # a scheme that forbids most entities is not the file's
            rows = ([tag_set.index[tag] for tag in tags] for block in blocks for tags in block.tags)
            tag_set = tag_set.best_fit(rows)
            sentences, illegal = _read_tags(blocks, tag_set)
        notes += _scheme_notes(illegal, tag_set)
    starts = [block.first_line for block in blocks]
    known = tag_set.scheme if first_seen else None
    document = Document(Path(path), sentences, starts, illegal, notes, content.sha256, known)
    document = document._replace(one_line=blocks[0].one_line)
    may_overlap = len(blocks[0].tags) > 1 and reading.overlaps != "keep"
    return _without_overlaps(document, reading) if may_overlap else document


def _name_of_class(path: str | Path, tags: dict[str, int], reading: Reading) -> str:
    """The label of tags such as B and I, which have none."""
    if not reading.label_names:
        return UNNAMED
    named = next((tag for tag in tags if "-" in tag), None)
    if named is not None:
        expected = "--label_names expects tags without label: B, I, O"
        raise DataError(f"{path}:{tags[named]}: tag {named!r}, {expected}")
    if len(reading.label_names) > 1:
        raise DataError(
            f"{path}: {len(reading.label_names)} --label_names, expected 1 for tags without label"
        )
    return reading.label_names[0]


def _read_tags(blocks: list[Block], tag_set: TagSet) -> tuple[list[Sentence], list[tuple[int, str]]]:
    """The sentences, and (line, tag) of each tag that is illegal where it stands."""
    sentences, illegal = [], []
    for block in blocks:
        spans: list[Span] = []
        for tags in block.tags:
            ids = [tag_set.index[tag] for tag in tags]
            spans += tag_set.spans(ids)
            illegal += [(block.line_of(i), tags[i]) for i in tag_set.illegal_positions(ids)]
        if len(block.tags) > 1:
            spans = sorted(set(spans))
        sentences.append(Sentence.with_spans(block.tokens, spans if block.tags else None))
    return sentences, illegal


def _scheme_notes(illegal: list, tag_set: TagSet) -> Iterator[str]:
    """Notes on a guessed scheme, and on a scheme that would fit the illegal tags."""
    if tag_set.scheme != "BIO":
        yield f"tags are read as {tag_set.scheme}"
    if tag_set.scheme == "BIOES" and illegal and not any(tag.startswith("S-") for tag in tag_set.tags):
        yield "no S- among the tags: --scheme BIE makes a B- alone legal"


def _without_overlaps(document: Document, reading: Reading) -> Document:
    """The entities of several columns without overlaps: the longest stay; DataError if they are refused."""
    sentences, left_out = [], []
    for row, sentence in enumerate(document.sentences):
        dropped: list[tuple[Span, Span]] = []
        kept = keep_apart(sentence.spans or (), key=lambda span: span.start - span.end, dropped=dropped)
        for span, longer in sorted(dropped):
            words = [" ".join(sentence.tokens[start:end]) for start, end, _ in (span, longer)]
            problem = f"{span.label} {words[0]!r} overlaps {longer.label} {words[1]!r}"
            left_out.append((document.first_lines[row] + span.start, problem))
        sentences.append(Sentence.with_spans(sentence.tokens, kept) if dropped else sentence)
    if left_out and reading.overlaps == "refuse":
        line, problem = left_out[0]
        n_left_out = count_noun(len(left_out), "entity", "entities")
        remedy = "expected none; --nested keep_longest keeps the longest of them"
        raise DataError(f"{document.path}:{line}: {problem}; {n_left_out} nested or overlapping, {remedy}")
    listed = tuple(f"{document.path.name}:{line}: {problem}" for line, problem in left_out)
    return document._replace(sentences=sentences, left_out=listed)


def _separate_tags(path: str | Path, blocks: list[Block], *, first: bool) -> Iterator[str]:
    """Replaces several tags of a token, such as `B-a,B-b`, by the first; DataError unless `first`."""
    found = {tag for block in blocks for tags in block.tags for tag in tags}
    several = {tag: parts for tag in found if (parts := several_tags(tag))}
    lines = []
    for block in blocks if several else ():
        for tags in block.tags:
            for i, tag in enumerate(tags):
                if tag in several:
                    lines.append(block.line_of(i))
                    tags[i] = several[tag][0]
                    if not first:
                        got = f"{len(several[tag])} tags in {tag[:60]!r}"
                        remedy = "--first_tag takes the first"
                        raise DataError(f"{path}:{lines[0]}: {got}, expected one tag a token; {remedy}")
    yield from note_lines(lines, "with several tags, the first taken", "token")


def _read_indices(path: str | Path, blocks: list[Block], *, strip: bool) -> Iterator[str]:
    """Removes the index at the end of tokens such as 北0, or warns of it, if nearly all tokens are so."""
    counts = Counter(token for block in blocks for token in block.tokens)
    indexed = {token: match[1] for token in counts if (match := _INDEXED.fullmatch(token))}
    n, n_tokens = sum(counts[token] for token in indexed), counts.total()
    found = f"{n:,} of {n_tokens:,} tokens are a character and a number"
    if n < 0.9 * n_tokens:
        if strip:
            yield f"--strip_index: {found}, too few to be indices; nothing removed"
        return
    if not strip:
        example = f"such as {next(iter(indexed))!r}"
        yield f"{found}, {example}: an index of another program? --strip_index removes it"
        return
    for block in blocks:
        block.tokens[:] = [indexed.get(token, token) for token in block.tokens]
    yield f"{found}; the numbers are removed (--strip_index)"
