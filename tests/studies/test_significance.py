"""Intervals and tests against slow loops, all 2^n swaps, `statistics`, and Holm's step-down procedure."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2

from ner.studies import significance
from ner.studies.significance import (
    bootstrap,
    count,
    draws,
    holm,
    mean_and_deviation,
    precision_recall_f1,
    randomisation,
    swapped_differences,
)
from ner.tags import Span, spans_to_tags


def slow_f1(rows) -> float:
    correct, predicted, gold = (sum(int(row[k]) for row in rows) for k in range(3))
    return 2 * correct / (predicted + gold) if predicted + gold else 0.0


@st.composite
def systems(draw, n_systems=2, max_sentences=8):
    """Counts of several systems on the same sentences."""
    gold = draw(st.lists(st.integers(0, 4), min_size=1, max_size=max_sentences))
    tables = []
    for _ in range(n_systems):
        rows = []
        for n_gold in gold:
            n_correct = draw(st.integers(0, n_gold))
            rows.append((n_correct, n_correct + draw(st.integers(0, 3)), n_gold))
        tables.append(np.array(rows))
    return tables


def random_counts(n_sentences, share, seed):
    random = np.random.default_rng(seed)
    gold = np.random.default_rng(99).integers(0, 5, n_sentences)
    correct = random.binomial(gold, share)
    return np.stack([correct, correct + random.integers(0, 2, n_sentences), gold], axis=1)


def test_counts_and_scores_equal_seqeval():
    length = 6
    gold = [[Span(0, 2, "LOC"), Span(3, 4, "PER")], [], [Span(1, 6, "ORG")], [Span(0, 1, "LOC")]]
    predicted = [[Span(0, 2, "LOC"), Span(3, 5, "PER")], [Span(2, 3, "LOC")], [Span(1, 6, "LOC")], gold[3]]
    counts = count(gold, predicted)
    assert counts.tolist() == [[1, 2, 2], [0, 1, 0], [0, 1, 1], [1, 1, 1]]
    tags = [[spans_to_tags(spans, length) for spans in side] for side in (gold, predicted)]
    ours = precision_recall_f1(counts.sum(axis=0))
    for value, oracle in zip(ours, (precision_score, recall_score, f1_score), strict=True):
        assert value == pytest.approx(oracle(*tags, mode="strict", scheme=IOB2), abs=1e-12)


def test_scores_without_predictions_or_gold_are_0():
    assert precision_recall_f1(np.array([[0, 0, 3], [0, 2, 0], [0, 0, 0]])).tolist() == [[0.0] * 3] * 3
    assert count([], []).shape == (0, 3)
    with pytest.raises(ValueError, match="shorter"):
        count([[]], [])


@given(st.lists(st.floats(0, 1), min_size=2))
def test_mean_and_deviation(values):
    mean, deviation = mean_and_deviation(values)
    assert mean == pytest.approx(statistics.mean(values), abs=1e-12)
    assert deviation == pytest.approx(statistics.stdev(values), abs=1e-9)


def test_one_value_has_no_deviation():
    assert mean_and_deviation([0.5]) == (0.5, None)


@pytest.mark.parametrize("chunk", [1, 40, 10**6])
def test_the_interval_equals_a_slow_loop(monkeypatch, chunk):
    monkeypatch.setattr(significance, "CHUNK", chunk)
    runs = [random_counts(13, 0.8, seed) for seed in (1, 2, 3)]
    drawn = [row for rows in draws(13, 13, 57, seed=5) for row in rows]
    assert len(drawn) == 57
    assert {i for row in drawn for i in row.tolist()} == set(range(13))
    f1s = sorted(statistics.mean(slow_f1([run[i] for i in row]) for run in runs) for row in drawn)
    for level in (0.95, 0.5):
        low, high = bootstrap(runs, n_resamples=57, level=level, seed=5)
        cut = statistics.quantiles(f1s, n=40, method="inclusive")  # at 2.5%, 5%, ...
        k = round((1 - level) / 2 * 40)
        assert (low, high) == pytest.approx((cut[k - 1], cut[-k]), abs=1e-12)


def test_the_interval_of_a_perfect_system_has_no_width():
    counts = np.array([[n, n, n] for n in (1, 2, 3)])
    assert bootstrap([counts], n_resamples=200) == (1.0, 1.0)


def test_the_interval_covers_the_truth_at_its_level():
    # each entity is found with this probability and nothing else is predicted: F1 = 2 s / (s + 1)
    share = 0.8
    truth, n_inside = 2 * share / (share + 1), 0
    for seed in range(200):
        correct = np.random.default_rng(seed).binomial(2, share, 120)
        counts = np.stack([correct, correct, np.full(120, 2)], axis=1)
        low, high = bootstrap([counts], n_resamples=300, seed=seed)
        n_inside += low <= truth <= high
    assert 0.89 < n_inside / 200 < 0.99


@given(systems())
@settings(max_examples=50, deadline=None)
def test_swaps_equal_a_slow_loop(pair):
    ours, theirs = pair
    swaps = list(itertools.product([False, True], repeat=len(ours)))
    slow = []
    for swap in swaps:
        mixed = [(b, a) if s else (a, b) for a, b, s in zip(ours, theirs, swap, strict=True)]
        slow.append(slow_f1([a for a, _ in mixed]) - slow_f1([b for _, b in mixed]))
    assert swapped_differences(ours, theirs, np.array(swaps)) == pytest.approx(slow, abs=1e-12)


@given(systems())
@settings(max_examples=25, deadline=None)
def test_p_equals_all_swaps(pair):
    ours, theirs = pair
    n = 4000
    found = abs(slow_f1(ours) - slow_f1(theirs))
    as_large = 0
    for swap in itertools.product([False, True], repeat=len(ours)):
        mixed = [(b, a) if s else (a, b) for a, b, s in zip(ours, theirs, swap, strict=True)]
        as_large += abs(slow_f1([a for a, _ in mixed]) - slow_f1([b for _, b in mixed])) >= found - 1e-12
    exact = as_large / 2 ** len(ours)
    error = 5 * math.sqrt(exact * (1 - exact) / n) + 2 / n
    assert randomisation([ours], [theirs], n_shuffles=n) == pytest.approx(exact, abs=error)


def test_p_is_1_for_equal_systems_and_smallest_for_very_different_ones():
    good, bad = random_counts(300, 0.9, 1), random_counts(300, 0.5, 2)
    assert randomisation([good], [good], n_shuffles=99) == 1.0
    assert randomisation([good], [bad], n_shuffles=99) == pytest.approx(1 / 100)
    assert randomisation([good], [bad], n_shuffles=99) == randomisation([bad], [good], n_shuffles=99)


def test_several_runs_answer_with_the_mean_of_their_counts():
    ours, theirs = [random_counts(40, 0.8, s) for s in (1, 2)], [random_counts(40, 0.7, s) for s in (3, 4, 5)]
    whole = randomisation([sum(ours) / 2], [sum(theirs) / 3], n_shuffles=500)
    assert randomisation(ours, theirs, n_shuffles=500) == whole
    assert randomisation(ours * 2, theirs, n_shuffles=500) == whole
    assert 1 / 501 < whole < 1


def test_p_is_uniform_if_the_systems_are_equal():
    ps = [
        randomisation([random_counts(60, 0.7, 2 * s)], [random_counts(60, 0.7, 2 * s + 1)], n_shuffles=199)
        for s in range(200)
    ]
    for level in (0.05, 0.25, 0.5):
        share = sum(p <= level for p in ps) / len(ps)
        assert share == pytest.approx(level, abs=4 * math.sqrt(level * (1 - level) / len(ps)))


@given(st.lists(st.floats(0, 1), max_size=6), st.floats(0.001, 0.999))
def test_holm_equals_the_step_down_procedure(ps, level):
    rejected = set()
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        if ps[i] * (len(ps) - rank) > level:
            break
        rejected.add(i)
    assert {i for i, p in enumerate(holm(ps)) if p <= level} == rejected
    assert all(a >= p for a, p in zip(holm(ps), ps, strict=True))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
