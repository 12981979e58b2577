"""Starts and ends: classes, loss, pairing and probabilities, all by enumeration."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.heads.base import ClassifierOptions
from ner.heads.losses import focal
from ner.heads.span import pairs
from tests.factories import LABELS, SIZES, make_head, make_hidden, make_scored_batch


def classes_of(spans, n_tokens):
    """Starts and ends of gold spans, a token at a time."""
    rows = [[0, 0] for _ in range(n_tokens)]
    for start, end, label in spans:
        rows[start][0] = rows[end - 1][1] = LABELS.index(label) + 1
    return rows


def chances_of(table):
    """(T, 2, L + 1) of scores -> the same of probabilities, in float64."""
    p = np.exp(table.double().numpy())
    return p / p.sum(axis=2, keepdims=True)


@pytest.mark.usefixtures("float64")
def test_the_loss_is_that_of_all_starts_and_ends():
    head = make_head("span")
    scores, batch, spans = make_scored_batch(head, n_sentences=12, n_tokens=7)
    for loss, table, mask, sentence in zip(head.loss(scores, batch), scores, batch.mask, spans, strict=True):
        p, classes = chances_of(table), classes_of(sentence, int(mask.sum()))
        expected = -sum(
            math.log(p[t, side, k]) for t, pair in enumerate(classes) for side, k in enumerate(pair)
        )
        assert loss.item() == pytest.approx(expected)


@pytest.mark.usefixtures("float64")
def test_in_training_the_loss_is_its_criterion():
    head = make_head("span")
    scores, batch, _ = make_scored_batch(head)
    plain = head.loss(scores, batch)
    head.options = ClassifierOptions(loss="focal")
    torch.testing.assert_close(head.loss(scores, batch), plain)
    per_token = focal(scores, head.gold_classes(batch)).sum(dim=2) * batch.mask
    torch.testing.assert_close(head.train().loss(scores, batch), per_token.sum(dim=1))
    assert not torch.allclose(per_token.sum(dim=1), plain)


@pytest.mark.usefixtures("float64")
def test_an_end_sees_the_start_of_its_token():
    head = make_head("span")
    hidden = torch.randn(1, 3, SIZES["hidden_size"])
    before = head.scores(make_hidden(hidden), None)
    with torch.no_grad():
        head.starts.bias[1] += 50.0
    after = head.scores(make_hidden(hidden), None)
    p = after[:, :, 0].softmax(-1)
    expected = head.ends(head.norm(torch.tanh(head.inner(torch.cat([hidden, p], -1)))))
    torch.testing.assert_close(after[:, :, 1], expected)
    assert not torch.allclose(after[:, :, 1], before[:, :, 1])


def every_pair(classes):
    """Each start with the nearest end of its class, by looking at all spans from the shortest."""
    found = []
    for first, (k, _) in enumerate(classes):
        lasts = [last for last in range(first, len(classes)) if classes[last][1] == k]
        if k and lasts:
            found.append((first, lasts[0], k))
    return found


CLASSES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=12)


@given(CLASSES)
@settings(deadline=None)
def test_pairs_are_those_found_by_trying_all(classes):
    assert sorted(pairs(np.array(classes))) == every_pair(classes)


@given(CLASSES, st.sampled_from([6.0, 20.0]))
@settings(deadline=None)
def test_decoding_keeps_the_likeliest_of_what_overlaps(classes, margin):
    """With a margin of 20 all probabilities are 1 in float32."""
    head = make_head("span")
    scores, batch, _ = make_scored_batch(head, n_sentences=1, n_tokens=len(classes), seed=len(classes))
    for t, pair in enumerate(classes):
        for side, k in enumerate(pair):
            scores[0, t, side, k] += margin
    p = chances_of(scores[0])
    candidates = {
        (first, last + 1, LABELS[k - 1]): p[first, 0, k] * p[last, 1, k]
        for first, last, k in every_pair(p.argmax(axis=2).tolist())
    }
    expected = {}
    for span in sorted(candidates, key=candidates.get, reverse=True):
        if all(span[1] <= other[0] or other[1] <= span[0] for other in expected):
            expected[span] = candidates[span]
    (found,) = head.decode(scores, batch)
    assert [tuple(scored.span) for scored in found] == sorted(expected)
    assert [scored.score for scored in found] == pytest.approx([expected[s] for s in sorted(expected)])


def test_a_long_text_is_decoded_at_once():
    head = make_head("span")
    scores, batch, _ = make_scored_batch(head, n_sentences=1, n_tokens=20_000)
    (found,) = head.decode(scores, batch)
    assert len(found) > 1000
    assert all(one.end <= other.start for one, other in pairwise(found))
