"""Windows, collation and the order of an epoch; long sentences in windows against one big window."""

from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ner.data.batches import Batches, token_budget
from ner.data.formats import FORMATS
from ner.data.sentence import Sentence
from ner.data.tokenizer import SPACE, WordPiece
from ner.data.tokenizer_files import load_tokenizer
from ner.data.windows import Windows, encode
from ner.encoders import Bert
from ner.encoders.bert import BertConfig
from ner.heads import HEADS
from ner.model.tagger import Tagger
from ner.tags import Span, TagSet, outermost
from tests.factories import make_hidden, make_inventories, make_targets

LABELS = ("LOC", "PER")
WORDS = ["a", "bb", "cab", "abcabc", "日", "?", "\u200b", " "]


def make_tokenizer():
    """Pieces of one letter: `cab` is three of them."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", SPACE]
    return WordPiece([*specials, "日", *(f"{sign}{letter}" for letter in "abc" for sign in ("", "##"))])


def make_sentence(n_tokens, *, seed=0, words=WORDS, annotated=True):
    random = np.random.default_rng((n_tokens, seed))
    tokens = tuple(random.choice(words, size=n_tokens).tolist())
    starts = np.flatnonzero(random.random(n_tokens) < 0.3).tolist()
    spans = tuple(Span(i, i + 1, LABELS[i % 2]) for i in starts)
    return Sentence.with_spans(tokens, spans if annotated else None)


def make_loader(sentences, *, max_len=12, overlap=None, batch_tokens=64, **options):
    examples = encode(sentences, make_tokenizer())
    return Batches(examples, windows=Windows(max_len, overlap), batch_tokens=batch_tokens, **options)


class Neighbours(nn.Module):
    """A stub encoder that mixes each piece with its neighbours up to `reach`; integers, so sums are exact."""

    def __init__(self, *, reach, width=3, vocab_size=100):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        numbers = torch.randint(-8, 9, (vocab_size, width), generator=generator)
        kernel = torch.randint(-8, 9, (width, width, 2 * reach + 1), generator=generator)
        self.register_buffer("table", numbers.double())
        self.register_buffer("kernel", kernel.double())
        self.reach, self.n_cells = reach, []

    def forward(self, piece_ids, piece_mask):
        self.n_cells.append(piece_ids.numel())
        numbers = self.table[piece_ids] * piece_mask[..., None]
        mixed = nn.functional.conv1d(numbers.transpose(1, 2), self.kernel, padding=self.reach)
        return mixed.transpose(1, 2)


def make_stub_tagger(*, reach):
    torch.manual_seed(0)
    head = HEADS["softmax"](
        3, make_inventories(TagSet.from_labels(LABELS)), HEADS["softmax"].Options(dropout=0.0)
    )
    return Tagger(Neighbours(reach=reach), head.double()).eval()


@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_collate_round_trip(data):
    """Gathering by `token_piece` gives each token's first piece, whatever the windows."""
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=5))
    sentences = [make_sentence(n, seed=i) for i, n in enumerate(lengths)]
    max_len = data.draw(st.integers(4, 20))
    loader = make_loader(sentences, max_len=max_len, targets=make_targets(["LOC", "PER"]))
    tokenizer = make_tokenizer()
    indices = data.draw(st.permutations(range(len(sentences))))
    batch = loader.collate(indices)
    assert batch.n_tokens == sum(lengths)
    spoken = batch.piece_ids.flatten(1).gather(1, batch.token_piece)
    real = batch.piece_mask.flatten(1).gather(1, batch.token_piece)
    for row, i in enumerate(indices):
        tokens = sentences[i].tokens
        first = [tokenizer.pieces(token)[0] for token in tokens]
        assert spoken[row][batch.mask[row]].tolist() == first
        assert real[row][batch.mask[row]].all()
        assert batch.mask[row].tolist() == [t < len(tokens) for t in range(batch.mask.shape[1])]
        blank = [batch.blank is not None and bool(batch.blank[row, t]) for t in range(batch.mask.shape[1])]
        assert blank[: len(tokens)] == [token in (" ", "\u200b") for token in tokens]
        assert not any(blank[len(tokens) :])
        gold = [
            (start, end, LABELS[label])
            for start, end, label in batch.gold["spans"][row].tolist()
            if end > start
        ]
        assert tuple(map(tuple, gold)) == tuple(map(tuple, sentences[i].spans))
    assert (batch.token_piece[~batch.mask] == 0).all()
    for window, mask in zip(batch.piece_ids.flatten(0, 1), batch.piece_mask.flatten(0, 1), strict=True):
        n_real = int(mask.sum())
        assert n_real <= max_len
        assert mask[:n_real].all()
        assert (window[n_real:] == tokenizer.pad_id).all()
        if n_real:
            assert window[0] == tokenizer.cls_id
            assert window[n_real - 1] == tokenizer.sep_id
            assert not {tokenizer.cls_id, tokenizer.sep_id} & set(window[1 : n_real - 1].tolist())


def test_collate_as_its_docstring_has_it():
    tokenizer = make_tokenizer()
    loader = make_loader([Sentence.with_spans(("a", "b"), None), Sentence.with_spans(("c",), None)])
    batch = loader.collate([0, 1])
    a, b, c = (tokenizer.pieces(letter)[0] for letter in "abc")
    cls_id, sep_id, pad_id = tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id
    assert batch.piece_ids.tolist() == [[[cls_id, a, b, sep_id]], [[cls_id, c, sep_id, pad_id]]]
    assert batch.token_piece.tolist() == [[1, 2], [1, 0]]
    assert batch.mask.tolist() == [[True, True], [True, False]]
    assert batch.gold == {}


def test_gold_of_a_label_that_the_model_lacks_is_left_out():
    sentence = Sentence.with_spans(("a", "b", "c"), (Span(0, 1, "LOC"), Span(1, 2, "ORG"), Span(2, 3, "PER")))
    loader = make_loader([sentence], targets=make_targets(["LOC", "PER"]))
    assert loader.collate([0]).gold["spans"].tolist() == [[[0, 1, 0], [2, 3, 1]]]


def test_gold_that_the_head_cannot_find_is_left_out():
    sentence = Sentence.with_spans(("a", "b", "c"), (Span(0, 1, "LOC"), Span(0, 3, "ORG"), Span(2, 3, "LOC")))
    labels, both = ["LOC", "ORG"], [sentence, Sentence.with_spans(("a",), ())]
    loader = make_loader(both, targets=make_targets(labels, lambda name, value: outermost(value)))
    assert loader.collate([0, 1]).gold["spans"].tolist() == [[[0, 3, 1]], [[0, 0, 0]]]
    assert make_loader([sentence], targets=make_targets(labels)).collate([0]).gold["spans"].shape == (1, 3, 3)


@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_every_epoch_has_every_sentence_once_in_as_many_batches_within_the_budget(data):
    lengths = data.draw(st.lists(st.integers(1, 60), min_size=1, max_size=60))
    sentences = [make_sentence(n, words=["a"]) for n in lengths]
    seed, budget = data.draw(st.none() | st.integers(0, 99)), data.draw(st.integers(8, 200))
    loader = make_loader(sentences, max_len=data.draw(st.integers(4, 40)), batch_tokens=budget, seed=seed)
    for epoch in range(3):
        batches = loader.batch_indices(epoch)
        assert len(batches) == len(loader)
        assert sorted(chain.from_iterable(b.tolist() for b in batches)) == list(range(len(sentences)))
        for indices in batches:
            n_cells = loader.collate(indices).piece_ids.numel()
            assert n_cells <= budget or len(indices) == 1
    seen = [(indices.tolist(), batch.n_tokens) for indices, batch in loader.batches(1)][1:]
    assert [indices for indices, _ in seen] == [b.tolist() for b in loader.batch_indices(1)[1:]]


def test_the_order_depends_on_seed_and_epoch_alone():
    sentences = [make_sentence(1 + i % 40, words=["a"]) for i in range(200)]

    def order(seed, epoch):
        return [indices.tolist() for indices in make_loader(sentences, seed=seed).batch_indices(epoch)]

    torch.manual_seed(1)
    np.random.seed(1)
    first = order(7, 3)
    torch.manual_seed(2)
    np.random.seed(2)
    loader = make_loader(sentences, seed=7)
    for epoch in (0, 5):
        loader.batch_indices(epoch)
    assert [indices.tolist() for indices in loader.batch_indices(3)] == first == order(7, 3)
    assert len({str(order(seed, epoch)) for seed in (7, 8) for epoch in (0, 1, 2)}) == 6
    assert order(None, 0) == order(None, 1)


def test_with_a_seed_sentences_change_their_company_and_batches_their_places():
    sentences = [make_sentence(5, words=["a"]) for _ in range(100)]
    loader = make_loader(sentences, seed=0)
    one, other = (loader.batch_indices(epoch) for epoch in (0, 1))
    assert {frozenset(b.tolist()) for b in one} != {frozenset(b.tolist()) for b in other}
    ragged = make_loader([make_sentence(n, words=["a"]) for n in range(1, 60)], max_len=64, seed=0)
    lengths = [ragged.collate(b).piece_ids.shape[2] for b in ragged.batch_indices(0)]
    assert lengths != sorted(lengths)


def test_the_budget_is_so_many_mean_sentences():
    examples = encode([make_sentence(n, words=["a"]) for n in (2, 4, 6)], make_tokenizer())
    assert token_budget(examples, Windows(8), 10) == 10 * (4 + 6 + 8) / 3
    assert token_budget(examples, Windows(8), 1) == 8  # never less than a window


@pytest.mark.parametrize("reach", [1, 3])
def test_windows_show_what_one_big_window_shows(reach):
    """To an encoder whose reach is within half the overlap a window's cut is invisible."""
    tagger = make_stub_tagger(reach=reach)
    sentences = [make_sentence(n, seed=1) for n in (1, 5, 40, 150)]
    whole = make_loader(sentences, max_len=1000).collate(range(4))
    assert whole.piece_ids.shape[1] == 1
    expected = tagger.encode(whole).tokens
    decoded = tagger.head.decode(tagger.head.scores(make_hidden(expected), None), whole)
    assert any(decoded)
    for max_len, overlap in [(2 * reach + 4, 2 * reach), (30, 2 * reach), (30, 20), (31, None)]:
        cut = make_loader(sentences, max_len=max_len, overlap=overlap).collate(range(4))
        assert cut.piece_ids.shape[1] > 1
        hidden = tagger.encode(cut).tokens
        assert torch.equal(hidden[cut.mask], expected[whole.mask])
        assert tagger.head.decode(tagger.head.scores(make_hidden(hidden), None), cut) == decoded


def test_a_reach_beyond_half_the_overlap_does_see_the_cut():
    """The test above can fail."""
    tagger, sentences = make_stub_tagger(reach=4), [make_sentence(150, words=["a", "bb", "cab"])]
    whole = make_loader(sentences, max_len=1000).collate([0])
    cut = make_loader(sentences, max_len=30, overlap=6).collate([0])
    assert not torch.equal(tagger.encode(cut).tokens, tagger.encode(whole).tokens)


@pytest.mark.parametrize("max_cells", [1, 30, 100, 400])
def test_slices_of_a_long_sentence_give_the_same_hidden_states(max_cells):
    tagger = make_stub_tagger(reach=2)
    batch = make_loader([make_sentence(n) for n in (90, 200)], max_len=30).collate([0, 1])
    expected = tagger.encode(batch).tokens
    tagger.encoder.n_cells.clear()
    tagger.max_cells = max_cells
    assert torch.equal(tagger.encode(batch).tokens, expected)
    assert max(tagger.encoder.n_cells) <= max(max_cells, 30)
    assert sum(tagger.encoder.n_cells) == batch.piece_ids.numel()


def test_slices_under_bert_too():
    config = BertConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=30,
    )
    torch.manual_seed(0)
    encoder = Bert(config, vocab_size=len(make_tokenizer()))
    tagger = Tagger(
        encoder,
        HEADS["crf"](16, make_inventories(TagSet.from_labels(LABELS)), HEADS["crf"].Options(dropout=0.0)),
    ).eval()
    batch = make_loader([make_sentence(n) for n in (90, 20)], max_len=30).collate([0, 1])
    expected = tagger.encode(batch).tokens
    tagger.max_cells = 60
    torch.testing.assert_close(tagger.encode(batch).tokens, expected)


def test_hardly_any_padding_and_few_shapes_on_msra(ner_data, tmp_path):
    """At least 93% of what the encoder computes is real, in at most 40 shapes of a sentence."""
    with (ner_data / "msra" / "msra_train_bio").open(encoding="utf-8", newline="\n") as file:
        text = file.read(6_000_000)
    path = tmp_path / "train.bio"
    path.write_text("\n\n".join(text.split("\n\n")[:10_000]) + "\n", encoding="utf-8", newline="\n")
    sentences = FORMATS["bio"].reader(path).sentences
    assert len(sentences) == 10_000
    examples = encode(sentences, load_tokenizer(ner_data / "bert_base_chinese"))
    windows = Windows(180)
    loader = Batches(examples, windows=windows, batch_tokens=token_budget(examples, windows, 30), seed=0)
    n_real, n_cells, shapes = 0, 0, set()
    for _, batch in loader.batches():
        n_real += int(batch.piece_mask.sum())
        n_cells += batch.piece_mask.numel()
        shapes.add(batch.piece_ids.shape[1:])
    assert n_cells <= len(loader) * loader.batch_tokens
    assert n_real / n_cells >= 0.93
    assert len(shapes) <= 40
