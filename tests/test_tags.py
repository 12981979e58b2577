"""Tags and spans, against brute force over every tag sequence and against seqeval."""

from itertools import combinations, pairwise, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOB2, IOBES, Entities

from ner.tags import (
    SCHEMES,
    ScoredSpan,
    Span,
    TagSet,
    guess_scheme,
    keep_apart,
    n_overlapping,
    outermost,
    spans_to_tags,
    split_tag,
)
from tests.factories import tags_to_spans

LABELS = ("LOC", "PER")


def flat_spans(n_tokens: int, start: int = 0):
    """Every set of flat spans over the tokens from `start` on."""
    if start == n_tokens:
        yield []
        return
    for rest in flat_spans(n_tokens, start + 1):
        yield rest
    for end in range(start + 1, n_tokens + 1):
        for rest in flat_spans(n_tokens, end):
            for label in LABELS:
                yield [Span(start, end, label), *rest]


def touches(spans) -> bool:
    """True if two neighbours of one label touch, which IO cannot represent."""
    return any(a.end == b.start and a.label == b.label for a, b in pairwise(spans))


@st.composite
def sentences(draw, apart: bool = False):
    """(spans, number of tokens); the labels have hyphens and Chinese characters."""
    spans, position = [], 0
    for gap, length, label in draw(
        st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4), st.sampled_from(["LOC", "B-x", "人名"])))
    ):
        start = position + gap + apart
        spans.append(Span(start, start + length, label))
        position = start + length
    return spans, position + draw(st.integers(0, 2))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_spans_survive_tags(scheme, data):
    spans, n_tokens = data.draw(sentences(apart=scheme == "IO"))
    tags = spans_to_tags(spans, n_tokens, scheme)
    assert tags_to_spans(tags, scheme) == spans
    kinds = TagSet.from_labels({span.label for span in spans}, scheme)
    assert kinds.illegal_positions([kinds.index[tag] for tag in tags]) == []


@pytest.mark.parametrize("scheme", [scheme for scheme in SCHEMES if scheme != "IO"])
@pytest.mark.parametrize("n_tokens", [1, 2, 3])
def test_the_legal_sequences_are_exactly_the_written_ones(scheme, n_tokens):
    kinds = TagSet.from_labels(LABELS, scheme)
    written = {tuple(kinds.tag_ids(spans, n_tokens)) for spans in flat_spans(n_tokens)}
    edge = len(kinds)
    legal = {
        ids
        for ids in product(range(len(kinds)), repeat=n_tokens)
        if all(kinds.legal[step] for step in pairwise((edge, *ids, edge)))
    }
    assert legal == written
    assert len(written) == len(list(flat_spans(n_tokens)))


@pytest.mark.parametrize("n_tokens", [1, 2, 3])
def test_io_has_no_illegal_tag(n_tokens):
    kinds = TagSet.from_labels(LABELS, "IO")
    assert kinds.legal.all()
    for spans in flat_spans(n_tokens):
        if touches(spans):
            with pytest.raises(ValueError, match="expected flat spans"):
                kinds.tag_ids(spans, n_tokens)
        else:
            assert kinds.spans(kinds.tag_ids(spans, n_tokens)) == spans


@pytest.mark.parametrize("scheme", SCHEMES)
def test_continues_is_true_inside_spans_and_nowhere_else(scheme):
    kinds = TagSet.from_labels(LABELS, scheme)
    inside, between = set(), set()
    for spans in flat_spans(3):
        if scheme == "IO" and touches(spans):
            continue
        ids = kinds.tag_ids(spans, 3)
        for i, step in enumerate(pairwise(ids)):
            within = any(span.start <= i and i + 1 < span.end for span in spans)
            (inside if within else between).add(step)
    assert not inside & between
    assert all(kinds.continues[step] for step in inside)
    assert not any(kinds.continues[step] for step in between)
    assert not kinds.continues[-1].any()
    assert not kinds.continues[:, -1].any()


@pytest.mark.parametrize(("scheme", "prefixes"), [("BIO", "BI"), ("BIOES", "BIES")])
@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_lenient_reading_equals_seqeval(scheme, prefixes, data):
    """For any order of tags, legal or not."""
    tags = ["O", *(f"{prefix}-{label}" for prefix in prefixes for label in LABELS)]
    sequence = data.draw(st.lists(st.sampled_from(tags), max_size=8))
    expected = [(label, start, end + 1) for label, start, end in get_entities(sequence)]
    assert [(span.label, span.start, span.end) for span in tags_to_spans(sequence, scheme)] == expected


@pytest.mark.parametrize(("scheme", "oracle"), [("BIO", IOB2), ("BIOES", IOBES)])
@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_legal_tags_are_read_as_by_strict_seqeval(scheme, oracle, data):
    spans, n_tokens = data.draw(sentences())
    entities = Entities([spans_to_tags(spans, n_tokens, scheme)], oracle).entities[0]
    assert [Span(e.start, e.end, e.tag) for e in entities] == spans


@pytest.mark.parametrize(
    ("tags", "scheme"),
    [
        (["O"], "BIO"),
        (["O", "B-LOC", "I-LOC"], "BIO"),
        (["B-LOC"], "BIO"),
        (["B-LOC", "I-LOC", "I-PER"], "IOB1"),
        (["I-LOC", "O"], "IO"),
        (["S-LOC", "O"], "BIOS"),
        (["B-LOC", "S-LOC", "I-LOC"], "BIOS"),
        (["B-LOC", "E-LOC", "S-LOC", "I-LOC"], "BIOES"),
        (["B-LOC", "M-LOC", "E-LOC"], "BMES"),
        (["B-LOC", "I-LOC", "L-LOC", "U-LOC", "O"], "BILOU"),
        (["U-LOC", "O"], "BILOU"),
        (["O", "B", "I"], "BIO"),
        (["O", "I"], "IO"),
        (["S", "E", "O", "I", "B"], "BIOES"),
        (["PER", "O", "product-car", "X"], "IO"),
    ],
)
def test_the_scheme_is_guessed_from_prefixes(tags, scheme):
    assert guess_scheme(tags) == scheme


def test_mixed_prefixes_are_refused():
    with pytest.raises(ValueError, match="prefixes B, I, M, expected the prefixes of"):
        guess_scheme(["B-LOC", "I-LOC", "M-LOC"])


@pytest.mark.parametrize("tags", [["PER", "B-LOC"], ["B", "PER"], ["PER", "I-PER"]])
def test_labels_without_prefix_do_not_mix_with_tags(tags):
    with pytest.raises(ValueError, match="tag 'PER', expected O or B-"):
        guess_scheme(tags)


def test_one_class_without_a_name():
    kinds = TagSet(["O", "B", "I"], "BIO")
    assert kinds.spans([1, 2, 1, 0]) == [Span(0, 2, "ENTITY"), Span(2, 3, "ENTITY")]
    assert kinds.tag_ids([Span(0, 2, "ENTITY"), Span(2, 3, "ENTITY")], 4) == [1, 2, 1, 0]
    assert TagSet(["E", "O", "B", "I", "S"], "BIOES", label="cell").spans([4, 2, 0]) == [
        Span(0, 1, "cell"),
        Span(1, 3, "cell"),
    ]


def test_labels_without_prefix_are_io():
    kinds = TagSet(["E-mail", "O", "PER"], "IO")
    assert kinds.labels == ("E-mail", "PER")
    assert kinds.spans([2, 2, 1, 0, 2]) == [Span(0, 2, "PER"), Span(3, 4, "E-mail"), Span(4, 5, "PER")]
    assert kinds.tag_ids([Span(0, 2, "PER")], 3) == [2, 2, 1]


@pytest.mark.parametrize("written", SCHEMES)
def test_the_scheme_that_fits_best_is_the_one_that_was_written(written):
    """Every set of spans of three tokens, written in one scheme, read in another that has its prefixes."""
    texts = [spans for spans in flat_spans(3) if written != "IO" or not touches(spans)]
    tags = TagSet.from_labels(LABELS, written).tags
    for read in SCHEMES:
        try:
            kinds = TagSet(tags, read)
        except ValueError:
            continue
        rows = [[kinds.index[tag] for tag in spans_to_tags(spans, 3, written)] for spans in texts]
        assert kinds.n_illegal(rows) == sum(
            not kinds.legal[step] for row in rows for step in pairwise([len(kinds), *row, len(kinds)])
        )
        best = kinds.best_fit(rows)
        assert best.n_illegal(rows) == 0
        assert [best.spans(row) for row in rows] == texts
        assert (best is kinds) == (kinds.n_illegal(rows) == 0)


@pytest.mark.parametrize("tag", ["B_PER", "B-", "-PER", "PER", "X-PER", "o", "", "O-PER"])
def test_wrong_tags_are_refused(tag):
    with pytest.raises(ValueError, match="expected O or B-"):
        split_tag(tag)


def test_a_label_keeps_its_hyphens():
    assert split_tag("B-x-y") == ("B", "x-y")


@pytest.mark.parametrize(
    ("tags", "scheme", "message"),
    [
        (["O"], "IOB7", "scheme 'IOB7', expected one of BIO"),
        (["O", "B", "I-LOC"], "BIO", "tags 'I-LOC' and 'B', expected all with a label or none"),
        (["O", "PER"], "BIO", "tag 'PER', expected O or B-"),
        (["O", "I-PER", "PER"], "IO", "tag 'PER', expected O or B-"),
        (["B-LOC"], "BIO", "expected each once and O among them"),
        (["O", "O"], "BIO", "expected each once"),
        (["O", "E-LOC"], "BIO", "tag 'E-LOC', expected a tag of scheme BIO"),
    ],
)
def test_a_tag_set_refuses(tags, scheme, message):
    with pytest.raises(ValueError, match=message):
        TagSet(tags, scheme)


@pytest.mark.parametrize(
    "spans", [[(0, 2, "LOC"), (1, 3, "LOC")], [(0, 0, "LOC")], [(-1, 1, "LOC")], [(0, 4, "LOC")]]
)
def test_tags_cannot_represent_nested_empty_or_outlying_spans(spans):
    with pytest.raises(ValueError, match=r"expected flat spans in 0\.\.3"):
        spans_to_tags([Span(*span) for span in spans], 3)


SPANS = st.sets(st.tuples(st.integers(0, 7), st.integers(1, 4), st.sampled_from(LABELS)), max_size=7).map(
    lambda places: [Span(start, start + n_tokens, label) for start, n_tokens, label in places]
)


def share_a_token(one, other):
    return not set(range(one.start, one.end)).isdisjoint(range(other.start, other.end))


@given(SPANS)
def test_overlapping_spans_equal_a_search_of_all_pairs(spans):
    expected = {one for one in spans for other in spans if one != other and share_a_token(one, other)}
    assert n_overlapping(spans) == len(expected)


@given(SPANS)
def test_the_outermost_spans_are_the_longest_ones(spans):
    kept = []
    for span in sorted(spans, key=lambda span: (span.start - span.end, span)):
        if not any(share_a_token(span, other) for other in kept):
            kept.append(span)
    assert sorted(outermost(spans)) == sorted(kept)
    assert (n_overlapping(spans) > 0) == (len(kept) < len(spans))
    best = keep_apart(spans, key=lambda span: -span.end)
    assert best == sorted(best)
    assert not any(share_a_token(*pair) for pair in combinations(best, 2))
    assert all(any(share_a_token(span, other) and other.end >= span.end for other in best) for span in spans)


def test_illegal_positions():
    kinds = TagSet.from_labels(LABELS)
    ids = [kinds.index[tag] for tag in ["I-LOC", "I-LOC", "O", "B-LOC", "I-PER", "O"]]
    assert kinds.illegal_positions(ids) == [0, 4]
    bioes = TagSet.from_labels(LABELS, "BIOES")
    assert bioes.illegal_positions([bioes.index["B-LOC"]]) == [0]
    assert bioes.illegal_positions([]) == []


def test_the_span_of_a_scored_span():
    assert ScoredSpan(1, 3, "LOC", 0.5).span == Span(1, 3, "LOC")


def test_classes_that_are_not_tags_are_never_legal():
    kinds = TagSet(["[PAD]", "O", "B-LOC", "I-LOC", "X"], "BIO")
    assert kinds.labels == ("LOC",)
    for k in (0, 4):
        assert not kinds.legal[k].any()
        assert not kinds.legal[:, k].any()
    assert kinds.spans([2, 0, 4, 2, 3]) == [Span(0, 1, "LOC"), Span(3, 5, "LOC")]


def test_bios_has_entities_of_several_tokens():
    kinds = TagSet(["O", "B-LOC", "I-LOC", "S-LOC"], guess_scheme(["O", "B-LOC", "I-LOC", "S-LOC"]))
    assert kinds.tag_ids([Span(1, 3, "LOC"), Span(3, 4, "LOC")], 5) == [0, 1, 2, 3, 0]
    assert kinds.illegal_positions([0, 1, 2, 3, 0]) == []
