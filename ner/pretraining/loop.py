"""The loop over optimiser steps, evaluation on the held-out lines, and what a run leaves."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ner.errors import Stopped
from ner.pretraining.mlm import MaskedLm, Pretrained, restore_mlm, save_mlm
from ner.pretraining.params import PretrainConfig
from ner.pretraining.rows import MaskedBatch, MaskedLoader
from ner.runtime import distributed
from ner.runtime.logs import log
from ner.runtime.program import StopRequest
from ner.scoring.tables import duration
from ner.training.checkpoint import resume, save_checkpoint, saving
from ner.training.optim import rate_factor, set_rates
from ner.training.run_dir import add_metrics, cut_metrics
from ner.training.step import Progress, check_finite, count_skipped, skipped_steps

READ_EVERY = 20  # steps between readings of the loss, each of which waits for the device
FINE = 1_000_000  # parts of a run that is measured in time


@dataclass
class Account:
    """What has been done so far: with `Progress` and the weights, all that resuming needs.

    Those from `interval_` on count from the last evaluation.
    """

    seconds: float = 0.0
    "of training and evaluation, over all parts of a resumed run"
    n_pieces: int = 0
    "seen in training, special pieces and padding left out"
    best_loss: float = math.inf
    "lowest held-out loss of a checkpoint, nats a hidden piece"
    interval_loss: float = 0.0
    "nats, summed"
    interval_masked: int = 0
    "hidden pieces"
    interval_tag_loss: float = 0.0
    "nats, summed"
    interval_tags: int = 0
    interval_pieces: int = 0
    interval_seconds: float = 0.0
    "of training alone"


@dataclass
class Pretraining:
    """Everything one run needs, built by pretrain.py."""

    directory: Path
    config: PretrainConfig
    model: Pretrained
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    train: MaskedLoader
    val: MaskedLoader
    device: torch.device
    replicas: nn.Module | None = None
    "the model as one of several, see `ner.runtime.distributed`"
    show_progress: bool = False
    clock: Callable[[], float] = time.perf_counter
    progress: Progress = field(default_factory=Progress)
    account: Account = field(default_factory=Account)
    stop: StopRequest = field(default_factory=StopRequest)
    _evaluated: dict = field(default_factory=dict)
    "the last line of metrics.jsonl"
    _pending: list[tuple[str, torch.Tensor]] = field(default_factory=list)
    "where and how large: losses of steps that have not been read from the device"
    _lap_began: float = 0.0

    def share_done(self) -> float:
        """Of the run, in [0, 1]."""
        if self.config.max_minutes:
            return min(1.0, self.account.seconds / (60 * self.config.max_minutes))
        return self.progress.step / self.config.max_steps

    def rate(self) -> float:
        """Factor of the peak learning rate at the next step."""
        config, n_steps, step = self.config, self.config.max_steps, self.progress.step
        if config.max_minutes:
            n_steps, step = FINE, int(FINE * self.share_done())
        return rate_factor(step, n_steps=n_steps, warmup=config.warmup, schedule=config.schedule)

    def restore(self, folder: Path) -> str:
        """Goes back to a checkpoint from `find_checkpoint`; says in words what it did."""
        self.progress, self.account = resume(
            self.directory,
            folder,
            record_type=Account,
            read_model=lambda path: restore_mlm(path, self.model.lm),
            optimizer=self.optimizer,
            scaler=self.scaler,
        )
        if distributed.is_first():
            cut_metrics(self.directory, lambda line: line["step"] <= self.progress.step)
        return f"restored {folder}: going on after step {self.progress.step}"

    def run(self) -> None:
        """Trains to the end of the run and leaves the model in the directory itself.

        Raises Stopped after a signal, with everything saved.
        """
        config, progress = self.config, self.progress
        begun = self._lap_began = self.clock()
        saved_step, groups = progress.step, self._groups()
        self.model.lm.train()
        with self.stop, self._bar() as bar, logging_redirect_tqdm([log]):
            while self.share_done() < 1:
                self._check_stop(is_saved=saved_step == progress.step)
                rate = self.rate()
                group = next(groups)
                where = f"epoch {progress.epoch + 1}, batch {progress.batch + 1}, step {progress.step + 1}"
                self._pending.append((where, self._step(group, rate)))
                self.account.interval_seconds += self._lap()
                self._advance(bar)
                if progress.step % config.save_steps == 0:
                    self._save(rate)
                    saved_step = progress.step
                elif progress.step % config.eval_steps == 0:
                    self._evaluate(rate)
            if saved_step < progress.step:
                self._save(rate)
        with distributed.synchronised(), saving(self.directory):
            if distributed.is_first():
                save_mlm(self.directory, self.model, getattr(torch, config.save_dtype))
        took = duration(self.clock() - begun)
        log.info(f"{took} for {progress.step} steps; the model is {self.directory}")

    def _check_stop(self, is_saved: bool) -> None:
        """After a signal: a checkpoint that is not evaluated, as the run without a break has none here."""
        number = int(distributed.all_max([self.stop.number])[0])
        if number:
            self._read_losses()
            if not is_saved:
                self._write(is_best=False)
            raise Stopped(number, f"saved after step {self.progress.step}")

    def _lap(self) -> float:
        """Seconds since it was last asked, which count as part of the run; the slowest process's."""
        now = self.clock()
        (seconds,), self._lap_began = distributed.all_max([now - self._lap_began]), now
        self.account.seconds += seconds
        return seconds

    def _groups(self) -> Iterator[list[MaskedBatch]]:
        """The process's batches of every step from `progress` on, which the step itself moves forward."""
        n_processes = distributed.world_size()
        n_batches = self.config.gradient_accumulation_steps * n_processes
        while True:
            epoch = self.train.epoch(self.progress.epoch)
            for first in range(self.progress.batch, len(epoch), n_batches):
                end = min(first + n_batches, len(epoch))
                yield [epoch[i] for i in range(first + distributed.rank(), end, n_processes)]
            self.progress.next_epoch()

    def _step(self, group: list[MaskedBatch], rate: float) -> torch.Tensor:
        """One optimiser step; returns the summed losses of pieces and of tags, still on the device.

        Of several processes one that has no batch takes part with one in which there is nothing to guess.
        """
        model, config, account = self.replicas or self.model.lm, self.config, self.account
        n_batches, n_masked, n_tags, n_pieces = map(int, distributed.all_sum(sizes(group)))
        set_rates(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        loss_sums = torch.zeros(2, device=self.device)
        for batch in distributed.accumulate(model, group or [self.val.epoch(0)[0].unasked()]):
            guesses = model(*batch.inputs(self.device))
            loss = guesses.loss / max(1, n_masked)
            loss_sums[0] += guesses.loss.detach()
            if guesses.tag_loss is not None:
                loss = loss + config.tag_weight * guesses.tag_loss / max(1, n_tags)
                loss_sums[1] += guesses.tag_loss.detach()
            self.scaler.scale(loss * distributed.world_size()).backward()  # which averages
        if config.clip_grad:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), config.clip_grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        account.n_pieces += n_pieces
        account.interval_pieces += n_pieces
        account.interval_masked += n_masked
        account.interval_tags += n_tags
        self.progress.batch += n_batches
        self.progress.step += 1
        return loss_sums

    def _read_losses(self) -> float:
        """Adds up the losses of the last steps; the mean since the last evaluation, nats a hidden piece."""
        account = self.account
        losses = iter(distributed.all_sum([x for _, pair in self._pending for x in pair.tolist()]))
        for (where, _), loss, tag_loss in zip(self._pending, losses, losses, strict=True):
            check_finite(loss + tag_loss, where)
            account.interval_loss += loss
            account.interval_tag_loss += tag_loss
        self._pending.clear()
        if self.scaler.is_enabled():
            count_skipped(self.progress, self.optimizer)
        return account.interval_loss / max(1, account.interval_masked)

    def _evaluate(self, rate: float) -> None:
        """Writes a line of metrics.jsonl and of the log."""
        account, train_loss = self.account, self._read_losses()
        held_out = evaluate(self.model.lm, self.val, device=self.device)
        check_finite(held_out["loss"] + held_out["tag_loss"], f"held-out lines, step {self.progress.step}")
        self._lap()
        line = self._evaluated = {
            "step": self.progress.step,
            "minutes": round(account.seconds / 60, 3),
            "tokens": account.n_pieces,
            "train_loss": train_loss,
            "val_loss": held_out["loss"],
            "val_perplexity": perplexity(held_out["loss"]),
            "val_masked_accuracy": held_out["masked_accuracy"],
            "learning_rate": self.config.learning_rate * rate,
            "tokens_per_second": round(account.interval_pieces / max(account.interval_seconds, 1e-9), 1),
        }
        if self.model.lm.tag_head:
            line["train_tag_loss"] = account.interval_tag_loss / max(1, account.interval_tags)
            line["val_tag_loss"] = held_out["tag_loss"]
            line["val_tag_accuracy"] = held_out["tag_accuracy"]
        if distributed.is_first():
            add_metrics(self.directory, line)
        self.account = Account(account.seconds, account.n_pieces, account.best_loss)
        tags = f"  of tags {100 * held_out['tag_accuracy']:.2f}" if self.model.lm.tag_head else ""
        left = account.seconds / max(self.share_done(), 1e-9) - account.seconds
        log.info(
            f"step {line['step']}  loss {train_loss:.4f} (val {line['val_loss']:.4f})"
            f"  perplexity {line['val_perplexity']:.2f}  accuracy {100 * line['val_masked_accuracy']:.2f}"
            f"{tags}"
            f"  rate {line['learning_rate']:.2e}  {line['tokens_per_second']:.0f} tokens/s"
            f"  {duration(account.seconds)}, {duration(max(0.0, left))} left"
            f"{skipped_steps(self.progress, self.scaler)}"
        )

    def _save(self, rate: float) -> None:
        """A checkpoint, evaluated; the best is the one with the lowest held-out loss."""
        if self._evaluated.get("step") != self.progress.step:
            self._evaluate(rate)
        val_loss = self._evaluated["val_loss"]
        is_best = val_loss < self.account.best_loss
        self.account.best_loss = min(val_loss, self.account.best_loss)
        self._write(is_best)

    def _write(self, is_best: bool) -> None:
        """The first process writes, all wait for it."""
        with distributed.synchronised():
            if distributed.is_first():
                save_checkpoint(
                    self.directory,
                    write_model=lambda path: save_mlm(path, self.model),
                    optimizer=self.optimizer,
                    scaler=self.scaler,
                    progress=self.progress,
                    record=asdict(self.account),
                    is_best=is_best,
                )

    def _bar(self) -> tqdm:
        in_time = bool(self.config.max_minutes)
        total = round(60 * self.config.max_minutes) if in_time else self.config.max_steps
        done = round(self.account.seconds) if in_time else self.progress.step
        unit = "s" if in_time else "step"
        return tqdm(total=total, initial=min(done, total), unit=unit, disable=not self.show_progress)

    def _advance(self, bar: tqdm) -> None:
        done = round(self.account.seconds) if self.config.max_minutes else self.progress.step
        if self.show_progress:
            bar.update(min(done, bar.total) - bar.n)
        if self.progress.step % READ_EVERY == 0:
            words = {"loss": f"{self._read_losses():.4f}"}
            if self._evaluated:
                words["val"] = f"{self._evaluated['val_loss']:.4f}"
                words["perplexity"] = f"{self._evaluated['val_perplexity']:.2f}"
                words["accuracy"] = f"{100 * self._evaluated['val_masked_accuracy']:.2f}"
            bar.set_postfix(words, refresh=False)


def sizes(group: list[MaskedBatch]) -> tuple[int, int, int, int]:
    """Batches, hidden pieces, tags and pieces."""
    n_masked, n_tags = sum(len(batch.labels) for batch in group), sum(batch.n_tags for batch in group)
    return len(group), n_masked, n_tags, sum(batch.n_pieces for batch in group)


@torch.inference_mode()
def evaluate(lm: MaskedLm, loader: MaskedLoader, *, device: torch.device) -> dict[str, float]:
    """Over the loader's batches of epoch 0; of several processes each takes its share and has all results.

    loss, tag_loss                  nats a hidden piece, nats a tag
    masked_accuracy, tag_accuracy   shares guessed; those of tags are 0 where there are none
    """
    was_training = lm.training
    lm.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    n_masked, n_tags, epoch = 0, 0, loader.epoch(0)
    for batch in map(epoch.__getitem__, range(distributed.rank(), len(epoch), distributed.world_size())):
        guesses = lm(*batch.inputs(device))
        for number, value in enumerate(guesses):
            sums[number] += 0 if value is None else value
        n_masked += len(batch.labels)
        n_tags += batch.n_tags
    lm.train(was_training)
    names = ("loss", "masked_accuracy", "tag_loss", "tag_accuracy")
    *totals, n_masked, n_tags = distributed.all_sum([*sums.tolist(), n_masked, n_tags])
    counts = (n_masked, n_masked, n_tags, n_tags)
    return {name: x / max(1, n) for name, x, n in zip(names, totals, counts, strict=True)}


def perplexity(loss: float) -> float:
    """exp(nats a piece); infinite where that is beyond a float."""
    return math.exp(loss) if loss < 700 else math.inf
