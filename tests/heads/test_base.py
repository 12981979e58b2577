"""Contract tests of every head over every encoder.

Their gold comes from `RANDOM_GOLD`, by the annotations of the head.
"""

import numpy as np
import pytest
import torch

from ner.annotations import ANNOTATIONS
from ner.data.batch import Batch
from ner.data.batches import Batches
from ner.data.sentence import Sentence
from ner.data.tokenizer import learn_vocabulary
from ner.data.windows import Windows, encode
from ner.encoders import ENCODERS
from ner.errors import DataError
from ner.heads import HEADS
from ner.inference.predict import predict
from ner.model.build import build_head
from ner.model.tagger import Tagger
from ner.tags import TagSet
from ner.training.optim import build_optimizer, parameter_groups
from ner.training.step import Progress, Update, epoch_steps
from tests.factories import (
    FLAT,
    HEAD_SCHEMES,
    LABELS,
    RANDOM_GOLD,
    SIZES,
    VOCAB_SIZE,
    make_batch,
    make_encoder,
    make_head,
    make_hidden,
    make_inventories,
    make_scored_batch,
    make_tagger,
    slice_batch,
)

BOTH = [(head, encoder) for head in HEADS for encoder in ENCODERS]


def real_scores(head, scores, batch):
    """Which scores are of tokens of the sentence, as bool in the shape of the scores."""
    if isinstance(head, HEADS["global_pointer"]):  # all tokens of a span
        lasts = torch.arange(scores.shape[1])[:, None] + torch.arange(scores.shape[2])
        return (lasts < batch.mask.sum(dim=1)[:, None, None])[..., None].expand_as(scores)
    return batch.mask.view(*batch.mask.shape, *[1] * (scores.dim() - 2)).expand_as(scores)


def assert_same_answers(one, other):
    for answer, twin in zip(one, other, strict=True):
        assert answer.keys() == twin.keys()
        for name, value in answer.items():
            if name == "spans":
                assert [s.span for s in value] == [s.span for s in twin[name]]
                assert [s.score for s in value] == pytest.approx([s.score for s in twin[name]])
            else:
                assert value == twin[name]


def make_tagger_and_batch(head, encoder, **sizes):
    """A tagger, and a batch with gold of each annotation that its head learns."""
    return make_tagger(head, encoder), make_batch(annotations=HEADS[head].annotations, **sizes)


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
    assert_same_answers(head.answers(changed, batch), head.answers(scores, batch))


def own_score(head, scores, row, span):
    """The probability that the head's scores give a span, from the definition; None for a chain."""
    label = head.tag_set.labels.index(span.label)
    if isinstance(head, HEADS["global_pointer"]):
        return scores[row, span.start, span.end - span.start - 1, label].sigmoid().item()
    if isinstance(head, HEADS["span"]):
        chances = scores[row].softmax(-1)
        return (chances[span.start, 0, label + 1] * chances[span.end - 1, 1, label + 1]).item()
    return None


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("name", "scheme"), HEAD_SCHEMES)
def test_no_answer_begins_or_ends_with_a_blank_token(name, scheme):
    head = make_head(name, scheme)
    scores, batch, _ = make_scored_batch(head, n_sentences=40, n_tokens=9, seed=1)
    random = torch.Generator().manual_seed(1)
    blank = (torch.rand(batch.mask.shape, generator=random) < 0.4) & batch.mask
    blank[::2] = False
    before, after = head.decode(scores, batch), head.decode(scores, batch._replace(blank=blank))
    assert_same_answers(*([{"spans": spans} for spans in found[::2]] for found in (after, before)))
    for row, (spans, old) in enumerate(zip(after, before, strict=True)):
        assert not any(blank[row, span.start] or blank[row, span.end - 1] for span in spans)
        for span in spans:
            if (chance := own_score(head, scores, row, span)) is not None:
                assert span.score == pytest.approx(chance)
        if name == "global_pointer":
            for span in old:  # what remains of each is an answer, or lost to an answer that it overlaps
                kept = [t for t in range(span.start, span.end) if not blank[row, t]]
                assert not kept or any(s.start <= kept[-1] and kept[0] < s.end for s in spans)
    assert sum(map(len, after[1::2])) > 5


@pytest.mark.parametrize("name", HEADS)
def test_the_loss_is_float32_whatever_the_autocast(name):
    head = make_head(name)
    scores, batch, _ = make_scored_batch(head, n_tokens=20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head.loss(scores, batch)
        assert head.scores(make_hidden(torch.randn(2, 3, SIZES["hidden_size"])), None).dtype == torch.float32
    assert loss.dtype == torch.float32
    assert torch.equal(loss, head.loss(scores, batch))


@pytest.mark.parametrize(("head", "encoder"), BOTH)
def test_a_tagger_in_bfloat16_has_a_float32_loss_near_the_exact_one(head, encoder):
    tagger, batch = make_tagger_and_batch(head, encoder)
    _, exact = tagger(batch)
    tagger.precision = "bf16"
    scores, loss = tagger(batch)
    assert loss.dtype == scores.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.1, atol=0.3)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("head", "encoder"), BOTH)
def test_padding_has_no_power(head, encoder):
    tagger, batch = make_tagger_and_batch(head, encoder)
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
    assert_same_answers(tagger.head.answers(new_scores, changed), tagger.head.answers(scores, batch))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("head", "encoder"), BOTH)
def test_a_sentence_alone_is_as_in_a_batch(head, encoder):
    tagger, batch = make_tagger_and_batch(head, encoder, n_sentences=6)
    scores, loss = tagger(batch)
    together = tagger.head.answers(scores, batch)
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
        assert_same_answers(tagger.head.answers(own_scores, alone), [together[row]])


@pytest.mark.parametrize(("head", "encoder"), BOTH)
def test_the_gradient_reaches_every_parameter(head, encoder):
    tagger, batch = make_tagger_and_batch(head, encoder, n_sentences=8, n_tokens=9)
    _, loss = tagger.train()(batch)
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
        Sentence(
            tuple(random.choice(list("甲乙丙丁戊己庚辛壬癸"), size=n_tokens)),
            {name: tuple(RANDOM_GOLD[name](random, n_tokens)) for name in HEADS[head].annotations},
        )
        for n_tokens in range(5, 13)
    ]
    tokenizer = learn_vocabulary(token for s in sentences for token in s.tokens)
    examples = encode(sentences, tokenizer)
    built = make_encoder(encoder, vocab_size=len(tokenizer))
    built.prepare(tokenizer, examples.pieces)
    torch.manual_seed(0)
    tagger = Tagger(built, make_head(head, "BIOES" if head in FLAT else "BIO", fresh=True))
    # the longest sentence needs two windows
    loader = Batches(examples, windows=Windows(12), batch_tokens=256, targets=tagger.head, seed=0)
    groups = parameter_groups(tagger, learning_rate=5e-3, head_learning_rate=2e-2, weight_decay=0.0)
    optimizer, progress, device = build_optimizer(groups), Progress(), torch.device("cpu")
    lengths = [len(sentence.tokens) for sentence in sentences]
    for _ in range(24):  # most pairs need less than half
        for _ in range(10):
            update = Update(optimizer, clip_grad=1.0)
            list(epoch_steps(tagger, loader, update, progress, rate=lambda step: 1.0))
            progress.next_epoch()
        found, loss = predict(tagger, loader, device=device)
        headlines = {
            name: kind.score([s.gold[name] for s in sentences], [a[name] for a in found], lengths).headline
            for name, kind in ANNOTATIONS.items()
            if name in tagger.head.annotations
        }
        if set(headlines.values()) == {1.0}:
            break
    assert headlines == dict.fromkeys(HEADS[head].annotations, 1.0)
    assert loss < 0.5


@pytest.mark.parametrize("name", HEADS)
def test_an_untrained_head_is_small_and_keeps_the_width_it_was_given(name):
    torch.manual_seed(0)
    head = make_head(name, width=16, dropout=0.5, fresh=True)
    matrices = [parameter for parameter in head.parameters() if parameter.dim() == 2]
    assert max(matrix.abs().max() for matrix in matrices) < 0.2
    assert head.dropout.p == 0.5
    assert "span_tags" not in head.state_dict()
    if name in FLAT:
        assert head.classifier.weight.shape == (5, 16)


def test_an_unknown_head_is_named_with_the_known_ones():
    with pytest.raises(DataError, match=f"head: got 'crv', expected one of {', '.join(HEADS)}"):
        build_head("crv", 16, make_inventories(TagSet.from_labels(LABELS)), {"dropout": 0.1})
