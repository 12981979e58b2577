"""One optimiser step: the gradient of a mean over all batches, and a check before any weight changes."""

import pytest
import torch

from ner.errors import TrainingError
from ner.training.step import Progress, Update, optimiser_step


def fit(batches, **options) -> tuple[torch.nn.Linear, Progress]:
    """A linear model after one optimiser step on the mean output over all rows of the batches."""
    torch.manual_seed(0)
    model, progress = torch.nn.Linear(3, 1), Progress()
    n_rows = sum(map(len, batches))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    options = {"n_batches": len(batches)} | options
    update = Update(optimizer, clip_grad=options.pop("clip_grad", 0.0))
    optimiser_step(model, batches, lambda x: model(x).sum() / n_rows, update, progress, **options)
    return model, progress


def test_one_step_is_the_gradient_of_the_mean_over_all_batches():
    rows = torch.arange(18.0).view(6, 3)
    before, _ = fit([rows], check=lambda: None, clip_grad=1e-30)
    whole, _ = fit([rows])
    parts, progress = fit([rows[:1], rows[1:3], rows[3:]])
    torch.testing.assert_close(whole.weight, before.weight - rows.mean(0))
    torch.testing.assert_close(parts.weight, whole.weight)
    assert (progress.step, progress.batch) == (1, 3)


def test_a_check_that_fails_leaves_the_weights_alone():
    rows, seen = torch.ones(2, 3), []
    torch.manual_seed(0)
    model, progress = torch.nn.Linear(3, 1), Progress()
    before = model.weight.detach().clone()

    def check():
        seen.append(model.weight.grad.clone())
        raise TrainingError("no")

    update = Update(torch.optim.SGD(model.parameters(), lr=1.0))
    with pytest.raises(TrainingError):
        optimiser_step(model, [rows], lambda x: model(x).mean(), update, progress, n_batches=1, check=check)
    assert seen[0].any()
    assert torch.equal(model.weight, before)
    assert (progress.step, progress.batch) == (0, 0)
