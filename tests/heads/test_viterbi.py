"""Chains against brute force over every tag sequence, and against pytorch-crf if there are too many."""

from itertools import groupby, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchcrf import CRF

from ner.heads import viterbi as viterbi_module
from ner.heads.viterbi import (
    backward_sums,
    decode,
    forward_sums,
    span_log_probabilities,
    viterbi,
)
from ner.tags import SCHEMES, Span, TagSet

LABELS = ("LOC", "PER")


def make_tag_set(scheme, labels=LABELS):
    return TagSet.from_labels(labels, scheme)


def make_transitions(tag_set, seed=0, scale=1.0):
    """Random scores of the legal steps, -inf for the others."""
    n_tags = len(tag_set)
    random = np.random.default_rng((seed, 1))
    return np.where(tag_set.legal, scale * random.normal(size=(n_tags + 1, n_tags + 1)), -np.inf)


def make_emissions(*shape, seed=0, scale=1.0):
    return scale * np.random.default_rng((seed, 2)).normal(size=shape)


def all_paths(n_tags, n_tokens):
    """(K ** T, T): every tag sequence, legal or not."""
    return np.array(list(product(range(n_tags), repeat=n_tokens)))


def path_scores(paths, emissions, transitions, *, ended=True):
    """The score of each path from the definition; `ended` false leaves out the last step."""
    edge = len(transitions) - 1
    steps = np.pad(paths, ((0, 0), (1, 1)), constant_values=edge)
    if not ended:
        steps = steps[:, :-1]
    scores = emissions[np.arange(paths.shape[1]), paths].sum(axis=1)
    return scores + transitions[steps[:, :-1], steps[:, 1:]].sum(axis=1)


def probabilities(paths, emissions, transitions):
    scores = path_scores(paths, emissions, transitions)
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()


def path_spans(tag_set, paths):
    return [tag_set.spans(path.tolist()) for path in paths]


def span_probability(span, spans, chances):
    return sum(chance for found, chance in zip(spans, chances, strict=True) if span in found)


def pad(emissions, n_tokens, garbage):
    """Ragged emissions (T, K) -> (B, T, K), padded with garbage, and the lengths."""
    padded = np.full((len(emissions), n_tokens, emissions[0].shape[1]), garbage)
    for row, sentence in enumerate(emissions):
        padded[row, : len(sentence)] = sentence
    return padded, np.array([len(sentence) for sentence in emissions])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("garbage", [0.0, 1e30, -1e30, np.nan, np.inf, -np.inf])
def test_decoding_a_batch_equals_brute_force_with_any_padding(scheme, garbage):
    tag_set = make_tag_set(scheme, ("LOC",))
    transitions = make_transitions(tag_set, seed=3)
    sentences = [make_emissions(n, len(tag_set), seed=n, scale=2) for n in (4, 1, 5, 3, 2)]
    decoded = decode(*pad(sentences, 6, garbage), transitions, tag_set)
    for emissions, found in zip(sentences, decoded, strict=True):
        paths = all_paths(len(tag_set), len(emissions))
        chances = probabilities(paths, emissions, transitions)
        spans = path_spans(tag_set, paths)
        assert [scored.span for scored in found] == spans[chances.argmax()]
        for scored in found:
            assert scored.score == pytest.approx(span_probability(scored.span, spans, chances), abs=1e-9)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(deadline=None, max_examples=12)
def test_no_span_begins_or_ends_with_a_blank_token(scheme, data):
    """Brute force over the legal paths whose spans have visible ends; some sentences have no blank token.

    Blank neighbours have their mean scores.
    """
    tag_set = make_tag_set(scheme, data.draw(st.sampled_from([("LOC",), LABELS])))
    seed, scale = data.draw(st.integers(0, 10**6)), data.draw(st.sampled_from([1.0, 5.0, 300.0]))
    transitions = make_transitions(tag_set, seed)
    sentences = [make_emissions(n, len(tag_set), seed=seed + n, scale=scale) for n in (3, 1, 2, 3)]
    blank = np.zeros((4, 5), bool)
    for row, sentence in enumerate(sentences[:3]):
        blank[row, : len(sentence)] = data.draw(st.lists(st.booleans(), min_size=3, max_size=3))[
            : len(sentence)
        ]
    decoded = decode(*pad(sentences, 5, np.nan), transitions, tag_set, blank)
    for emissions, hidden, found in zip(sentences, blank, decoded, strict=True):
        paths = all_paths(len(tag_set), len(emissions))
        spans = path_spans(tag_set, paths)
        kept = [not any(hidden[s.start] or hidden[s.end - 1] for s in own) for own in spans]
        paths, spans = paths[kept], [own for own, is_kept in zip(spans, kept, strict=True) if is_kept]
        runs = [
            list(run) for _, run in groupby(range(len(emissions)), key=lambda t: (hidden[t], hidden[t] or t))
        ]
        shares = np.array([1 / len(run) for run in runs for _ in run])[:, None]
        chances = probabilities(paths, emissions * shares, transitions)
        assert [scored.span for scored in found] == spans[chances.argmax()]
        for scored in found:
            assert scored.score == pytest.approx(span_probability(scored.span, spans, chances), abs=1e-9)


def test_a_long_run_of_blank_tokens_keeps_the_chance_of_what_stands_before_it():
    """No sum underflows, though the model is sure that every blank token continues the entity."""
    tag_set = make_tag_set("BIO", ("LOC",))
    transitions = np.where(tag_set.legal, 0.0, -np.inf)
    emissions = np.full((1, 400, 3), -9.0)
    emissions[0, 0, tag_set.index["B-LOC"]] = emissions[0, 1:, tag_set.index["I-LOC"]] = 9.0
    transitions[tag_set.index["I-LOC"], tag_set.index["I-LOC"]] = 9.0
    (found,) = decode(emissions, np.array([400]), transitions, tag_set, np.arange(400)[None] > 1)
    assert [scored.span for scored in found] == [Span(0, 2, "LOC")]
    assert found[0].score == pytest.approx(1.0)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("run", "scale", "step"), [(1, 30.0, 1.0), (4, 10.0, 12.0), (40, 1.0, 3.0)])
def test_products_equal_logarithms_around_blank_tokens(monkeypatch, scheme, run, scale, step):
    """Runs of blank tokens at the start, in the middle and at the end."""
    tag_set = make_tag_set(scheme)
    transitions = make_transitions(tag_set, 5, step)
    blank = np.array([[True] * run + [False, False] + [True] * run + [False] + [True] * run])
    emissions = make_emissions(1, blank.size, len(tag_set), seed=run, scale=scale)
    (found,) = decode(emissions, np.array([blank.size]), transitions, tag_set, blank)
    monkeypatch.setattr(viterbi_module, "MAX_CHAIN_SPREAD", -np.inf)
    (expected,) = decode(emissions, np.array([blank.size]), transitions, tag_set, blank)
    assert [one.span for one in found] == [one.span for one in expected]
    assert [one.score for one in found] == pytest.approx([one.score for one in expected], abs=1e-12)


def test_a_blank_token_does_not_make_a_batch_slow(monkeypatch):
    """Sums of logarithms take eight times as long as products."""
    steps, make_step = [], viterbi_module.make_step
    monkeypatch.setattr(
        viterbi_module, "make_step", lambda t, *, exact: steps.append(exact) or make_step(t, exact=exact)
    )
    tag_set = make_tag_set("BIOES")
    blank = np.arange(9)[None] == 3
    decode(make_emissions(1, 9, len(tag_set)), np.array([9]), make_transitions(tag_set), tag_set, blank)
    assert steps
    assert not any(steps)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n_tokens", [1, 2, 4])
def test_viterbi_finds_the_best_legal_path(scheme, n_tokens):
    tag_set = make_tag_set(scheme)
    paths = all_paths(len(tag_set), n_tokens)
    emissions = make_emissions(8, n_tokens, len(tag_set), seed=n_tokens)
    transitions = make_transitions(tag_set, seed=n_tokens)
    found = viterbi(emissions, np.full(8, n_tokens), transitions)
    for sentence, path in zip(emissions, found, strict=True):
        assert path.tolist() == paths[path_scores(paths, sentence, transitions).argmax()].tolist()
        assert tag_set.illegal_positions(path.tolist()) == []


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_forward_and_backward_sums_are_sums_over_paths(scheme, exact):
    tag_set, n_tokens = make_tag_set(scheme, ("LOC",)), 4
    n_tags = len(tag_set)
    transitions = make_transitions(tag_set)
    emissions = make_emissions(1, n_tokens, n_tags)
    alpha = forward_sums(emissions, transitions, exact=exact)[0]
    beta = backward_sums(emissions, np.array([n_tokens]), transitions, exact=exact)[0] - emissions[0]
    for t in range(n_tokens):
        ahead, behind = all_paths(n_tags, t + 1), all_paths(n_tags, n_tokens - t)
        before = path_scores(ahead, emissions[0, : t + 1], transitions, ended=False)
        # from tag k at token t on, without the step into it and without its emission
        free = transitions.copy()
        free[-1] = 0.0
        after = path_scores(behind, np.vstack([np.zeros(n_tags), emissions[0, t + 1 :]]), free)
        for k in range(n_tags):
            with np.errstate(divide="ignore"):
                assert alpha[t, k] == pytest.approx(np.log(np.exp(before[ahead[:, -1] == k]).sum()))
                assert beta[t, k] == pytest.approx(np.log(np.exp(after[behind[:, 0] == k]).sum()))


def test_backward_sums_of_a_batch_equal_each_sentence_alone():
    tag_set = make_tag_set("BIOES")
    transitions = make_transitions(tag_set)
    sentences = [make_emissions(n, len(tag_set), seed=n) for n in (3, 7, 1)]
    emissions, lengths = pad(sentences, 9, 1e30)
    together = backward_sums(emissions, lengths, transitions, exact=True)
    for row, sentence in enumerate(sentences):
        alone = backward_sums(sentence[None], lengths[row : row + 1], transitions, exact=True)
        np.testing.assert_allclose(together[row, : len(sentence)], alone[0])


def all_spans(tag_set, n_tokens):
    places = [(start, end) for start in range(n_tokens) for end in range(start + 1, n_tokens + 1)]
    return [Span(*place, label) for place in places for label in tag_set.labels]


def span_probabilities(spans, emissions, transitions, tag_set, *, exact=None):
    """The probabilities of spans of one sentence; `exact` None: as `is_scalable` allows."""
    rows, lengths = np.zeros(len(spans), int), np.array([emissions.shape[1]])
    with pytest.MonkeyPatch.context() as patch:
        if exact is not None:
            patch.setattr(viterbi_module, "MAX_CHAIN_SPREAD", -np.inf if exact else np.inf)
        return np.exp(span_log_probabilities(spans, rows, emissions, lengths, transitions, tag_set))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("n_tokens", [1, 2, 4])
def test_a_span_is_as_likely_as_all_paths_with_exactly_this_span(scheme, n_tokens, exact):
    tag_set = make_tag_set(scheme, LABELS if n_tokens < 4 else ("LOC",))
    transitions = make_transitions(tag_set)
    emissions = make_emissions(1, n_tokens, len(tag_set), seed=n_tokens)
    paths = all_paths(len(tag_set), n_tokens)
    path_chances, spans_of_paths = probabilities(paths, emissions[0], transitions), path_spans(tag_set, paths)
    spans = all_spans(tag_set, n_tokens)
    expected = [span_probability(span, spans_of_paths, path_chances) for span in spans]
    found = span_probabilities(spans, emissions, transitions, tag_set, exact=exact)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_products_equal_logarithms_if_they_are_used(scheme, data):
    """Up to the spread where `is_scalable` turns false, and beyond it with what it chooses."""
    tag_set = make_tag_set(scheme)
    seed, n_tokens = data.draw(st.integers(0, 10**6)), data.draw(st.integers(1, 12))
    transitions = make_transitions(tag_set, seed, data.draw(st.sampled_from([0.0, 1.0, 12.0])))
    peaks = np.random.default_rng(seed).integers(0, 2, size=(1, n_tokens, len(tag_set)))
    emissions = data.draw(st.sampled_from([1.0, 40.0, 149.0, 1e3])) * peaks
    spans = all_spans(tag_set, n_tokens)
    expected = span_probabilities(spans, emissions, transitions, tag_set, exact=True)
    np.testing.assert_allclose(
        span_probabilities(spans, emissions, transitions, tag_set), expected, atol=1e-12
    )


def test_span_probabilities_of_a_batch_equal_each_sentence_alone():
    tag_set = make_tag_set("BIOES")
    transitions = make_transitions(tag_set)
    sentences = [make_emissions(n, len(tag_set), seed=n, scale=3) for n in (3, 7, 1)]
    emissions, lengths = pad(sentences, 9, 1e2)
    spans_by_row = [(row, span) for row, n in enumerate(lengths) for span in all_spans(tag_set, n)]
    rows, spans = np.array([row for row, _ in spans_by_row]), [span for _, span in spans_by_row]
    together = span_log_probabilities(spans, rows, emissions, lengths, transitions, tag_set)
    for row, sentence in enumerate(sentences):
        alone = span_probabilities(all_spans(tag_set, lengths[row]), sentence[None], transitions, tag_set)
        np.testing.assert_allclose(np.exp(together[rows == row]), alone, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_spans_over_a_token_sum_to_the_probability_of_their_label_there(scheme):
    tag_set, n_tokens = make_tag_set(scheme), 9
    transitions = make_transitions(tag_set)
    emissions = make_emissions(1, n_tokens, len(tag_set))
    alpha = forward_sums(emissions, transitions, exact=True)[0]
    beta = backward_sums(emissions, np.array([n_tokens]), transitions, exact=True)[0] - emissions[0]
    log_z = np.logaddexp.reduce(alpha[-1] + transitions[:-1, -1], axis=0)
    chances = np.exp(alpha + beta - log_z)
    np.testing.assert_allclose(chances.sum(axis=1), 1.0)
    for number, label in enumerate(tag_set.labels):
        covered = np.zeros(n_tokens)
        spans = [span for span in all_spans(tag_set, n_tokens) if span.label == label]
        for span, chance in zip(
            spans, span_probabilities(spans, emissions, transitions, tag_set), strict=True
        ):
            covered[span.start : span.end] += chance
        np.testing.assert_allclose(covered, chances[:, tag_set.label_ids == number].sum(axis=1))


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(deadline=None, max_examples=25)
def test_decoded_paths_are_legal(scheme, data):
    tag_set = make_tag_set(scheme)
    n_tokens, seed = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 10**6))
    scale = data.draw(st.sampled_from([0.0, 1.0, 1e4]))
    transitions = make_transitions(tag_set, seed, data.draw(st.sampled_from([0.0, 1.0, 100.0])))
    emissions = make_emissions(3, n_tokens, len(tag_set), seed=seed, scale=scale)
    lengths = np.random.default_rng(seed).integers(1, n_tokens + 1, size=3)
    for path in viterbi(emissions, lengths, transitions):
        assert tag_set.illegal_positions(path.tolist()) == []
    for spans, length in zip(decode(emissions, lengths, transitions, tag_set), lengths, strict=True):
        tags = tag_set.tag_ids([scored.span for scored in spans], length)
        assert tag_set.illegal_positions(tags) == []
        assert all(0 <= scored.score <= 1 for scored in spans)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_peaked_emissions_are_certain(scheme):
    """±1e4 nats, as a confident model under float32 may give: neither overflow nor a chance beyond 1."""
    tag_set = make_tag_set(scheme)
    gold = [Span(0, 1, "LOC"), Span(2, 5, "PER"), Span(6, 8, "LOC")]
    emissions = np.full((1, 8, len(tag_set)), -1e4)
    emissions[0, np.arange(8), tag_set.tag_ids(gold, 8)] = 1e4
    found = decode(emissions.astype(np.float32), np.array([8]), make_transitions(tag_set), tag_set)[0]
    assert [scored.span for scored in found] == gold
    assert [scored.score for scored in found] == pytest.approx([1.0] * 3)
    assert all(scored.score <= 1 for scored in found)


def test_an_illegal_peak_goes_to_the_best_legal_path():
    """I-LOC at the start: the best legal path wins although illegal ones score 2e4 higher."""
    tag_set = make_tag_set("BIO", ("LOC",))
    emissions = np.zeros((1, 2, 3))
    emissions[0, 0] = [0.0, 0.0, 2e4]
    emissions[0, 0, tag_set.index["B-LOC"]] = 1.0
    found = decode(emissions, np.array([2]), np.where(tag_set.legal, 0.0, -np.inf), tag_set)[0]
    weights = {"O": {"O": 1, "B-LOC": 1}, "B-LOC": {"O": np.e, "B-LOC": np.e, "I-LOC": np.e}}
    total = sum(sum(row.values()) for row in weights.values())
    assert found[0].start == 0
    ends = {1: 2 * np.e / total, 2: np.e / total}
    assert found[0].score == pytest.approx(ends[found[0].end])


@pytest.mark.parametrize(
    ("scheme", "n_labels", "n_tokens", "scale"),
    [
        *((scheme, n, 30, 1.0) for scheme in ("BIO", "BIOES") for n in (1, 4, 6)),
        ("BIOES", 6, 30, 1e3),  # 25 tags, peaked
        ("BIO", 3, 2427, 1.0),  # the longest sentence of MSRA
    ],
)
def test_viterbi_equals_pytorch_crf_with_illegal_steps_forbidden(scheme, n_labels, n_tokens, scale):
    """Up to 25 tags, against an independent implementation."""
    tag_set = make_tag_set(scheme, [f"T{i}" for i in range(n_labels)])
    transitions = make_transitions(tag_set, seed=n_labels)
    forbidden = torch.tensor(np.maximum(transitions, -1e6))
    crf = CRF(len(tag_set), batch_first=True).double()
    crf.transitions.data = forbidden[:-1, :-1]
    crf.start_transitions.data = forbidden[-1, :-1]
    crf.end_transitions.data = forbidden[:-1, -1]
    n_sentences = 20 if n_tokens < 100 else 3
    emissions = scale * make_emissions(n_sentences, n_tokens, len(tag_set), seed=n_labels)
    lengths = np.random.default_rng(n_labels).integers(1, n_tokens + 1, size=n_sentences)
    lengths[:2] = 1, n_tokens
    mask = torch.arange(n_tokens) < torch.tensor(lengths)[:, None]
    expected = crf.decode(torch.tensor(emissions), mask)
    assert [path.tolist() for path in viterbi(emissions, lengths, transitions)] == expected


def test_a_chain_of_fifty_thousand_tokens_has_exact_probabilities():
    """A short text repeated, separated by a certain O: each repetition must be tagged like the text alone."""
    tag_set, n_tokens, n_times = make_tag_set("BIO", ("LOC",)), 50, 1000
    transitions = make_transitions(tag_set)
    outside = tag_set.index["O"]
    text = make_emissions(n_tokens, len(tag_set), seed=1)
    text[[0, -1]] = -1e2
    text[[0, -1], outside] = 1e2
    alone = decode(text[None], np.array([n_tokens]), transitions, tag_set)[0]
    together = decode(
        np.tile(text, (n_times, 1))[None], np.array([n_tokens * n_times]), transitions, tag_set
    )[0]
    assert len(alone) > 3
    assert [s.span for s in together] == [
        Span(s.start + n_tokens * i, s.end + n_tokens * i, s.label) for i in range(n_times) for s in alone
    ]
    np.testing.assert_allclose([s.score for s in together], [s.score for s in alone] * n_times, atol=1e-6)
    assert all(0 <= scored.score <= 1 for scored in together)
