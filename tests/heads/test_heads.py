"""What every head over every encoder fulfils, and what each head's loss is, against brute force."""

from dataclasses import fields
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchcrf import CRF

from ner.annotations.span_scores import score
from ner.data.batch import Batch
from ner.data.batches import Batches
from ner.data.examples import encode
from ner.data.sentence import Sentence
from ner.data.tokenizer import learn_vocabulary
from ner.data.windows import Windows
from ner.encoders import ENCODERS
from ner.errors import DataError
from ner.heads import HEADS
from ner.heads.flat import FlatHead
from ner.inference.predict import predict
from ner.model.build import build_encoder, build_head
from ner.model.tagger import Tagger
from ner.tags import SCHEMES, Span, TagSet
from ner.training.optim import build_optimizer, parameter_groups
from ner.training.step import Progress, Update, epoch_steps
from tests.factories import make_hidden, make_inventories, slice_batch

LABELS = ("LOC", "PER")
VOCAB_SIZE = 40
# every encoder takes those of these options that its Config has
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "embedding_size": 16,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 64,
    "bigram_size": 8,
    "max_bigrams": 30,
}
FLAT = [name for name, head in HEADS.items() if issubclass(head, FlatHead)]
HEAD_SCHEMES = [(name, scheme) for name, head in HEADS.items() for scheme in head.schemes]
BOTH = [(head, encoder) for head in HEADS for encoder in ENCODERS]


def make_encoder(name, *, vocab_size=VOCAB_SIZE, dropout=0.0, seed=0):
    torch.manual_seed(seed)
    names = {field.name for field in fields(ENCODERS[name].Config)}
    dropouts = {key: dropout for key in names if "dropout" in key}
    options = {key: value for key, value in SMALL.items() if key in names}
    return build_encoder({"name": name, **options, **dropouts}, vocab_size=vocab_size)


def make_head(name, scheme="BIO", *, width=SMALL["hidden_size"], dropout=0.0, seed=0):
    """A head whose weights are large enough to matter."""
    torch.manual_seed(seed)
    head = build_head(name, width, make_inventories(TagSet.from_labels(LABELS, scheme)), {"dropout": dropout})
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.normal_()
    return head.eval()


def make_tagger(head, encoder, *, seed=0):
    """A tagger whose encoder has learned something where it can learn."""
    built = make_encoder(encoder, seed=seed)
    if hasattr(built, "prepare"):
        built.prepare(None, np.random.default_rng(seed).integers(0, VOCAB_SIZE, size=2000))
    return Tagger(built, make_head(head, seed=seed)).eval()


def make_spans(random, n_tokens, *, apart=False):
    """Random flat spans; many touch each other, some with the same label."""
    spans, position = [], 0
    while position < n_tokens:
        end = int(random.integers(position + 1, n_tokens + 1))
        if random.random() < 0.6:
            spans.append(Span(position, end, LABELS[random.integers(len(LABELS))]))
        position = end + (1 if apart else 0)
    return spans


def make_gold(spans):
    """Spans of several sentences -> (B, S, 3), padded."""
    gold = torch.zeros(len(spans), max(map(len, spans)), 3, dtype=torch.int64)
    for row, sentence in enumerate(spans):
        for i, (start, end, label) in enumerate(sentence):
            gold[row, i] = torch.tensor([start, end, LABELS.index(label)])
    return gold


def make_batch(*, n_sentences=4, n_windows=2, n_pieces=9, n_tokens=7, seed=0):
    """Ragged in every direction; all padding holds random numbers."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, n_tokens + 1, size=n_sentences)
    lengths[-1] = n_tokens
    real = random.integers(3, n_pieces + 1, size=(n_sentences, n_windows))
    real[0, 1:] = 0  # a sentence with fewer windows than its neighbours
    piece_mask = np.arange(n_pieces) < real[..., None]
    token_piece = random.integers(0, n_windows * n_pieces, size=(n_sentences, n_tokens))
    for row, length in enumerate(lengths):
        token_piece[row, :length] = random.choice(np.flatnonzero(piece_mask[row]), size=length)
    return Batch(
        piece_ids=torch.from_numpy(random.integers(0, VOCAB_SIZE, size=piece_mask.shape)),
        piece_mask=torch.from_numpy(piece_mask),
        token_piece=torch.from_numpy(token_piece),
        mask=torch.from_numpy(np.arange(n_tokens) < lengths[:, None]),
        gold={"spans": make_gold([make_spans(random, length) for length in lengths])},
    )


def make_scored_batch(head, *, n_sentences=5, n_tokens=4, seed=0, apart=False):
    """Random scores such as the head makes, a batch as far as it looks at it, and the gold spans."""
    random = np.random.default_rng(seed)
    lengths = [n_tokens, *random.integers(1, n_tokens + 1, size=n_sentences - 1)]
    spans = [make_spans(random, int(length), apart=apart) for length in lengths]
    mask = torch.arange(n_tokens) < torch.tensor(lengths)[:, None]
    shape = head.scores(make_hidden(torch.zeros(n_sentences, n_tokens, SMALL["hidden_size"])), None).shape
    scores = torch.from_numpy(random.normal(size=shape)).float()
    none = torch.zeros(n_sentences, 1, 1, dtype=torch.int64)
    return scores, Batch(none, none.bool(), none[:, 0], mask, {"spans": make_gold(spans)}), spans


def real_scores(head, scores, batch):
    """Which scores are of tokens of the sentence, as bool in the shape of the scores."""
    if isinstance(head, HEADS["global_pointer"]):  # all tokens of a span
        lasts = torch.arange(scores.shape[1])[:, None] + torch.arange(scores.shape[2])
        return (lasts < batch.mask.sum(dim=1)[:, None, None])[..., None].expand_as(scores)
    return batch.mask.view(*batch.mask.shape, *[1] * (scores.dim() - 2)).expand_as(scores)


def path_score(path, scores, transitions):
    steps = pairwise((-1, *path, -1))
    return sum(scores[t, k] for t, k in enumerate(path)) + sum(transitions[step] for step in steps)


def assert_same_spans(one, other):
    assert [[s.span for s in row] for row in one] == [[s.span for s in row] for row in other]
    for row, twin in zip(one, other, strict=True):
        assert [s.score for s in row] == pytest.approx([s.score for s in twin])


@pytest.mark.parametrize("scheme", SCHEMES)
@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_gold_tags_on_the_device_are_those_of_the_tag_set(scheme, data):
    """Any flat spans, neighbours of one label included, under any order of the tags."""
    tags = TagSet.from_labels(LABELS, scheme).tags
    tag_set = TagSet(data.draw(st.permutations(tags)), scheme)
    head = HEADS["softmax"](SMALL["hidden_size"], make_inventories(tag_set))
    seed, n_sentences = data.draw(st.integers(0, 10**6)), data.draw(st.integers(1, 4))
    _, batch, spans = make_scored_batch(
        head, n_sentences=n_sentences, n_tokens=data.draw(st.integers(1, 9)), seed=seed, apart=scheme == "IO"
    )
    found = head.gold_tags(batch)
    for row, mask, sentence in zip(found, batch.mask, spans, strict=True):
        assert row[mask].tolist() == tag_set.tag_ids(sentence, int(mask.sum()))
        assert (row[~mask] == tag_set.index["O"]).all()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_softmax_loss_is_the_cross_entropy_of_the_gold_tags(scheme):
    head = make_head("softmax", scheme)
    tag_set = head.tag_set
    scores, batch, spans = make_scored_batch(head, apart=scheme == "IO", n_tokens=6)
    for loss, table, mask, sentence in zip(head.loss(scores, batch), scores, batch.mask, spans, strict=True):
        tags = tag_set.tag_ids(sentence, int(mask.sum()))
        chances = np.exp(table.double().numpy())
        chances /= chances.sum(axis=1, keepdims=True)
        assert loss.item() == pytest.approx(-sum(np.log(chances[t, k]) for t, k in enumerate(tags)))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scheme", ["BIO", "IOB1", "IO"])
def test_crf_loss_is_the_share_of_the_gold_path_in_all_paths(scheme):
    head = make_head("crf", scheme)
    tag_set, transitions = head.tag_set, head.transition_table()
    scores, batch, spans = make_scored_batch(head, apart=scheme == "IO")
    for loss, table, mask, sentence in zip(head.loss(scores, batch), scores, batch.mask, spans, strict=True):
        n_tokens, table = int(mask.sum()), table.double().numpy()
        every = [path_score(p, table, transitions) for p in product(range(len(tag_set)), repeat=n_tokens)]
        gold = path_score(tag_set.tag_ids(sentence, n_tokens), table, transitions)
        assert loss.item() == pytest.approx(np.logaddexp.reduce(every) - gold)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_crf_loss_is_that_of_pytorch_crf(scheme):
    head = make_head("crf", scheme)
    scores, batch, spans = make_scored_batch(head, n_tokens=12, apart=scheme == "IO")
    oracle = CRF(len(head.tag_set), batch_first=True)
    oracle.load_state_dict(head.crf.state_dict())
    for loss, table, mask, sentence in zip(head.loss(scores, batch), scores, batch.mask, spans, strict=True):
        gold = torch.tensor(head.tag_set.tag_ids(sentence, int(mask.sum())))
        torch.testing.assert_close(loss, -oracle(table[mask][None], gold[None], mask[mask][None]))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "scheme"), [pair for pair in HEAD_SCHEMES if pair[0] in FLAT])
def test_decode_finds_the_best_legal_path_and_the_chance_of_each_of_its_spans(name, scheme):
    head = make_head(name, scheme)
    tag_set = head.tag_set
    learned = head.transition_table()
    transitions = np.where(tag_set.legal, 0.0 if learned is None else learned, -np.inf)
    scores, batch, _ = make_scored_batch(head, n_tokens=3, n_sentences=6)
    for found, table, mask in zip(head.decode(scores, batch), scores, batch.mask, strict=True):
        paths = list(product(range(len(tag_set)), repeat=int(mask.sum())))
        every = np.array([path_score(path, table.double().numpy(), transitions) for path in paths])
        chances = np.exp(every - np.logaddexp.reduce(every))
        assert [scored.span for scored in found] == tag_set.spans(paths[every.argmax()])
        for span, chance in ((scored.span, scored.score) for scored in found):
            holding = [c for p, c in zip(paths, chances, strict=True) if c and span in tag_set.spans(p)]
            assert chance == pytest.approx(sum(holding))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "scheme"), HEAD_SCHEMES)
def test_padded_scores_have_no_power(name, scheme):
    head = make_head(name, scheme)
    scores, batch, _ = make_scored_batch(head, n_tokens=9, apart=scheme == "IO")
    changed = scores.where(real_scores(head, scores, batch), 1e4 * torch.randn_like(scores))
    more_gold = torch.cat([batch.gold["spans"], torch.zeros_like(batch.gold["spans"])], dim=1)
    changed.requires_grad_()
    losses = head.loss(changed, batch._replace(gold={"spans": more_gold}))
    torch.testing.assert_close(losses, head.loss(scores, batch))
    losses.sum().backward()
    assert (changed.grad[~real_scores(head, scores, batch)] == 0).all()
    assert_same_spans(head.decode(changed, batch), head.decode(scores, batch))


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_is_float32_whatever_the_autocast(name):
    head = make_head(name)
    scores, batch, _ = make_scored_batch(head, n_tokens=20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head.loss(scores, batch)
        assert head.scores(make_hidden(torch.randn(2, 3, SMALL["hidden_size"])), None).dtype == torch.float32
    assert loss.dtype == torch.float32
    assert torch.equal(loss, head.loss(scores, batch))


@pytest.mark.parametrize(("head", "encoder"), BOTH)
def test_a_tagger_in_bfloat16_has_a_float32_loss_near_the_exact_one(head, encoder):
    tagger, batch = make_tagger(head, encoder), make_batch()
    _, exact = tagger(batch)
    tagger.precision = "bf16"
    scores, loss = tagger(batch)
    assert loss.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.1, atol=0.3)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("head", "encoder"), BOTH)
def test_padding_has_no_power(head, encoder):
    tagger, batch = make_tagger(head, encoder), make_batch()
    pieces = torch.randint(VOCAB_SIZE, batch.piece_ids.shape)
    places = torch.randint(batch.piece_mask[0].numel(), batch.token_piece.shape)
    changed = batch._replace(
        piece_ids=torch.where(batch.piece_mask, batch.piece_ids, pieces),
        token_piece=torch.where(batch.mask, batch.token_piece, places),
    )
    assert not torch.equal(changed.piece_ids, batch.piece_ids)
    assert not torch.equal(changed.token_piece, batch.token_piece)
    (scores, loss), (new_scores, new_loss) = tagger(batch), tagger(changed)
    torch.testing.assert_close(new_loss, loss)
    real = real_scores(tagger.head, scores, batch)
    torch.testing.assert_close(new_scores[real], scores[real])
    assert_same_spans(tagger.head.decode(new_scores, changed), tagger.head.decode(scores, batch))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("head", "encoder"), BOTH)
def test_a_sentence_alone_is_as_in_a_batch(head, encoder):
    tagger, batch = make_tagger(head, encoder), make_batch(n_sentences=6)
    scores, loss = tagger(batch)
    together = tagger.head.decode(scores, batch)
    for row in range(6):
        alone = slice_batch(batch, row, row + 1)
        n_windows = max(1, int(alone.piece_mask.any(dim=2).sum()))
        n_pieces, n_tokens = int(alone.piece_mask.sum(dim=2).max()), alone.n_tokens
        place, width = alone.token_piece[:, :n_tokens], alone.piece_ids.shape[2]
        alone = Batch(
            alone.piece_ids[:, :n_windows, :n_pieces],
            alone.piece_mask[:, :n_windows, :n_pieces],
            place // width * n_pieces + place % width,
            alone.mask[:, :n_tokens],
            alone.gold,
        )
        own_scores, own_loss = tagger(alone)
        torch.testing.assert_close(own_loss[0], loss[row])
        assert_same_spans(tagger.head.decode(own_scores, alone), [together[row]])


@pytest.mark.parametrize(("head", "encoder"), BOTH)
def test_the_gradient_reaches_every_parameter(head, encoder):
    tagger, batch = make_tagger(head, encoder).train(), make_batch(n_sentences=8, n_tokens=9)
    _, loss = tagger(batch)
    loss.sum().backward()
    for name, parameter in tagger.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        # the softmax over keys takes out what is added to all of them
        if not name.endswith("key.bias"):
            assert parameter.grad.abs().max() > 1e-9, name


@pytest.mark.parametrize(("head", "encoder"), BOTH)
def test_eight_sentences_are_learned_by_heart(head, encoder):
    random = np.random.default_rng(1)
    sentences = [
        Sentence.with_spans(
            tuple(random.choice(list("甲乙丙丁戊己庚辛壬癸"), size=n_tokens)),
            tuple(make_spans(random, n_tokens)),
        )
        for n_tokens in range(5, 13)
    ]
    tokenizer = learn_vocabulary(token for s in sentences for token in s.tokens)
    examples = encode(sentences, tokenizer)
    built = make_encoder(encoder, vocab_size=len(tokenizer))
    if hasattr(built, "prepare"):
        built.prepare(tokenizer, examples.pieces)
    torch.manual_seed(0)
    tag_set = TagSet.from_labels(LABELS, "BIOES" if head in FLAT else "BIO")
    tagger = Tagger(built, build_head(head, built.width, make_inventories(tag_set), {"dropout": 0.0}))
    # the longest sentence needs two windows
    loader = Batches(examples, windows=Windows(12), batch_tokens=256, targets=tagger.head.targets, seed=0)
    groups = parameter_groups(tagger, learning_rate=5e-3, head_learning_rate=2e-2, weight_decay=0.0)
    optimizer, progress, device = build_optimizer(groups), Progress(), torch.device("cpu")
    gold, lengths = [s.spans for s in sentences], [len(s.tokens) for s in sentences]
    for _ in range(12):
        for _ in range(10):
            update = Update(optimizer, clip_grad=1.0)
            list(epoch_steps(tagger, loader, update, progress, rate=lambda step: 1.0))
            progress.next_epoch()
        found, loss = predict(tagger, loader, device=device)
        f1 = score(gold, [[s.span for s in answer["spans"]] for answer in found], lengths).total.f1
        if f1 == 1.0:
            break
    assert f1 == 1.0
    assert loss < 0.5


@pytest.mark.parametrize("name", HEADS)
def test_an_untrained_head_is_small_and_keeps_the_width_it_was_given(name):
    torch.manual_seed(0)
    head = build_head(name, 16, make_inventories(TagSet.from_labels(LABELS)), {"dropout": 0.5})
    matrices = [parameter for parameter in head.parameters() if parameter.dim() == 2]
    assert max(matrix.abs().max() for matrix in matrices) < 0.2
    assert head.dropout.p == 0.5
    assert "span_tags" not in head.state_dict()
    if name in FLAT:
        assert head.classifier.weight.shape == (5, 16)


def test_an_unknown_head_is_named_with_the_known_ones():
    with pytest.raises(DataError, match=f"head: got 'crv', expected one of {', '.join(HEADS)}"):
        build_head("crv", 16, make_inventories(TagSet.from_labels(LABELS)), {"dropout": 0.1})
