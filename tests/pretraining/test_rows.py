import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.tokenizer import WordPiece
from ner.pretraining.masking import NO_TAG
from ner.pretraining.params import PretrainConfig
from ner.pretraining.plaintext import TokenizedText
from ner.pretraining.rows import MaskedLoader, Stream, block_rows, hold_out, line_rows

CLS, SEP, MASK = 2, 3, 4
FIRST = 5
TOKENIZER = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(3000))])


def make_text(lengths):
    """Lines of so many pieces, all different, each closed by [SEP]."""
    pieces, number = [], FIRST
    for length in lengths:
        pieces += [*range(number, number + length), SEP]
        number += length
    return TokenizedText(np.array(pieces, np.uint16), np.concatenate([[0], np.cumsum(np.add(lengths, 1))]))


def make_tagged_text(lengths, seed=0):
    """The same; every piece has one of three tags or none, [SEP] has none."""
    text = make_text(lengths)
    tags = np.random.default_rng(seed).integers(0, 4, len(text.pieces)).astype(np.uint16)
    tags[text.pieces == SEP] = 0
    return text._replace(tags=tags, tag_names=("B-a", "I-a", "B-b"))


def make_loader(lengths, lines=None, text=None, **options):
    lines = np.arange(len(lengths)) if lines is None else lines
    seed = options.pop("seed", 1)
    config = PretrainConfig(**({"block_len": 16, "batch_tokens": 64} | options))
    return MaskedLoader(Stream(text or make_text(lengths), lines), TOKENIZER, config, seed=seed)


def seen_pieces(loader, number):
    """Every ordinary piece of an epoch's batches, hidden ones by what stood there."""
    found = []
    for make_batch in loader.epoch(number):
        batch = make_batch()
        ids = batch.piece_ids.flatten().scatter(0, batch.places, batch.labels).view_as(batch.piece_ids)
        assert (ids[:, 0] == CLS).all()
        assert (ids[~batch.piece_mask] == 0).all()
        assert ids.shape[1] <= loader.config.block_len
        assert ids.numel() <= loader.config.batch_tokens
        real = ids[batch.piece_mask]
        assert batch.n_pieces == (real >= FIRST).sum()
        found += real[real >= FIRST].tolist()
    return found


def hidden_pieces(loader, number):
    return torch.cat([make_batch().labels for make_batch in loader.epoch(number)])


lengths_of_lines = st.lists(st.integers(1, 60), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(lengths_of_lines, st.sampled_from(["blocks", "lines"]), st.integers(8, 40), st.integers(0, 3))
def test_every_piece_comes_once_an_epoch(lengths, packing, block_len, epoch):
    options = {"packing": packing, "block_len": block_len, "batch_tokens": 2 * block_len}
    found = seen_pieces(make_loader(lengths, **options), epoch)
    assert sorted(found) == list(range(FIRST, FIRST + sum(lengths)))


@settings(max_examples=60, deadline=None)
@given(lengths_of_lines, st.integers(8, 40), st.integers(0, 6))
def test_rows_follow_each_other_without_gap(lengths, block_len, offset):
    stream = Stream(make_text(lengths), np.arange(len(lengths)))
    for rows in (block_rows(stream, block_len, min(offset, len(stream) - 1)), line_rows(stream, block_len)):
        assert rows.starts[0] == 0
        assert np.array_equal(rows.starts[1:], (rows.starts + rows.lengths)[:-1])
        assert rows.starts[-1] + rows.lengths[-1] == len(stream)
        assert rows.lengths.max() <= block_len - 1
        assert rows.lengths.min() >= 1


def test_line_by_line_a_row_holds_one_line():
    stream = Stream(make_text([3, 14, 15, 40]), np.arange(4))
    rows = line_rows(stream, 16)
    # up to 14 pieces fit beside [CLS] and [SEP]; longer lines are cut evenly
    assert rows.lengths.tolist() == [4, 15, 8, 8, 13, 14, 14]


def test_blocks_are_full_and_cut_elsewhere_each_epoch():
    loader = make_loader([100] * 10, packing="blocks")
    first, second = loader.rows(0), loader.rows(1)
    assert (np.sort(first.lengths)[2:] == 15).all()
    assert not np.array_equal(first.starts, second.starts)


@pytest.mark.parametrize("packing", ["blocks", "lines"])
def test_held_out_lines_are_never_trained_on(packing):
    lengths = [9] * 300
    train, held_out = hold_out(300)
    loader = make_loader(lengths, train, packing=packing)
    val = make_loader(lengths, held_out, packing=packing, seed=None)
    kept = set(seen_pieces(val, 0))
    assert len(kept) == 9 * len(held_out)
    for epoch in range(3):
        found = seen_pieces(loader, epoch)
        assert not kept & set(found)
        assert len(found) == 9 * len(train)
        assert not kept & set(hidden_pieces(loader, epoch).tolist())


@given(st.integers(2, 5000))
def test_split_covers_all_lines(n_lines):
    train, held_out = hold_out(n_lines)
    assert sorted([*train, *held_out]) == list(range(n_lines))
    assert len(held_out) >= 1
    assert len(train) >= n_lines / 2
    if n_lines >= 200:
        assert len(held_out) >= 20


def test_split_of_a_long_text_holds_out_half_a_percent():
    train, held_out = hold_out(400_000)
    assert len(held_out) == 2000
    assert len(train) == 398_000
    with pytest.raises(ValueError, match="got 1 lines, expected at least 2"):
        hold_out(1)


def test_a_batch_is_a_function_of_seed_epoch_and_number():
    lengths = [7, 30, 3, 12] * 20

    def same(a, b):
        return all(x.shape == y.shape and torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))

    loader, again = make_loader(lengths), make_loader(lengths)
    for make_batch in again.epoch(0)[:3]:
        make_batch()
    assert same(loader.epoch(2)[1](), again.epoch(2)[1]())
    assert not same(loader.epoch(0)[1](), loader.epoch(1)[1]())
    assert not same(loader.epoch(0)[1](), make_loader(lengths, seed=2).epoch(0)[1]())


def test_held_out_masks_are_always_the_same_and_training_masks_are_not():
    val = make_loader([14] * 40, packing="lines", seed=None)
    assert torch.equal(hidden_pieces(val, 0), hidden_pieces(val, 1))
    train = make_loader([14] * 40, packing="lines")
    assert set(hidden_pieces(train, 0).tolist()) != set(hidden_pieces(train, 1).tolist())


@settings(max_examples=60, deadline=None)
@given(lengths_of_lines, st.data())
def test_a_stream_has_the_tags_of_its_lines(lengths, data):
    text = make_tagged_text(lengths)
    numbers = st.integers(0, len(lengths) - 1)
    lines = sorted(data.draw(st.sets(numbers, min_size=1)))
    expected = []
    for line in lines:
        for tag in text.tags[text.line_ends[line] : text.line_ends[line + 1]].tolist():
            expected.append(tag)
    stream = Stream(text, np.array(lines))
    assert stream.read(np.arange(len(stream)))[1].tolist() == expected
    positions = np.array(data.draw(st.lists(st.integers(0, len(stream) - 1))), np.int64)
    assert stream.read(positions)[1].tolist() == [expected[i] for i in positions]
    assert Stream(make_text(lengths), np.array(lines)).read(positions)[1] is None


@settings(max_examples=60, deadline=None)
@given(lengths_of_lines, st.sampled_from(["blocks", "lines"]), st.integers(8, 40), st.integers(0, 3))
def test_tags_stand_where_their_pieces_do(lengths, packing, block_len, number):
    text = make_tagged_text(lengths)
    tag_of = dict(zip(text.pieces.tolist(), text.tags.tolist(), strict=True))
    options = {"packing": packing, "block_len": block_len, "batch_tokens": 2 * block_len}
    epoch = make_loader(lengths, text=text, **options).epoch(number)
    untagged = make_loader(lengths, **options).epoch(number)
    n_found = 0
    for make_batch, make_untagged in zip(epoch, untagged, strict=True):
        batch, plain = make_batch(), make_untagged()
        for mine, other in zip(batch[:4], plain[:4], strict=True):
            assert torch.equal(mine, other)
        assert plain.tags is None
        assert plain.n_tags == 0
        assert plain.inputs("cpu")[4] is None
        assert torch.equal(batch.inputs("cpu")[4], batch.tags)
        ids = batch.piece_ids.flatten().scatter(0, batch.places, batch.labels).view_as(batch.piece_ids)
        assert batch.tags.shape == ids.shape
        n_tags = 0
        for row_of_ids, row_of_tags in zip(ids.tolist(), batch.tags.tolist(), strict=True):
            for piece, tag in zip(row_of_ids, row_of_tags, strict=True):
                assert tag == (tag_of[piece] if piece >= FIRST else NO_TAG)
                n_tags += tag > 0
        assert batch.n_tags == n_tags
        n_found += n_tags
    assert n_found == np.count_nonzero(text.tags)


def test_few_shapes_and_little_padding():
    random = np.random.default_rng(0)
    loader = make_loader(
        random.integers(1, 12, 400).tolist(), packing="lines", batch_tokens=160, block_len=64
    )
    batches = [make_batch() for make_batch in loader.epoch(0)]
    shapes = {tuple(b.piece_ids.shape) for b in batches}
    assert len(shapes) <= 8
    real = sum(int(b.piece_mask.sum()) for b in batches)
    assert real / sum(b.piece_ids.numel() for b in batches) > 0.75
