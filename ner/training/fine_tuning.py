"""Fine-tuning of a tagger: epochs, early stopping, and the scores of each epoch."""

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ner.annotations import ANNOTATIONS
from ner.data.batches import Batches
from ner.data.wording import align_columns
from ner.model.directory import restore_weights, save
from ner.model.tagger import Model, train_from
from ner.runtime import distributed
from ner.runtime.devices import peak_memory
from ner.runtime.logs import ProgressBar, log
from ner.scoring.evaluate import Evaluation, evaluate
from ner.scoring.tables import duration
from ner.training.new_model import depth_to_learn
from ner.training.objectives import Objective
from ner.training.optim import WeightAverage, rate_factor
from ner.training.params import Config
from ner.training.step import Task, check_finite, describe_skipped, epoch_steps


@dataclass
class Patience:
    """Early stopping, as in lemonhu/NER-BERT-pytorch.  Scores are fractions in [0, 1]."""

    best_f1: float = -1.0
    "highest headline score so far, F1 for spans; checkpoints know it by this name"
    n_without_gain: int = 0
    "epochs in a row that did not raise it by enough"

    def update(self, score: float, gain: float) -> bool:
        """Counts an epoch; True if its score is the best so far.  `gain`: the smallest rise that counts."""
        is_best = score > self.best_f1
        gained = score - max(self.best_f1, 0.0)  # a first score of 0 is the best so far, but no gain
        self.n_without_gain = 0 if gained > 0 and gained >= gain else self.n_without_gain + 1
        self.best_f1 = max(self.best_f1, score)
        return is_best


@dataclass(kw_only=True)
class FineTuning(Task):
    """The fine-tuning of one model, built by `ner.training.train`."""

    counter = "epoch"

    config: Config
    model: Model
    objective: Objective
    train: Batches
    val: Batches
    record: Patience = field(default_factory=Patience)
    schedule_epochs: int
    "epochs over which the schedule runs; fewer than epoch_num if a constant one was extended"
    average: WeightAverage | None = None
    _steps: Iterator[bool] = field(init=False)
    "of `_take_steps`"
    _epoch_is_done: bool = field(default=False, init=False)
    _is_best: bool = field(default=False, init=False)
    _result: Evaluation | None = field(default=None, init=False)
    "of the last epoch"
    _began: float = field(default=0.0, init=False)
    "when the epoch would have begun if it had never been interrupted"

    @property
    def steps_an_epoch(self) -> int:
        """Optimiser steps of one epoch; the last may hold fewer batches."""
        n_batches = self.config.gradient_accumulation_steps * distributed.world_size()
        return math.ceil(len(self.train) / n_batches)

    def rate(self, step: int) -> float:
        """Factor of every peak learning rate at an optimiser step."""
        config, n_steps = self.config, self.steps_an_epoch * self.schedule_epochs
        return rate_factor(step, n_steps=n_steps, warmup=config.warmup, schedule=config.schedule)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with contextlib.closing(self._take_steps()) as self._steps:
            yield

    def is_over(self) -> bool:
        """True after the last epoch, or if patience has run out."""
        config, epoch = self.config, self.progress.epoch
        is_impatient = self.record.n_without_gain >= config.patience_num
        return epoch >= config.epoch_num or (is_impatient and epoch > config.min_epoch_num)

    def take_step(self) -> None:
        self._epoch_is_done = next(self._steps)

    def _take_steps(self) -> Iterator[bool]:
        """Yields False after each optimiser step, and True where an epoch has none left."""
        config, progress, tagger = self.config, self.progress, self.model.tagger
        model = self.replicas or tagger
        accumulation, objective = config.gradient_accumulation_steps, self.objective
        options = {"rate": self.rate, "accumulation": accumulation, "objective": objective}
        while True:
            if config.unfreeze_every:
                train_from(tagger, depth_to_learn(tagger, config, progress.epoch))
            self._began = time.perf_counter() - progress.seconds
            title = f"epoch {progress.epoch + 1}/{config.epoch_num}"
            n_done = progress.step - progress.epoch * self.steps_an_epoch
            bar_options = {"n_done": n_done, "on_terminal": self.show_progress}
            with ProgressBar(self.steps_an_epoch, title, **bar_options) as bar:
                for _ in epoch_steps(model, self.train, self.update, progress, **options):
                    bar.step(progress.loss)
                    progress.seconds = time.perf_counter() - self._began
                    if self.average:
                        self.average.update(progress.step)
                    yield False
            yield True

    def must_evaluate(self) -> bool:
        """True after an epoch.  A signal after its last step still stops the run before the evaluation."""
        return self._epoch_is_done

    def evaluate(self) -> dict:
        progress, config = self.progress, self.config
        seconds = time.perf_counter() - self._began
        shared = distributed.world_size() > 1
        replicas = None if shared else self.replicas
        with self._averaged():
            result = evaluate(self.model, self.val, device=self.device, replicas=replicas, shared=shared)
        check_finite(result.loss, f"on val, epoch {progress.epoch + 1}, step {progress.step}")
        self._result = result
        line = {
            "epoch": progress.epoch + 1,
            "train_loss": progress.loss,
            "val_loss": result.loss,
            **{f"val_{key}": value for key, value in result.per_epoch().items()},
            "learning_rate": config.learning_rate * self.rate(progress.step - 1),
            "seconds": round(seconds, 2),
            "tokens_per_second": round(progress.n_tokens / seconds, 1),
            "peak_memory_mb": round(distributed.all_max([peak_memory(self.device)])[0], 1),
        }
        self._is_best = self.record.update(result.main.headline, config.patience / 100)
        return line

    def report(self, line: dict) -> None:
        whole = time.perf_counter() - self._began
        log.info(
            f"epoch {line['epoch']}/{self.config.epoch_num}"
            f"  loss {line['train_loss']:.4f} (val {line['val_loss']:.4f})"
            f"  val {self._result.main.describe()}{' (best)' if self._is_best else ''}"
            f"  rate {line['learning_rate']:.2e}  {line['tokens_per_second']:.0f} tokens/s"
            f"  {duration(line['seconds'])}, {duration(whole * (self.config.epoch_num - line['epoch']))} left"
            f"{describe_skipped(self.progress, self.update)}"
        )
        if self._result.main.headline == 0:
            hint = (
                f"too few steps so far ({self.progress.step}; a lower batch_size makes more), or "
                f"learning_rate {self.config.learning_rate:g} is too low for an encoder without pretraining "
                "(try 1e-4 to 1e-3) or too high for a pretrained one (try 2e-5)"
            )
            name = next(iter(self._result.scores))
            gold = [sentence.gold[name] for sentence in self.val.sentences]
            log.info(ANNOTATIONS[name].diagnose(gold, self._result.predicted(name), hint))
        elif self._is_best:
            log.info(align_columns(self._result.main.table()))
        self.progress.next_epoch()

    def must_save(self) -> bool:
        """True after an epoch, and every `save_steps` inside one."""
        progress, every = self.progress, self.config.save_steps
        is_due = every > 0 and progress.step % every == 0 and progress.batch < len(self.train)
        return is_due or progress.batch == 0

    def note_best(self) -> bool:
        return self._is_best

    def _averaged(self) -> contextlib.AbstractContextManager:
        return self.average.applied() if self.average else contextlib.nullcontext()

    def write_model(self, folder: Path) -> None:
        with self._averaged():
            save(folder, self.model)
        if self.average:
            self.average.save(folder)

    def read_model(self, folder: Path) -> None:
        restore_weights(folder, self.model.tagger)
        if self.average:
            self.average.restore(folder)

    def describe_position(self) -> str:
        if self.progress.epoch >= self.config.epoch_num:
            return f"all {self.config.epoch_num} epochs are done, nothing is left to do"
        at = f", batch {self.progress.batch}" if self.progress.batch else ""
        return f"going on with epoch {self.progress.epoch + 1}{at}"

    def finish(self) -> None:
        if self.progress.epoch < self.config.epoch_num:
            log.info(f"stopped early: {self.record.n_without_gain} epochs without gain")
        headline = ANNOTATIONS[self.model.tagger.head.annotations[0]].headline.capitalize()
        best = f"{100 * self.record.best_f1:.2f}"
        log.info(f"best val {headline} {best}; the model is {self.directory / 'best'}")
