"""A tagger over parts of a batch, with a frozen encoder, without gold."""

import numpy as np
import pytest
import torch

from ner.training.optim import build_optimizer, parameter_groups
from ner.training.step import Progress, Update, epoch_steps
from tests.factories import slice_batch
from tests.model.conftest import EVERY_ENCODER, EVERY_HEAD, make_batch, make_loader, make_model, scores_of


@pytest.mark.usefixtures("float64")
@EVERY_ENCODER
@EVERY_HEAD
@pytest.mark.parametrize("max_len", [40, 12])
def test_a_split_batch_equals_the_whole(encoder, head, max_len):
    """What DataParallel does to a batch: slices of it, a forward each, the results end to end."""
    model = make_model(encoder, head)
    batch = make_batch(model, max_len=max_len)
    assert (batch.piece_ids.shape[1] > 1) == (max_len == 12)
    scores, losses = model.tagger(batch)
    for sizes in ([2, 2, 1], [4, 1], [1, 1, 1, 1, 1]):
        ends = np.cumsum(sizes).tolist()
        parts = [slice_batch(batch, end - size, end) for size, end in zip(sizes, ends, strict=True)]
        results = [model.tagger(part) for part in parts]
        together = torch.cat([part_scores for part_scores, _ in results])
        torch.testing.assert_close(together[batch.mask], scores[batch.mask])
        torch.testing.assert_close(torch.cat([part for _, part in results]), losses)
        decoded = [
            spans
            for part, (part_scores, _) in zip(parts, results, strict=True)
            for spans in model.tagger.head.decode(part_scores, part)
        ]
        whole = model.tagger.head.decode(scores, batch)
        assert [[s.span for s in spans] for spans in decoded] == [[s.span for s in spans] for spans in whole]


@pytest.mark.usefixtures("float64")
@EVERY_ENCODER
def test_slices_of_windows_equal_the_whole(encoder):
    model = make_model(encoder)
    batch = make_batch(model, max_len=12)
    whole = scores_of(model, batch)
    sizes = []
    model.tagger.encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].numel()))
    for max_cells in (1, 24, 60):
        model.tagger.max_cells = max_cells
        torch.testing.assert_close(scores_of(model, batch), whole)
        assert max(sizes) <= max(max_cells, 12)
        sizes.clear()


@EVERY_ENCODER
@EVERY_HEAD
def test_a_frozen_encoder_stays_as_it_is(encoder, head):
    model = make_model(encoder, head)
    model.tagger.encoder.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in model.tagger.state_dict().items()}
    groups = parameter_groups(model.tagger, learning_rate=1.0, head_learning_rate=0.1, weight_decay=0.1)
    loader, update = make_loader(model, batch_tokens=60), Update(build_optimizer(groups))
    list(epoch_steps(model.tagger, loader, update, Progress(), rate=lambda step: 1.0))
    after = model.tagger.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"head.{name}" for name, _ in model.tagger.head.named_parameters()}
    model.tagger.train()
    assert (model.tagger.encoder.training, model.tagger.head.training) == (False, True)


def test_gold_is_optional():
    model = make_model()
    loader = make_loader(model)
    scores, losses = model.tagger(loader.collate([0, 1])._replace(gold={}))
    assert losses is None
    assert np.isfinite(scores.detach().numpy()).all()
