"""Training steps of this code over batches that a benchmark chooses."""

from collections.abc import Sequence

import numpy as np

from benchmarks.timing import clock, evenly_spaced
from ner.data.batches import Batches
from ner.data.windows import Examples, Windows
from ner.model.directory import Model
from ner.model.tagger import Tagger
from ner.training.optim import build_optimizer, parameter_groups
from ner.training.step import Progress, Update, epoch_steps

RATE, DECAY, CLIP = 3e-5, 0.01, 2.0


class FixedBatches(Batches):
    """A loader whose epochs consist of the batches in `chosen`; if it is empty, of all batches."""

    chosen: Sequence[np.ndarray] = ()

    def batch_indices(self, epoch: int) -> list[np.ndarray]:
        return list(self.chosen) or super().batch_indices(epoch)

    def row(self, indices: np.ndarray) -> tuple[int, int]:
        """Windows a sentence and pieces a window of a batch, including padding."""
        return int(self._n_windows[indices].max()), int(self._lengths[indices].max())


def some_batches(
    examples: Examples, model: Model, windows: Windows, *, batch_tokens: int, n: int, seed: int
) -> FixedBatches:
    """Chooses `n` batches of an epoch, evenly spaced in length, and puts the middle one before them."""
    loader = FixedBatches(
        examples, windows=windows, batch_tokens=batch_tokens, targets=model.tagger.head, seed=seed
    )
    chosen = evenly_spaced(loader.batch_indices(0), loader.row, n)
    loader.chosen = [chosen[len(chosen) // 2], *chosen]
    return loader


def our_steps(tagger: Tagger, loader: FixedBatches) -> float:
    """Trains an epoch.  Returns its seconds without the first step, which allocates memory."""
    groups = parameter_groups(tagger, learning_rate=RATE, head_learning_rate=RATE, weight_decay=DECAY)
    update = Update(build_optimizer(groups), clip_grad=CLIP)
    ends = [clock() for _ in epoch_steps(tagger, loader, update, Progress(), rate=lambda step: 1.0)]
    return ends[-1] - ends[0]
