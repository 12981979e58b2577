"""One experiment: epochs, early stopping, and the files it leaves."""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ner.annotations.spans import Scores, tag_counts
from ner.data.batches import Batches
from ner.errors import Stopped
from ner.model.depth import n_layers_of, train_from, unfrozen_depth
from ner.model.directory import Model, restore_weights, save
from ner.runtime import distributed
from ner.runtime.devices import peak_memory
from ner.runtime.logs import ProgressBar, log
from ner.runtime.program import StopRequest
from ner.scoring.evaluate import evaluate
from ner.scoring.tables import duration, per_type_table
from ner.tags import Span
from ner.training.averaging import WeightAverage
from ner.training.checkpoint import resume, save_checkpoint
from ner.training.objectives import Objective
from ner.training.optim import rate_factor
from ner.training.params import Config
from ner.training.run_dir import add_metrics, clear_scores, cut_metrics
from ner.training.step import Progress, check_finite, n_steps_an_epoch, skipped_steps, train_epoch


@dataclass
class Patience:
    """Early stopping as in the ancestor: epochs in a row that do not raise the best F1 by enough."""

    best_f1: float = -1.0
    n_without_gain: int = 0

    def update(self, f1: float, gain: float) -> bool:
        """True where the F1 (fraction) is the best so far; `gain` is what counts as progress (fraction)."""
        is_best = f1 > self.best_f1
        gained = f1 - max(self.best_f1, 0.0)  # the first epoch is the best so far even with an F1 of 0
        self.n_without_gain = 0 if gained > 0 and gained >= gain else self.n_without_gain + 1
        self.best_f1 = max(self.best_f1, f1)
        return is_best


@dataclass
class Experiment:
    """Everything one run needs, built by train.py."""

    directory: Path
    config: Config
    model: Model
    objective: Objective
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    train: Batches
    val: Batches
    device: torch.device
    fixed_scale: float = 0.0
    replicas: nn.Module | None = None
    progress: Progress = field(default_factory=Progress)
    patience: Patience = field(default_factory=Patience)
    show_progress: bool = False
    after_epoch: Callable[[], None] | None = None
    "called when an epoch is saved; what it raises ends the run"
    stop: StopRequest = field(default_factory=StopRequest)
    average: WeightAverage | None = field(init=False)

    def __post_init__(self):
        self.average = WeightAverage(self.model.tagger, self.config.ema) if self.config.ema else None

    @property
    def steps_an_epoch(self) -> int:
        return n_steps_an_epoch(self.train, self.config.gradient_accumulation_steps)

    def rate(self, step: int) -> float:
        """Factor of every peak learning rate at an optimiser step."""
        config = self.config
        n_steps = self.steps_an_epoch * config.epoch_num
        return rate_factor(step, n_steps=n_steps, warmup=config.warmup, schedule=config.schedule)

    def restore(self, folder: Path) -> str:
        """Goes back to a checkpoint from `find_checkpoint`; says in words what it did."""
        self.progress, self.patience = resume(
            self.directory,
            folder,
            record_type=Patience,
            read_model=self._read_model,
            optimizer=self.optimizer,
            scaler=self.scaler,
        )
        if distributed.is_first():
            cut_metrics(self.directory, lambda line: line["epoch"] <= self.progress.epoch)
        at = f", batch {self.progress.batch}" if self.progress.batch else ""
        if self.progress.epoch >= self.config.epoch_num:
            return f"restored {folder}: all {self.config.epoch_num} epochs are done, nothing is left to do"
        return f"restored {folder}: going on with epoch {self.progress.epoch + 1}{at}"

    def run(self) -> None:
        """Trains until the last epoch, or until patience is at its end.

        Raises Stopped after a signal, with everything saved.
        """
        epoch_num = self.config.epoch_num
        with self.stop:
            while self.progress.epoch < epoch_num and not self._out_of_patience():
                self._check_stop(self._stop_number())
                self._epoch()
        if self.progress.epoch < epoch_num:
            log.info(f"stopped early: {self.patience.n_without_gain} epochs without gain")
        log.info(f"best val F1 {100 * self.patience.best_f1:.2f}; the model is {self.directory / 'best'}")

    def _stop_number(self) -> int:
        """That of a signal which any of the processes got, or 0."""
        return int(distributed.all_max([self.stop.number])[0])

    def _check_stop(self, number: int) -> None:
        if number:
            raise Stopped(number, f"saved after step {self.progress.step}")

    def _unfreeze(self) -> None:
        """Lets the layers learn whose turn it is."""
        tagger, every = self.model.tagger, self.config.unfreeze_every
        if every:
            n_layers, frozen = n_layers_of(tagger), self.config.n_frozen
            epoch = self.progress.epoch
            train_from(tagger, unfrozen_depth(epoch, n_layers=n_layers, every=every, frozen=frozen))

    def _out_of_patience(self) -> bool:
        config = self.config
        return (
            self.patience.n_without_gain >= config.patience_num and self.progress.epoch > config.min_epoch_num
        )

    def _epoch(self) -> None:
        number, config = self.progress.epoch + 1, self.config
        self._unfreeze()
        started = time.perf_counter() - self.progress.seconds  # what it took before a break counts
        with ProgressBar(
            self.steps_an_epoch, f"epoch {number}/{config.epoch_num}", self.show_progress
        ) as bar:
            bar.start(self.progress.step - (number - 1) * self.steps_an_epoch)
            train_epoch(
                self.model.tagger,
                self.train,
                self.optimizer,
                self.progress,
                rate=self.rate,
                device=self.device,
                accumulation=config.gradient_accumulation_steps,
                clip_grad=config.clip_grad,
                scaler=self.scaler,
                fixed_scale=self.fixed_scale,
                replicas=self.replicas,
                objective=self.objective,
                on_step=self._on_step(bar, started),
            )
        seconds = time.perf_counter() - started
        with self._averaged():
            several = {"shared": True} if distributed.world_size() > 1 else {"replicas": self.replicas}
            scores, val_loss, predicted = evaluate(self.model, self.val, device=self.device, **several)
        check_finite(val_loss, f"on val, epoch {number}, step {self.progress.step}")
        is_best = self.patience.update(scores.total.f1, config.patience / 100)
        line = {
            "epoch": number,
            "train_loss": self.progress.loss,
            "val_loss": val_loss,
            "val_precision": scores.total.precision,
            "val_recall": scores.total.recall,
            "val_f1": scores.total.f1,
            "val_accuracy": scores.accuracy,
            "val_accuracy_all_o": scores.accuracy_all_o,
            "learning_rate": config.learning_rate * self.rate(self.progress.step - 1),
            "seconds": round(seconds, 2),
            "tokens_per_second": round(self.progress.n_tokens / seconds, 1),
            "peak_memory_mb": round(distributed.all_max([peak_memory(self.device)])[0], 1),
        }
        if distributed.is_first():
            add_metrics(self.directory, line)
        whole = time.perf_counter() - started
        self._report(line, scores, predicted, is_best, time_left=whole * (config.epoch_num - number))
        self.progress.next_epoch()
        self._save(is_best)
        if self.after_epoch:
            self.after_epoch()

    def _on_step(self, bar: "ProgressBar", started: float) -> Callable[[Progress], None]:
        every = self.config.save_steps

        def on_step(progress: Progress) -> None:
            bar.step(progress.loss)
            progress.seconds = time.perf_counter() - started
            if self.average:
                self.average.update(progress.step)
            is_due = every and progress.step % every == 0 and progress.batch < len(self.train)
            stop = self._stop_number()
            if is_due or stop:
                self._save(is_best=False)
            self._check_stop(stop)

        return on_step

    def _save(self, is_best: bool) -> None:
        """The first process writes, all wait for it."""
        record = {"best_f1": self.patience.best_f1, "n_without_gain": self.patience.n_without_gain}
        with distributed.synchronised():
            if distributed.is_first():
                if is_best and (names := clear_scores(self.directory)):
                    log.info(f"removed, scores of an earlier best: {', '.join(names)}")
                save_checkpoint(
                    self.directory,
                    write_model=self._write_model,
                    optimizer=self.optimizer,
                    scaler=self.scaler,
                    progress=self.progress,
                    record=record,
                    is_best=is_best,
                )

    def _averaged(self):
        return self.average.applied() if self.average else contextlib.nullcontext()

    def _write_model(self, folder: Path) -> None:
        with self._averaged():
            save(folder, self.model)
        if self.average:
            self.average.save(folder)

    def _read_model(self, folder: Path) -> None:
        restore_weights(folder, self.model.tagger)
        if self.average:
            self.average.restore(folder)

    def _report(
        self, line: dict, scores: Scores, predicted: list[list[Span]], is_best: bool, time_left: float
    ) -> None:
        log.info(
            f"epoch {line['epoch']}/{self.config.epoch_num}"
            f"  loss {line['train_loss']:.4f} (val {line['val_loss']:.4f})"
            f"  val P {100 * line['val_precision']:.2f} R {100 * line['val_recall']:.2f}"
            f" F1 {100 * line['val_f1']:.2f}{' (best)' if is_best else ''}"
            f"  accuracy {100 * line['val_accuracy']:.2f} (all O: {100 * line['val_accuracy_all_o']:.2f})"
            f"  rate {line['learning_rate']:.2e}  {line['tokens_per_second']:.0f} tokens/s"
            f"  {duration(line['seconds'])}, {duration(time_left)} left"
            f"{skipped_steps(self.progress, self.scaler)}"
        )
        if scores.total.f1 == 0:
            log.info(self._why_nothing(predicted))
        elif is_best:
            log.info(per_type_table(scores))

    def _why_nothing(self, predicted: list[list[Span]]) -> str:
        gold = tag_counts(s.spans for s in self.val.sentences)
        found = tag_counts(predicted)
        cause = (
            "every predicted entity has a wrong end or type: is the data's `unit` the encoder's?"
            if found
            else f"nothing but O is predicted: too few steps so far ({self.progress.step}; a lower "
            f"batch_size makes more), or learning_rate {self.config.learning_rate:g} is too low for an "
            "encoder without pretraining (try 1e-4 to 1e-3) or too high for a pretrained one (try 2e-5), "
            "or tags that do not fit the sentences"
        )
        return (
            f"val F1 is 0. Gold tags: {dict(gold.most_common())}; predicted tags besides O: "
            f"{dict(found.most_common()) or 'none'}. Likely cause: {cause}"
        )
