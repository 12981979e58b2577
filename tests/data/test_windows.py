"""Sentences as pieces; windows over them; long sentences cut short, against the definition written out."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.annotations.spans import Spans
from ner.data.batches import Batches
from ner.data.sentence import Sentence
from ner.data.tokenizer import WordPiece
from ner.data.windows import Windows, encode, rounded
from ner.tags import ScoredSpan, Span
from tests.data.test_batches import make_sentence, make_tokenizer
from tests.factories import make_targets

TOKENIZER = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abc", *(f"##{c}" for c in "abc")])
LABELS = {"X": 0, "Y": 1}
CUTS = ("head", "tail", "head_tail")


@st.composite
def sentences(draw):
    tokens = draw(st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=24))
    ends = sorted(draw(st.sets(st.integers(0, len(tokens)), max_size=6)))
    spans = [Span(s, e, draw(st.sampled_from("XY"))) for s, e in zip(ends[::2], ends[1::2], strict=False)]
    return Sentence.with_spans(tuple(tokens), tuple(spans))


def expected_tokens(tokens, capacity, how) -> list[int]:
    """Numbers of the tokens whose pieces, one a letter, all lie in the stretches that are read."""
    n = sum(map(len, tokens))
    if n <= capacity:
        return list(range(len(tokens)))
    head = {"head": capacity, "tail": 0, "head_tail": round(capacity * 128 / 510)}[how]
    places = set(range(head)) | set(range(n - (capacity - head), n))
    kept, start = [], 0
    for number, token in enumerate(tokens):
        if set(range(start, start + len(token))) <= places:
            kept.append(number)
        start += len(token)
    return kept or [len(tokens) - 1 if how == "tail" else 0]


@pytest.mark.parametrize("how", CUTS)
@settings(max_examples=60, deadline=None)
@given(st.lists(sentences(), min_size=1, max_size=5), st.integers(8, 30))
def test_what_is_read_is_what_the_definition_says(how, given, max_len):
    windows = Windows(max_len, long_text=how)
    soft = np.random.default_rng(0).random((sum(len(s.tokens) for s in given), 3)).astype(np.float16)
    loader = Batches(
        encode(given, TOKENIZER),
        windows=windows,
        batch_tokens=64,
        targets=make_targets(LABELS),
        soft_tags=soft,
    )
    firsts = np.cumsum([0, *(len(sentence.tokens) for sentence in given)])
    n_unread = 0
    for i, sentence in enumerate(given):
        kept = expected_tokens(sentence.tokens, max_len - 2, how)
        batch = loader.collate([i])
        assert batch.piece_ids.shape[1] == 1
        pieces = "".join(sentence.tokens[k] for k in kept)[: max_len - 2]
        ids = batch.piece_ids[0, 0][batch.piece_mask[0, 0]].tolist()
        assert [TOKENIZER.vocabulary[k].removeprefix("##") for k in ids[1:-1]] == list(pieces)
        assert batch.mask.sum() == len(kept)
        starts = np.cumsum([0, *(len(sentence.tokens[k]) for k in kept[:-1])])
        assert batch.token_piece[0].tolist() == [1 + s for s in starts.tolist()]
        torch.testing.assert_close(
            batch.gold["soft_tags"][0], torch.from_numpy(soft[firsts[i] + kept].astype(np.float32))
        )
        gold = [s for s in sentence.spans if set(range(s.start, s.end)) <= set(kept)]
        n_unread += len(sentence.spans) - len(gold)
        rows = [row for row in batch.gold["spans"][0].tolist() if row[0] < row[1]]
        found = [ScoredSpan(start, end, "XY"[label], 1.0) for start, end, label in rows]
        assert [scored.span for scored in loader.restore(i, {"spans": found})["spans"]] == gold
    assert loader.n_unread("spans") == n_unread
    assert loader.sentences == given


def test_a_span_across_what_was_left_out_is_none():
    kept = np.array([0, 1, 5, 6])
    found = [ScoredSpan(0, 2, "X", 0.5), ScoredSpan(1, 3, "X", 0.5), ScoredSpan(2, 4, "Y", 0.5)]
    assert Spans().restore(found, kept) == [ScoredSpan(0, 2, "X", 0.5), ScoredSpan(5, 7, "Y", 0.5)]


def test_windows_lose_nothing():
    tokens = tuple("abc" * 30)
    examples = encode([Sentence.with_spans(tokens, (Span(0, 90, "X"),))], TOKENIZER)
    loader = Batches(examples, windows=Windows(12), batch_tokens=64, targets=make_targets(LABELS))
    assert (loader.kept, loader.n_unread("spans")) == (None, 0)
    assert loader.collate([0]).mask.sum() == 90
    with pytest.raises(ValueError, match="long_text: got 'middle', expected one of windows, head"):
        Windows(12, long_text="middle")


@given(data=st.data())
@settings(deadline=None, max_examples=200)
def test_every_piece_has_one_window_and_sees_half_the_overlap_on_either_side(data):
    windows = Windows(max_len := data.draw(st.integers(4, 40)), data.draw(st.integers(0, max_len - 3)))
    n_pieces = data.draw(st.integers(1, 400))
    starts, capacity = windows.starts(n_pieces), max_len - 2
    assert windows.capacity == capacity
    assert len(starts) == windows.count(n_pieces) == windows.count(np.array([n_pieces]))[0]
    assert starts[0] == 0
    ends = np.minimum(starts + capacity, n_pieces)
    assert ends[-1] == n_pieces
    assert (ends[:-1] - starts[1:] >= windows.shared).all()
    if len(starts) > 1:  # one window less would not do
        assert capacity + (len(starts) - 2) * (capacity - windows.shared) < n_pieces
        assert (ends - starts == capacity).all()
    positions = np.arange(n_pieces)
    owner = windows.owner(starts, positions)
    assert (np.diff(owner) >= 0).all()
    assert (starts[owner] <= positions).all()
    assert (positions < ends[owner]).all()
    context = windows.shared // 2
    assert (positions - starts[owner] >= np.minimum(context, positions)).all()
    assert (ends[owner] - 1 - positions >= np.minimum(context, n_pieces - 1 - positions)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3,), "max_len 3, expected at least 4"),
        ((10, 8), "overlap 8, expected 0 to 7"),
        ((10, -1), "overlap -1, expected 0 to 7"),
    ],
)
def test_windows_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Windows(*arguments)


def test_lengths_are_rounded_up_by_little_to_a_small_set():
    lengths = np.arange(1, 513)
    up = rounded(lengths)
    assert (up >= lengths).all()
    assert (np.diff(up) >= 0).all()
    assert (rounded(up) == up).all()
    assert len(set(up.tolist())) <= 40
    assert (up - lengths < np.maximum(4, lengths / 8 + 1)).all()


def test_encode_gives_each_token_the_pieces_that_the_tokenizer_gives_it():
    tokenizer = make_tokenizer()
    sentences = [make_sentence(n, seed=n) for n in (1, 7, 30, 2)]
    examples = encode(sentences, tokenizer)
    assert len(examples) == 4
    for i, sentence in enumerate(sentences):
        pieces = [tokenizer.pieces(token) for token in sentence.tokens]
        own, starts = examples.of(i)
        assert own.tolist() == list(chain.from_iterable(pieces))
        assert starts.tolist() == [sum(map(len, pieces[:t])) for t in range(len(pieces))]
        assert examples.n_pieces[i] == sum(map(len, pieces))


def test_a_sentence_without_tokens_is_refused():
    with pytest.raises(ValueError, match="sentence 1 has no tokens"):
        encode([make_sentence(2), Sentence.with_spans((), ())], make_tokenizer())
