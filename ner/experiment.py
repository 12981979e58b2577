"""One experiment: the loop over epochs, when it stops, and what it leaves in its directory."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from ner import distributed, engine
from ner.averaging import WeightAverage
from ner.checkpoint import resume, save_checkpoint
from ner.config import Config
from ner.corpus import Sentence, Split
from ner.data_loader import DataLoader, encode
from ner.metrics import Scores, score, tag_counts
from ner.model import Model, restore_weights, save
from ner.objectives import build_objective
from ner.optim import n_layers_of, rate_factor, train_from, unfrozen_depth
from ner.report import duration, per_type_table
from ner.run_dir import add_metrics, clear_scores, cut_metrics
from ner.runtime import Stopped, StopRequest, log, peak_memory
from ner.tags import Span


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
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    train: DataLoader
    val: DataLoader
    device: torch.device
    fixed_scale: float = 0.0
    replicas: nn.Module | None = None
    progress: engine.Progress = field(default_factory=engine.Progress)
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
        return engine.n_steps_an_epoch(self.train, self.config.gradient_accumulation_steps)

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
        return int(distributed.largest([self.stop.number])[0])

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
            engine.train_epoch(
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
                objective=build_objective(config, teacher=self.train.soft is not None),
                on_step=self._on_step(bar, started),
            )
        seconds = time.perf_counter() - started
        with self._averaged():
            several = {"shared": True} if distributed.world_size() > 1 else {"replicas": self.replicas}
            scores, val_loss, predicted = evaluate(self.model, self.val, device=self.device, **several)
        engine.check_finite(val_loss, f"on val, epoch {number}, step {self.progress.step}")
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
            "peak_memory_mb": round(distributed.largest([peak_memory(self.device)])[0], 1),
        }
        if distributed.is_first():
            add_metrics(self.directory, line)
        whole = time.perf_counter() - started
        self._report(line, scores, predicted, is_best, time_left=whole * (config.epoch_num - number))
        self.progress.next_epoch()
        self._save(is_best)
        if self.after_epoch:
            self.after_epoch()

    def _on_step(self, bar: "ProgressBar", started: float) -> Callable[[engine.Progress], None]:
        every = self.config.save_steps

        def on_step(progress: engine.Progress) -> None:
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
        with distributed.agreed():
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
        return self.average.in_place() if self.average else contextlib.nullcontext()

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
            f"{engine.skipped_steps(self.progress, self.scaler)}"
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


class ProgressBar:
    """tqdm with a running loss on a terminal; elsewhere a plain line at each tenth of the epoch."""

    def __init__(self, n_steps: int, title: str, on_terminal: bool):
        self.n_steps, self.title, self.on_terminal = n_steps, title, on_terminal
        self.n_done = 0
        self.bar: tqdm | None = None

    def __enter__(self) -> "ProgressBar":
        if self.on_terminal:
            self.bar = tqdm(total=self.n_steps, desc=self.title, leave=False)
        return self

    def __exit__(self, *exception) -> None:
        if self.bar is not None:
            self.bar.close()

    def start(self, n_done: int) -> None:
        """Steps that an earlier run took."""
        self.n_done = n_done
        if self.bar is not None:
            self.bar.update(n_done)

    def step(self, loss: float) -> None:
        self.n_done += 1
        if self.bar is not None:
            self.bar.update()
            self.bar.set_postfix(loss=f"{loss:.4f}")
        elif self.n_steps >= 50 and self.n_done % math.ceil(self.n_steps / 10) == 0:
            log.info(f"{self.title}  step {self.n_done}/{self.n_steps}  loss {loss:.4f}")


def evaluate(
    model: Model, loader: DataLoader, *, device: torch.device, **options
) -> tuple[Scores, float, list[list[Span]]]:
    """Scores of a model on annotated examples, its loss in nats a token, and the spans it predicts.

    `options` are those of `engine.predict`.
    """
    found, loss = engine.predict(model.tagger, loader, device=device, **options)
    sentences = loader.sentences
    predicted = [[scored.span for scored in spans] for spans in found]
    scores = score([s.spans for s in sentences], predicted, [len(s.tokens) for s in sentences])
    return scores, loss, predicted


def annotated_loader(model: Model, sentences: Sequence[Sentence], *, batch_tokens: int) -> DataLoader:
    """Batches to score a model on."""
    return DataLoader(
        encode(sentences, model.tokenizer),
        windows=model.windows,
        batch_tokens=batch_tokens,
        label_ids=model.label_ids,
        findable=model.tagger.head.findable,
    )


def unread_gold(loader: DataLoader, name: str) -> list[str]:
    """What is to be said of gold that lies where long sentences are cut off."""
    if loader.kept is None:
        return []
    n_gold = sum(len(sentence.spans or ()) for sentence in loader.sentences)
    n_cut = sum(len(kept) < len(s.tokens) for kept, s in zip(loader.kept, loader.sentences, strict=True))
    return [
        f"{name}: long_text {loader.windows.long_text} cuts {n_cut} of {len(loader.sentences)} sentences; "
        f"{loader.n_unread} of {n_gold} gold entities are not read, and count as missed"
    ]


def missed_gold(head: nn.Module, split: Split) -> list[str]:
    """What is to be said of gold that a head could never find."""
    n_missed = sum(len(s.spans) - len(head.findable(s.spans)) for s in split.sentences)
    if not n_missed:
        return []
    return [
        f"{n_missed} of {split.n_entities} gold entities overlap others or are longer than any of train's; "
        "this head cannot find them, they count as missed"
    ]
