"""Spans by their own scores: the band against the whole matrix, loss and decoding by enumeration."""

import cmath
import math
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.annotations.spans import Spans
from ner.data.batch import Batch
from ner.heads.base import HeadOptions
from ner.heads.global_pointer import GlobalPointerHead
from ner.tags import Span, TagSet
from tests.factories import LABELS, make_gold, make_hidden, make_inventories

WIDTH = 12


def make_head(*, max_span_len=4, nested=True, labels=LABELS, seed=0):
    torch.manual_seed(seed)
    facts = {"max_span_len": max_span_len, "nested": nested}
    inventories = make_inventories(TagSet.from_labels(labels), **facts)
    head = GlobalPointerHead(WIDTH, inventories, HeadOptions(dropout=0.0))
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_(std=0.5)
    return head.eval()


def every_span(n_tokens, max_span_len):
    """(start, end, label number) of all spans that can be."""
    ends = combinations(range(n_tokens + 1), 2)
    return [(s, e, c) for s, e in ends if e - s <= max_span_len for c in range(len(LABELS))]


def make_case(seed=0, *, n_sentences=4, n_tokens=7, max_span_len=3, n_gold=5):
    """Random scores of a band, a batch as far as a head looks at it, and the gold spans, which overlap."""
    random = np.random.default_rng(seed)
    lengths = [n_tokens, *random.integers(1, n_tokens + 1, size=n_sentences - 1)]
    gold = []
    for length in lengths:
        spans = every_span(int(length), n_tokens)  # some of them longer than the band
        chosen = random.choice(len(spans), size=min(n_gold, len(spans)), replace=False)
        gold.append([Span(*spans[i][:2], LABELS[spans[i][2]]) for i in sorted(chosen)])
    shape = (n_sentences, n_tokens, min(max_span_len, n_tokens), len(LABELS))
    scores = torch.from_numpy(random.normal(scale=3.0, size=shape)).float()
    mask = torch.arange(n_tokens) < torch.tensor(np.array(lengths))[:, None]
    none = torch.zeros(n_sentences, 1, 1, dtype=torch.int64)
    return scores, Batch(none, none.bool(), none[:, 0], mask, {"spans": make_gold(gold)}), gold


def paper_scores(head, hidden):
    """(T, T, C) of one sentence (T, H), [i, j] of the span from token i to token j, written out.

    Rotations are multiplications by e^(i t r), over numbers that two neighbours make up.
    """
    pair = (hidden @ head.pair.weight.T + head.pair.bias).double()
    width = pair.shape[1] // 2
    queries, keys = pair[:, :width].tolist(), pair[:, width:].tolist()
    weight, bias = head.ends.weight.double(), head.ends.bias.double()
    n_tokens, n_labels = len(pair), len(LABELS)
    scores = torch.zeros(n_tokens, n_tokens, n_labels, dtype=torch.float64)
    for i in range(n_tokens):
        for j in range(n_tokens):
            product = 0.0
            for n in range(0, width, 2):
                rate = 10000 ** (-n / width)
                q = complex(*queries[i][n : n + 2]) * cmath.exp(1j * i * rate)
                k = complex(*keys[j][n : n + 2]) * cmath.exp(1j * j * rate)
                product += (q * k.conjugate()).real
            for c in range(n_labels):
                first = weight[c] @ pair[i] + bias[c]
                last = weight[n_labels + c] @ pair[j] + bias[n_labels + c]
                scores[i, j, c] = product / math.sqrt(width) + (first + last) / 2
    return scores


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("max_span_len", [1, 2, 3, 7, 11, 40])
def test_the_band_is_that_of_the_papers_matrix(max_span_len):
    head, n_tokens = make_head(max_span_len=max_span_len), 11
    hidden = torch.randn(2, n_tokens, WIDTH)
    with torch.no_grad():
        scores = head.scores(make_hidden(hidden), None)
        assert scores.shape == (2, n_tokens, min(max_span_len, n_tokens), len(LABELS))
        for row in range(2):
            expected = paper_scores(head, hidden[row])
            for t, w in np.ndindex(scores.shape[1:3]):
                if t + w < n_tokens:
                    found = scores[row, t, w].double()
                    torch.testing.assert_close(found, expected[t, t + w])


@pytest.mark.usefixtures("float64")
def test_a_score_is_the_same_wherever_the_span_stands():
    """Far from the start of a long text as well."""
    head = make_head(max_span_len=6)
    hidden = torch.randn(1, 9, WIDTH)
    far = torch.cat([torch.randn(1, 30_001, WIDTH), hidden], dim=1)
    with torch.no_grad():
        near_scores, far_scores = (
            head.scores(make_hidden(hidden), None),
            head.scores(make_hidden(far), None)[:, 30_001:],
        )
    for t, w in np.ndindex(9, 6):
        if t + w < 9:
            torch.testing.assert_close(near_scores[0, t, w], far_scores[0, t, w])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("seed", range(3))
def test_the_loss_is_that_of_all_spans(seed):
    head = make_head(max_span_len=3)
    scores, batch, gold = make_case(seed)
    for loss, table, mask, spans in zip(head.loss(scores, batch), scores, batch.mask, gold, strict=True):
        table, expected = table.double(), 0.0
        for c, label in enumerate(LABELS):
            truth, others = 1.0, 1.0
            for start, end, k in every_span(int(mask.sum()), 3):
                if k == c and (start, end, label) in spans:
                    truth += math.exp(-table[start, end - start - 1, c])
                elif k == c:
                    others += math.exp(table[start, end - start - 1, c])
            expected += math.log(truth) + math.log(others)
        assert loss.item() == pytest.approx(expected)


@pytest.mark.usefixtures("float64")
def test_gold_longer_than_the_band_changes_nothing():
    head = make_head(max_span_len=3)
    scores, batch, gold = make_case(n_gold=3)
    assert any(end - start > 3 for spans in gold for start, end, _ in spans)
    short = [[span for span in spans if span.end - span.start <= 3] for spans in gold]
    without = batch._replace(gold={"spans": make_gold(short)})
    torch.testing.assert_close(head.loss(scores, batch), head.loss(scores, without))
    assert [list(head.learnable("spans", spans)) for spans in gold] == short


def test_the_loss_and_its_slope_are_finite_however_large_the_scores():
    head = make_head(max_span_len=3)
    scores, batch, _ = make_case()
    scores = (1e6 * scores).requires_grad_()
    loss = head.loss(scores, batch)
    assert loss.isfinite().all()
    loss.sum().backward()
    assert scores.grad.isfinite().all()
    none = batch._replace(gold={"spans": torch.zeros(4, 0, 3, dtype=torch.int64)})
    assert head.loss(scores, none).isfinite().all()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_without_a_label_there_is_nothing_to_lose():
    head = make_head(labels=[])
    batch = make_case()[1]._replace(gold={"spans": torch.zeros(4, 0, 3, dtype=torch.int64)})
    scores = head.scores(make_hidden(torch.randn(4, 7, WIDTH)), None)
    assert head.loss(scores, batch).tolist() == [0.0] * 4
    assert head.decode(scores, batch) == [[]] * 4


@pytest.mark.usefixtures("float64")
def test_the_divergence_is_that_of_every_span_as_a_coin():
    head = make_head(max_span_len=3)
    (scores, batch, _), (other, _, _) = make_case(1), make_case(2)
    for row, found in enumerate(head.divergence(scores, other, batch)):
        expected = 0.0
        for start, end, c in every_span(int(batch.mask[row].sum()), 3):
            place = (row, start, end - start - 1, c)
            p, q = (1 / (1 + math.exp(-x[place].double())) for x in (scores, other))
            expected += sum(a * math.log(a / b) + b * math.log(b / a) for a, b in [(p, q), (1 - p, 1 - q)])
        assert found.item() == pytest.approx(expected)


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 10), st.sampled_from([1, 50]))
@settings(deadline=None, max_examples=50)
def test_decoding_finds_all_above_zero_or_the_best_apart(seed, n_tokens, max_span_len, scale):
    """Of scores beyond 40 too, whose sigmoid is 1 even in float64."""
    scores, batch, _ = make_case(seed, n_tokens=n_tokens, max_span_len=max_span_len)
    scores *= scale
    nested = make_head(max_span_len=max_span_len).decode(scores, batch)
    flat = make_head(max_span_len=max_span_len, nested=False).decode(scores, batch)
    for row, (all_found, apart) in enumerate(zip(nested, flat, strict=True)):
        above = {}
        for start, end, c in every_span(int(batch.mask[row].sum()), max_span_len):
            if (score := scores[row, start, end - start - 1, c].item()) > 0:
                above[start, end, LABELS[c]] = score
        assert [tuple(found.span) for found in all_found] == sorted(above)
        assert [found.score for found in all_found] == pytest.approx(
            [1 / (1 + math.exp(-above[span])) for span in sorted(above)]
        )
        kept = []
        for span in sorted(above, key=above.get, reverse=True):
            if all(span[1] <= other[0] or other[1] <= span[0] for other in kept):
                kept.append(span)
        assert [tuple(found.span) for found in apart] == sorted(kept)


def test_what_the_head_knows_of_train_is_what_train_has(tmp_path):
    (tmp_path / "tags.txt").write_text("O\nB-LOC\nB-PER\n")

    def facts(spans):
        inventory = Spans().read_inventory(tmp_path, spans)
        return inventory.max_span_len, inventory.nested

    spans = [[Span(0, 2, "LOC"), Span(3, 9, "PER")], [], [Span(0, 1, "LOC")]]
    assert facts(spans) == (6, False)
    assert facts([*spans, [Span(0, 2, "LOC"), Span(0, 2, "PER")]]) == (6, True)
    assert facts([[]]) == (1, False)
    flat = make_head(max_span_len=6, nested=False)
    assert flat.learnable("spans", [Span(0, 9, "LOC"), Span(0, 3, "LOC"), Span(1, 2, "PER")]) == [
        Span(0, 3, "LOC")
    ]
    assert "spans of up to 6 tokens; spans do not overlap" in flat.describe()


def test_a_text_of_a_hundred_thousand_tokens_fits():
    head = make_head(max_span_len=20)
    hidden = torch.randn(1, 100_000, WIDTH)
    mask = torch.ones(1, 100_000, dtype=torch.bool)
    none = torch.zeros(1, 1, 1, dtype=torch.int64)
    with torch.no_grad():
        scores = head.scores(make_hidden(hidden), None)
        scores -= scores.flatten().kthvalue(scores.numel() - 500).values
        batch = Batch(
            none, none.bool(), none[:, 0], mask, {"spans": make_gold([[Span(99_990, 100_000, "LOC")]])}
        )
        assert head.loss(scores, batch).isfinite().all()
        (found,) = head.decode(scores, batch)
    assert 400 < len(found) <= 500
