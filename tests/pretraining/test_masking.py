import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.tokenizer import WordPiece
from ner.pretraining.masking import MASKING_UNITS, mask_pieces, piece_kinds

PAD, UNK, CLS, SEP, MASK = range(5)
N_WORDS, N_CONTINUATIONS = 200, 100
VOCABULARY = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *(f"w{i}" for i in range(N_WORDS)),
    *(f"##c{i}" for i in range(N_CONTINUATIONS)),
]
KINDS = piece_kinds(WordPiece(VOCABULARY))
FIRST_CONTINUATION = 5 + N_WORDS


def make_rows(*, n_rows=8, n_pieces=64, seed=0, share_special=0.05, share_continued=0.3):
    """Rows of random lengths: words with continuations, special pieces strewn in, junk under the padding."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n_rows, n_pieces)
    word = torch.randint(5, FIRST_CONTINUATION, shape, generator=generator)
    continued = torch.randint(FIRST_CONTINUATION, len(VOCABULARY), shape, generator=generator)
    special = torch.randint(0, 5, shape, generator=generator)
    draw = torch.rand(shape, generator=generator)
    ids = torch.where(draw < share_continued, continued, word)
    ids = torch.where(draw > 1 - share_special, special, ids)
    n_real = torch.randint(1, n_pieces + 1, (n_rows,), generator=generator)
    ids[:, 0] = CLS
    return ids, torch.arange(n_pieces) < n_real[:, None]


def mask(ids, mask_, seed=0, **options):
    return mask_pieces(ids, mask_, KINDS, generator=torch.Generator().manual_seed(seed), **options)


def runs(places, n_columns):
    """Neighbouring places of one row, as lists."""
    found = []
    for place in places.tolist():
        if found and place == found[-1][-1] + 1 and place % n_columns:
            found[-1].append(place)
        else:
            found.append([place])
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(MASKING_UNITS), st.floats(0.01, 0.9), st.integers(1, 6))
def test_hides_ordinary_pieces_of_real_cells_and_nothing_else(seed, masking, rate, max_span):
    ids, real = make_rows(seed=seed, n_pieces=1 + seed % 40)
    before = ids.clone()
    masked = mask(ids, real, seed, masking=masking, rate=rate, max_span=max_span)
    ordinary = (real & (ids >= 5)).flatten()
    assert torch.equal(ids, before)
    assert masked.n_pieces == ordinary.sum()
    assert ordinary[masked.places].all()
    assert (masked.places.diff() > 0).all()
    assert torch.equal(masked.labels, ids.flatten()[masked.places])
    elsewhere = torch.ones(ids.numel(), dtype=torch.bool)
    elsewhere[masked.places] = False
    assert torch.equal(masked.piece_ids.flatten()[elsewhere], ids.flatten()[elsewhere])
    hiding = masked.piece_ids.flatten()[masked.places]
    assert ((hiding == MASK) | (hiding >= 5)).all()
    if ordinary.any():
        assert len(masked.places) >= 1


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["word", "span"]), st.floats(0.01, 0.9))
def test_words_are_hidden_whole(seed, masking, rate):
    ids, real = make_rows(seed=seed)
    chosen = torch.zeros(ids.numel(), dtype=torch.bool)
    chosen[mask(ids, real, seed, masking=masking, rate=rate).places] = True
    chosen = chosen.view_as(ids)
    ordinary = real & (ids >= 5)
    for row in range(ids.shape[0]):
        for i in range(1, ids.shape[1]):
            if ordinary[row, i] and ordinary[row, i - 1] and ids[row, i] >= FIRST_CONTINUATION:
                assert chosen[row, i] == chosen[row, i - 1]


def test_tokens_are_hidden_one_by_one():
    ids, real = make_rows(n_rows=64, share_continued=0.9)
    pairs = [run for run in runs(mask(ids, real, rate=0.05).places, 64) if len(run) > 1]
    assert len(pairs) < 30


@pytest.mark.parametrize("masking", MASKING_UNITS)
def test_rate_is_right_in_the_mean(masking):
    n_masked = n_pieces = 0
    for seed in range(150):
        ids, real = make_rows(seed=seed)
        masked = mask(ids, real, seed, masking=masking)
        n_masked += len(masked.places)
        n_pieces += masked.n_pieces
    assert n_masked / n_pieces == pytest.approx(0.15, abs=0.003)


def test_every_place_is_as_likely():
    counts = torch.zeros(20)
    ids = torch.full((1, 20), 7)
    for seed in range(1500):
        counts[mask(ids, ids > 0, seed, masking="span").places] += 1
    # the ends are hidden as often as the middle
    assert (counts / counts.mean() - 1).abs().max() < 0.25


def test_four_fifths_masked_a_tenth_random_a_tenth_as_they_were():
    ids, real = make_rows(n_rows=400, share_special=0.0)
    masked = mask(ids, real, rate=0.5)
    hiding = masked.piece_ids.flatten()[masked.places]
    share_masked = (hiding == MASK).float().mean().item()
    share_same = (hiding == masked.labels).float().mean().item()
    assert share_masked == pytest.approx(0.8, abs=0.015)
    assert share_same == pytest.approx(0.1 + 0.1 / len(KINDS.ordinary), abs=0.012)


def test_span_lengths_are_geometric():
    ids = torch.randint(5, FIRST_CONTINUATION, (1, 200_000), generator=torch.Generator().manual_seed(1))
    found = runs(mask(ids, ids > 0, masking="span", rate=0.005, max_span=4).places, ids.shape[1])
    lengths = torch.tensor([len(run) for run in found])
    shares = torch.bincount(lengths, minlength=5)[1:5] / len(lengths)
    expected = 0.8 ** torch.arange(4)
    assert torch.allclose(shares, expected / expected.sum(), atol=0.06)


def test_spans_end_at_special_pieces_and_rows():
    ids = torch.tensor([[CLS, 7, 8, SEP, 9, 10], [11, 12, 13, 14, 15, 16]])
    # at so low a rate a single span is hidden
    seen = {
        tuple(mask(ids, ids > 0, seed, masking="span", rate=0.01, max_span=6).places.tolist())
        for seed in range(300)
    }
    assert {(1, 2), (4, 5), (6, 7, 8, 9, 10, 11)} <= seen
    assert all(span == tuple(range(span[0], span[-1] + 1)) for span in seen)
    assert not any(first in span and second in span for span in seen for first, second in ((2, 4), (5, 6)))


def test_is_a_function_of_the_generator():
    ids, real = make_rows()
    first, again, other = (mask(ids, real, seed, masking="span") for seed in (3, 3, 4))
    assert all(torch.equal(a, b) for a, b in zip(first[:3], again[:3], strict=True))
    assert not torch.equal(first.places, other.places)


def test_nothing_to_hide():
    ids = torch.tensor([[CLS, SEP, 9]])
    masked = mask(ids, torch.tensor([[True, True, False]]))
    assert torch.equal(masked.piece_ids, ids)
    assert len(masked.places) == len(masked.labels) == masked.n_pieces == 0


def test_unknown_unit_and_vocabulary_without_mask():
    ids, real = make_rows()
    with pytest.raises(ValueError, match="masking: got 'letter', expected one of token, word, span"):
        mask(ids, real, masking="letter")
    with pytest.raises(ValueError, match=r"vocabulary without \[MASK\]"):
        piece_kinds(WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"]))
