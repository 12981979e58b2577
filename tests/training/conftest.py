"""What the tests of training share: a task that a few steps complete."""

import contextlib
import os
from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ner.training.step import Task, Update, optimiser_step


@dataclass
class Record:
    best: float = -1.0


@dataclass(kw_only=True)
class Line(Task):
    """Fits a line; evaluates every second step, saves every fourth and at the end."""

    counter = "step"

    n_steps: int = 10
    signals: dict[int, int] = field(default_factory=dict)
    "step -> signal that arrives during the step"
    scores: dict[int, float] = field(default_factory=dict)
    record: Record = field(default_factory=Record)
    events: list[str] = field(default_factory=list)
    model: nn.Module = field(default_factory=lambda: nn.Linear(2, 1))

    def running(self):
        return contextlib.nullcontext()

    def is_over(self):
        return self.progress.step >= self.n_steps

    def take_step(self):
        batch = torch.full((3, 2), float(self.progress.step))
        optimiser_step(
            self.model, [batch], lambda x: self.model(x).sum(), self.update, self.progress, n_batches=1
        )
        self.events.append(f"step {self.progress.step}")
        if self.progress.step in self.signals:
            os.kill(os.getpid(), self.signals[self.progress.step])

    def must_evaluate(self):
        return self.progress.step % 2 == 0 or self.must_save()

    def evaluate(self):
        return {"step": self.progress.step, "score": self.scores.get(self.progress.step, 0.0)}

    def report(self, line):
        self.events.append(f"evaluated {line['step']}")
        self.score = line["score"]

    def must_save(self):
        return self.progress.step % 4 == 0 or self.is_over()

    def note_best(self):
        is_best = self.score > self.record.best
        self.record.best = max(self.score, self.record.best)
        return is_best

    def before_save(self):
        self.events.append(f"saved {self.progress.step}")

    def write_model(self, folder):
        save_file(self.model.state_dict(), folder / "model.safetensors")

    def read_model(self, folder):
        self.model.load_state_dict(load_file(folder / "model.safetensors"))

    def describe_position(self):
        return f"going on after step {self.progress.step}"

    def finish(self):
        self.events.append("finished")


@pytest.fixture
def make_task(tmp_path):
    """`make_task(n_steps=10, signals={}, scores={})`: a new `Line` in `tmp_path`, the same every time."""

    def make(**options) -> Line:
        torch.manual_seed(0)
        model = nn.Linear(2, 1)
        optimizer = torch.optim.AdamW([{"params": list(model.parameters()), "lr": 0.1}])
        update, device = Update(optimizer), torch.device("cpu")
        return Line(directory=tmp_path, update=update, device=device, model=model, **options)

    return make
