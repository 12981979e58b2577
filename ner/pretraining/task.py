"""Pretraining as a `Task`: steps or minutes, the loss on held-out lines, and the finished model."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ner.pretraining.masking import MaskedBatch
from ner.pretraining.mlm import MaskedLm, Pretrained, restore_mlm, save_mlm
from ner.pretraining.params import PretrainConfig
from ner.pretraining.rows import MaskedLoader
from ner.runtime import distributed
from ner.runtime.logs import log
from ner.scoring.tables import duration
from ner.training.checkpoint import saving
from ner.training.optim import rate_factor, set_rates
from ner.training.step import Task, check_finite, count_skipped, describe_skipped, optimiser_step

READ_EVERY = 20  # steps between two readings of the loss; each reading waits for the device
PARTS_OF_TIME = 1_000_000  # the schedule's steps in a run that is measured in time


@dataclass
class Account:
    """What a run has done so far.  The sums from `interval_loss` on begin at the last evaluation."""

    seconds: float = 0.0
    "of training and evaluation, over all parts of a resumed run"
    n_pieces: int = 0
    "seen in training, without special pieces and padding"
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


@dataclass(kw_only=True)
class Pretraining(Task):
    """The pretraining of one model, built by `ner.pretraining.pretrain`."""

    counter = "step"

    config: PretrainConfig
    model: Pretrained
    train: MaskedLoader
    val: MaskedLoader
    clock: Callable[[], float] = time.perf_counter
    record: Account = field(default_factory=Account)
    _groups: Iterator[list[MaskedBatch]] = field(init=False)
    _evaluated: dict = field(default_factory=dict, init=False)
    "the last line of metrics.jsonl"
    _pending: list[tuple[str, Tensor]] = field(default_factory=list, init=False)
    "position and losses (2,) of the steps whose losses were not read from the device yet"
    _began: float = field(init=False)
    _lap_began: float = field(init=False)
    _bar: tqdm = field(init=False)

    def done(self) -> tuple[float, float]:
        """How much is done, and of how much: in seconds if the run is measured in time, else in steps."""
        if minutes := self.config.max_minutes:
            return self.record.seconds, 60 * minutes
        return self.progress.step, self.config.max_steps

    def share_done(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        n_done, n_all = self.done()
        return min(1.0, n_done / n_all)

    def rate(self) -> float:
        """Factor of the peak learning rate at the next step."""
        config, n_steps, step = self.config, self.config.max_steps, self.progress.step
        if config.max_minutes:
            n_steps, step = PARTS_OF_TIME, int(PARTS_OF_TIME * self.share_done())
        return rate_factor(step, n_steps=n_steps, warmup=config.warmup, schedule=config.schedule)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self._began = self._lap_began = self.clock()
        self._groups = self.groups()
        self.model.lm.train()
        n_done, n_all = map(round, self.done())
        unit, is_hidden = "s" if self.config.max_minutes else "step", not self.show_progress
        bar = tqdm(total=n_all, initial=min(n_done, n_all), unit=unit, disable=is_hidden)
        with bar as self._bar, logging_redirect_tqdm([log]):
            yield

    def is_over(self) -> bool:
        return self.share_done() >= 1

    def take_step(self) -> None:
        group, progress = next(self._groups), self.progress
        position = f"epoch {progress.epoch + 1}, batch {progress.batch + 1}, step {progress.step + 1}"
        self._pending.append((position, self.masking_step(group, self.rate())))
        self.record.interval_seconds += self._lap()
        self._bar.update(min(round(self.done()[0]), self._bar.total) - self._bar.n)
        if progress.step % READ_EVERY == 0:
            words = {"loss": f"{self._read_losses():.4f}"}
            if line := self._evaluated:
                words |= {"val": f"{line['val_loss']:.4f}", "perplexity": f"{line['val_perplexity']:.2f}"}
                words["accuracy"] = f"{100 * line['val_masked_accuracy']:.2f}"
            self._bar.set_postfix(words, refresh=False)

    def groups(self) -> Iterator[list[MaskedBatch]]:
        """This process's batches of every step from `progress` on; the step itself advances `progress`."""
        n_processes = distributed.world_size()
        n_batches = self.config.gradient_accumulation_steps * n_processes
        while True:
            epoch = self.train.epoch(self.progress.epoch)
            for first in range(self.progress.batch, len(epoch), n_batches):
                own = epoch[first : first + n_batches][distributed.rank() :: n_processes]
                yield [make_batch() for make_batch in own]
            self.progress.next_epoch()

    def masking_step(self, group: list[MaskedBatch], rate: float) -> Tensor:
        """Takes one optimiser step; returns (2,): summed losses of pieces and of tags, on the device.

        Both losses are divided by their own counts over all processes: hidden pieces, and tags.
        """
        model, config, account = self.replicas or self.model.lm, self.config, self.record
        counts = [len(group), sum(len(batch.labels) for batch in group)]
        counts += [sum(batch.n_tags for batch in group), sum(batch.n_pieces for batch in group)]
        n_batches, n_masked, n_tags, n_pieces = map(int, distributed.all_sum(counts))
        loss_sums = torch.zeros(2, device=self.device)

        def loss_of(batch: MaskedBatch) -> Tensor:
            guesses = model(*batch.inputs(self.device))
            loss_sums.add_(torch.stack([guesses.loss, guesses.tag_loss]).detach())
            return guesses.loss / max(1, n_masked) + config.tag_weight * guesses.tag_loss / max(1, n_tags)

        set_rates(self.update.optimizer, rate)
        # a process without a batch takes one in which there is nothing to guess
        given = group or [self.val.epoch(0)[0]().without_targets()]
        optimiser_step(model, given, loss_of, self.update, self.progress, n_batches=n_batches)
        account.n_pieces += n_pieces
        account.interval_pieces += n_pieces
        account.interval_masked += n_masked
        account.interval_tags += n_tags
        return loss_sums

    def _lap(self) -> float:
        """Seconds since the last call, of the slowest process; they count as part of the run."""
        now = self.clock()
        (seconds,), self._lap_began = distributed.all_max([now - self._lap_began]), now
        self.record.seconds += seconds
        return seconds

    def _read_losses(self) -> float:
        """Reads the losses of the last steps; returns the mean since the last evaluation, nats a piece."""
        account = self.record
        if self._pending:
            losses = iter(distributed.all_sum([x for _, pair in self._pending for x in pair.tolist()]))
            for (position, _), loss, tag_loss in zip(self._pending, losses, losses, strict=True):
                check_finite(loss + tag_loss, position)
                account.interval_loss += loss
                account.interval_tag_loss += tag_loss
            self._pending.clear()
            count_skipped(self.progress, self.update)
        return account.interval_loss / max(1, account.interval_masked)

    def must_evaluate(self) -> bool:
        """True every `eval_steps`, and before each checkpoint."""
        return self.progress.step % self.config.eval_steps == 0 or self.must_save()

    def evaluate(self) -> dict:
        account, train_loss, lm = self.record, self._read_losses(), self.model.lm
        held_out = evaluate(lm, self.val, device=self.device)
        check_finite(held_out["loss"] + held_out["tag_loss"], f"held-out lines, step {self.progress.step}")
        self._lap()
        line = {
            "step": self.progress.step,
            "minutes": round(account.seconds / 60, 3),
            "tokens": account.n_pieces,
            "train_loss": train_loss,
            "val_loss": held_out["loss"],
            "val_perplexity": perplexity(held_out["loss"]),
            "val_masked_accuracy": held_out["masked_accuracy"],
            "learning_rate": self.update.optimizer.param_groups[0]["lr"],
            "tokens_per_second": round(account.interval_pieces / max(account.interval_seconds, 1e-9), 1),
        }
        if lm.tag_head:
            line["train_tag_loss"] = account.interval_tag_loss / max(1, account.interval_tags)
            line["val_tag_loss"] = held_out["tag_loss"]
            line["val_tag_accuracy"] = held_out["tag_accuracy"]
        self._evaluated = line
        return line

    def report(self, line: dict) -> None:
        seconds = self.record.seconds
        left = seconds / max(self.share_done(), 1e-9) - seconds
        tags = f"  of tags {100 * line['val_tag_accuracy']:.2f}" if self.model.lm.tag_head else ""
        log.info(
            f"step {line['step']}  loss {line['train_loss']:.4f} (val {line['val_loss']:.4f})"
            f"  perplexity {line['val_perplexity']:.2f}  accuracy {100 * line['val_masked_accuracy']:.2f}"
            f"{tags}  rate {line['learning_rate']:.2e}  {line['tokens_per_second']:.0f} tokens/s"
            f"  {duration(seconds)}, {duration(max(0.0, left))} left"
            f"{describe_skipped(self.progress, self.update)}"
        )
        self.record = Account(seconds, self.record.n_pieces, self.record.best_loss)

    def must_save(self) -> bool:
        """True every `save_steps`, and at the end of the run."""
        return self.progress.step % self.config.save_steps == 0 or self.is_over()

    def note_best(self) -> bool:
        """True if the held-out loss is the lowest of all checkpoints."""
        val_loss, best_loss = self._evaluated["val_loss"], self.record.best_loss
        self.record.best_loss = min(val_loss, best_loss)
        return val_loss < best_loss

    def before_save(self) -> None:
        self._read_losses()

    def write_model(self, folder: Path) -> None:
        save_mlm(folder, self.model)

    def read_model(self, folder: Path) -> None:
        restore_mlm(folder, self.model.lm)

    def describe_position(self) -> str:
        return f"going on after step {self.progress.step}"

    def finish(self) -> None:
        """Leaves the finished model in the directory itself."""
        with distributed.synchronised(), saving(self.directory):
            if distributed.is_first():
                save_mlm(self.directory, self.model, getattr(torch, self.config.save_dtype))
        took = duration(self.clock() - self._began)
        log.info(f"{took} for {self.progress.step} steps; the model is {self.directory}")


@torch.inference_mode()
def evaluate(lm: MaskedLm, loader: MaskedLoader, *, device: torch.device) -> dict[str, float]:
    """Losses and accuracies over epoch 0 of the loader; each process takes a share and gets all results.

    loss, tag_loss                  nats a hidden piece, nats a tag
    masked_accuracy, tag_accuracy   shares of right guesses; both tag values are 0 without tags
    """
    was_training = lm.training
    lm.eval()
    sums = torch.zeros(4, dtype=torch.float64, device=device)
    n_masked, n_tags = 0, 0
    for make_batch in loader.epoch(0)[distributed.rank() :: distributed.world_size()]:
        batch = make_batch()
        guesses = lm(*batch.inputs(device))
        for number, value in enumerate(guesses):
            sums[number] += value
        n_masked += len(batch.labels)
        n_tags += batch.n_tags
    lm.train(was_training)
    names = ("loss", "masked_accuracy", "tag_loss", "tag_accuracy")
    *totals, n_masked, n_tags = distributed.all_sum([*sums.tolist(), n_masked, n_tags])
    divisors = (n_masked, n_masked, n_tags, n_tags)
    return {name: x / max(1, n) for name, x, n in zip(names, totals, divisors, strict=True)}


def perplexity(loss: float) -> float:
    """exp(loss in nats a piece); infinite if a float cannot hold it."""
    return math.exp(loss) if loss < 700 else math.inf
