"""Checkpoints: the same run goes on, bit for bit; whole or not there; never more than are wanted."""

import dataclasses
import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

import ner.training.checkpoint
from ner.data.sentence import Sentence
from ner.data.tokenizer import learn_vocabulary
from ner.errors import DataError, TrainingError
from ner.model.directory import load, restore_weights, save
from ner.tags import Span
from ner.training.checkpoint import (
    N_KEPT,
    discard_after,
    find_checkpoint,
    restore_checkpoint,
    save_checkpoint,
)
from ner.training.optim import build_optimizer, parameter_groups
from ner.training.step import Progress, Update, epoch_steps
from tests.factories import make_loader, make_model

SENTENCES = [
    Sentence.with_spans(tuple("王小明在北京。"), (Span(0, 3, "PER"), Span(4, 6, "LOC"))),
    Sentence.with_spans(tuple("小明访问上海"), (Span(0, 2, "PER"), Span(4, 6, "LOC"))),
    Sentence.with_spans(
        tuple("上海市长在北京访问王小明。"), (Span(0, 2, "LOC"), Span(5, 7, "LOC"), Span(9, 12, "PER"))
    ),
    Sentence.with_spans(tuple("访问市长"), ()),
]


@dataclasses.dataclass
class Record:
    values: dict = dataclasses.field(default_factory=dict)


class Run:
    """A run in miniature: one epoch is a few steps, `save` and `restore` are what train.py does."""

    def __init__(self, directory, *, encoder="bert", head="softmax", precision="fp32", seed=0):
        tokenizer = learn_vocabulary(token for sentence in SENTENCES for token in sentence.tokens)
        options = {"tokenizer": tokenizer, "max_len": 32, "dropout": 0.2, "seed": seed, "fresh": True}
        self.directory = directory
        self.model = make_model(head, encoder, **options)
        self.model.tagger.precision = precision
        targets = self.model.tagger.head
        self.loader = make_loader(SENTENCES, tokenizer, max_len=32, batch_tokens=20, targets=targets, seed=3)
        rates = {"learning_rate": 1e-2, "head_learning_rate": 2e-2, "weight_decay": 0.01}
        optimizer = build_optimizer(parameter_groups(self.model.tagger, **rates))
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, enabled=precision == "fp16")
        self.update = Update(optimizer, self.scaler, clip_grad=1.0)
        self.progress, self.record = Progress(), Record()
        self.steps = []

    def write_model(self, folder) -> None:
        save(folder, self.model)

    def read_model(self, folder) -> None:
        restore_weights(folder, self.model.tagger)

    def epoch(self, on_step=lambda progress: None) -> None:
        def note(progress: Progress) -> None:
            weights = {name: tensor.clone() for name, tensor in self.model.tagger.state_dict().items()}
            self.steps.append((progress.step, progress.loss_sum, weights))
            on_step(progress)

        how = {"rate": lambda step: 1.0 / (1 + step)}
        for _ in epoch_steps(self.model.tagger, self.loader, self.update, self.progress, **how):
            note(self.progress)
        self.progress.next_epoch()

    def save(self, *, is_best=False, record=None):
        self.record = Record(record or {})
        return save_checkpoint(self, is_best=is_best)

    def restore(self, folder) -> dict:
        """Restores a checkpoint of this run's directory, or of another one where a link leads."""
        own = self.directory
        self.directory = folder.parent if folder.is_symlink() else folder.parents[1]
        try:
            restore_checkpoint(self, folder)
        finally:
            self.directory = own
        return self.record.values


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def save_at(run, step, *, is_best=False):
    run.progress.step = step
    return run.save(is_best=is_best)


def names(run) -> list[str]:
    return sorted(path.name for path in (run.directory / "checkpoints").iterdir())


def target(run, link) -> str:
    return (run.directory / link).resolve().name


@pytest.mark.parametrize("encoder", ["bert", "lstm"])
@pytest.mark.parametrize("head", ["softmax", "crf"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_next_steps_are_the_same_bit_for_bit(tmp_path, encoder, head, precision):
    first = Run(tmp_path, encoder=encoder, head=head, precision=precision)
    first.epoch()
    first.save(record={"best_f1": 0.25, "note": "北"})
    in_the_middle = []
    first.epoch(lambda p: in_the_middle.append(first.save()) if p.batch == 2 else None)
    first.epoch()
    all_steps = first.steps

    n_done = len(first.loader) + 2
    again = Run(tmp_path, encoder=encoder, head=head, precision=precision, seed=5)
    assert again.restore(first.directory / "last") == {}
    assert (again.progress.epoch, again.progress.batch, again.progress.step) == (1, 2, n_done)
    again.epoch()
    again.epoch()
    assert len(again.steps) == len(all_steps) - n_done
    for (step, loss, weights), (its_step, its_loss, its_weights) in zip(
        all_steps[n_done:], again.steps, strict=True
    ):
        assert (step, loss) == (its_step, its_loss)
        assert all(torch.equal(weights[name], its_weights[name]) for name in weights), step
    assert again.scaler.state_dict() == first.scaler.state_dict()

    epochs_end = Run(tmp_path, encoder=encoder, head=head, precision=precision, seed=6)
    folder = tmp_path / "checkpoints" / f"step-{len(first.loader)}"
    assert epochs_end.restore(folder) == {"best_f1": 0.25, "note": "北"}
    progress = epochs_end.progress
    assert (progress.epoch, progress.batch, progress.step) == (1, 0, len(first.loader))
    assert (progress.loss_sum, progress.n_tokens) == (0.0, 0)
    epochs_end.epoch()
    assert epochs_end.steps[0][1] == all_steps[len(first.loader)][1]


def test_a_checkpoint_is_a_model_directory(run):
    run.epoch()
    folder = run.save()
    assert folder == run.directory / "checkpoints" / f"step-{run.progress.step}"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("config.json", "manifest.json", "model.safetensors", "tokenizer_config.json"),
        *("training_state.json", "training_state.safetensors", "vocab.txt"),
    ]
    loaded = load(folder)
    for name, tensor in run.model.tagger.state_dict().items():
        assert torch.equal(tensor, loaded.tagger.state_dict()[name])


def test_links_are_relative_and_whole(run, tmp_path_factory):
    run.epoch()
    run.save(is_best=True)
    run.epoch()
    run.save()
    n = len(run.loader)
    assert os.readlink(run.directory / "best") == f"checkpoints/step-{n}"
    assert os.readlink(run.directory / "last") == f"checkpoints/step-{2 * n}"
    moved = tmp_path_factory.mktemp("elsewhere") / "experiment"
    shutil.move(run.directory, moved)
    for link in ("best", "last"):
        load(moved / link)
        run.restore(moved / link)
    assert sorted(path.name for path in moved.iterdir()) == ["best", "checkpoints", "last"]


def test_only_the_newest_and_the_best_are_kept(run):
    assert N_KEPT == 2
    save_at(run, 9)
    assert names(run) == ["step-9"]
    assert not (run.directory / "best").exists()
    save_at(run, 10, is_best=True)
    for step in (11, 12, 100):
        save_at(run, step)
    assert names(run) == ["step-10", "step-100", "step-12"]
    assert (target(run, "best"), target(run, "last")) == ("step-10", "step-100")
    save_at(run, 101, is_best=True)
    assert names(run) == ["step-100", "step-101"]
    assert target(run, "best") == target(run, "last") == "step-101"


def test_other_peoples_folders_stay(run):
    save_at(run, 1)
    for name in ("step-final", "notes"):
        (run.directory / "checkpoints" / name).mkdir()
    for step in (2, 3, 4):
        save_at(run, step)
    assert names(run) == ["notes", "step-3", "step-4", "step-final"]


@pytest.mark.parametrize("broken", ["write_model", "_save_state", "_flush", "_link"])
def test_a_save_that_is_cut_off_leaves_the_old_ones_whole(run, monkeypatch, broken):
    save_at(run, 1, is_best=True)

    def cut_off(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run if broken == "write_model" else ner.training.checkpoint, broken, cut_off)
        with pytest.raises(KeyboardInterrupt):
            save_at(run, 2)
    assert target(run, "best") == target(run, "last") == "step-1"
    run.restore(run.directory / "last")
    assert run.progress.step == 1
    save_at(run, 2)
    assert names(run) == ["step-1", "step-2"]
    assert target(run, "last") == "step-2"
    run.restore(run.directory / "last")
    assert run.progress.step == 2


def test_later_checkpoints_are_discarded(run):
    save_at(run, 9, is_best=True)
    save_at(run, 10)
    save_at(run, 20, is_best=True)
    (run.directory / "checkpoints" / "step-9").mkdir()  # as if it were the best of an earlier time
    discard_after(run.directory, 20, 20)
    assert names(run) == ["step-10", "step-20", "step-9"]
    assert target(run, "best") == "step-20"
    discard_after(run.directory, 10, 9)
    assert names(run) == ["step-10", "step-9"]
    assert (target(run, "best"), target(run, "last")) == ("step-9", "step-10")
    discard_after(run.directory, 10, 8)  # the best of that time is gone
    assert not (run.directory / "best").is_symlink()


def test_a_link_to_an_earlier_checkpoint_survives(run):
    save_at(run, 1, is_best=True)
    save_at(run, 2)
    discard_after(run.directory, 1, 1)
    assert names(run) == ["step-1"]
    assert target(run, "best") == target(run, "last") == "step-1"


def cut(name):
    def spoil(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return spoil


def edit_state(**changes):
    def spoil(folder):
        path = folder / "training_state.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda d: (d / "training_state.json").unlink(), "no training_state.json, expected a checkpoint of"),
        (lambda d: (d / "training_state.safetensors").unlink(), "not a checkpoint of this run"),
        (lambda d: (d / "model.safetensors").unlink(), "not a checkpoint of this run"),
        (cut("training_state.json"), r"training_state.json:\d+: not JSON"),
        (cut("training_state.safetensors"), "not a checkpoint of this run"),
        (cut("model.safetensors"), "not a checkpoint of this run"),
        (edit_state(progress={"epochs": 1}), "not a checkpoint of this run"),
        (edit_state(progress=None), "not a checkpoint of this run"),
        (lambda d: (d / "training_state.json").write_text("{}"), "not a checkpoint of this run"),
        (lambda d: (d / "training_state.json").write_text("[]"), "got list, expected one JSON object"),
        (lambda d: save_at(Run(d.parents[1], head="crf"), 1), "not a checkpoint of this run"),
        (lambda d: save_at(Run(d.parents[1], encoder="lstm"), 1), "not a checkpoint of this run"),
    ],
)
def test_a_damaged_or_foreign_checkpoint_is_one_line(run, spoil, expected):
    run.epoch()
    run.progress.step = 1
    folder = run.save()
    spoil(folder)
    with pytest.raises(DataError, match=expected) as caught:
        run.restore(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def files_of(folder):
    return sorted(path.name for path in folder.iterdir())


def flip(path, byte, bit):
    data = bytearray(path.read_bytes())
    data[byte] ^= 1 << bit
    path.write_bytes(data)


def test_one_bit_anywhere_is_noticed(run):
    folder = save_at(run, 1)
    choose = random.Random(0)
    for name in files_of(folder):
        size = (folder / name).stat().st_size
        for byte in {0, size - 1, *(choose.randrange(size) for _ in range(10))}:
            bit = choose.randrange(8)
            flip(folder / name, byte, bit)
            with pytest.raises(DataError, match="step-1") as caught:
                find_checkpoint(run.directory, "last")
            assert "\n" not in str(caught.value)
            flip(folder / name, byte, bit)
    assert find_checkpoint(run.directory, "last") == folder


def test_what_was_added_later_is_no_damage(run):
    folder = save_at(run, 1)
    (folder / "metrics_test.json").write_text("{}")
    assert find_checkpoint(run.directory, "last") == folder


def test_a_damaged_last_gives_way_to_the_one_before(run, messages):
    for step, is_best in ((1, True), (2, False), (3, True)):
        save_at(run, step, is_best=is_best)
    assert names(run) == ["step-2", "step-3"]
    flip(run.directory / "last" / "model.safetensors", -1, 0)
    folder = find_checkpoint(run.directory, "last")
    assert folder.name == "step-2"
    damaged = run.directory / "checkpoints" / "step-3" / "model.safetensors"
    takes_over = "its sha256 is not the one in manifest.json; the checkpoint before it takes over"
    assert messages == [f"{damaged}: damaged, {takes_over}"]
    with pytest.raises(DataError, match="step-3"):  # what was asked for by name is not replaced
        find_checkpoint(run.directory, "best")
    run.restore(folder)
    assert run.progress.step == 2
    assert (names(run), target(run, "last")) == (["step-2"], "step-2")
    assert not (run.directory / "best").is_symlink()  # step 1, the best of that time, is gone
    flip(run.directory / "last" / "vocab.txt", 0, 0)
    with pytest.raises(DataError, match=r"vocab.txt: damaged"):
        find_checkpoint(run.directory, "last")


def test_the_best_of_that_time_is_the_best_again(run, monkeypatch):
    save_at(run, 1, is_best=True)
    save_at(run, 2)
    with monkeypatch.context() as patch:  # as if killed before the best of before is removed
        patch.setattr(ner.training.checkpoint, "_prune", lambda directory: None)
        save_at(run, 3, is_best=True)
    run.restore(run.directory / "checkpoints" / "step-2")
    assert (names(run), target(run, "best")) == (["step-1", "step-2"], "step-1")


def test_what_a_killed_program_left_is_removed(run):
    folder = save_at(run, 1)
    for name in (".step-1.removed", ".step-1.replaced", ".step-2.unfinished"):
        (folder.parent / name).mkdir()
        (folder.parent / name / "config.json").write_text("{}")
    assert find_checkpoint(run.directory, "last") == folder
    assert names(run) == ["step-1"]


@pytest.mark.parametrize("link", ["gone", "dangling"])
def test_without_its_link_the_newest_is_the_last(run, link):
    save_at(run, 1)
    folder = save_at(run, 2)
    (run.directory / "last").unlink()
    if link == "dangling":
        (run.directory / "last").symlink_to("checkpoints/step-3")
    assert find_checkpoint(run.directory, "last") == folder


@pytest.mark.parametrize("n_done", [0, 1])
def test_a_checkpoint_that_is_replaced_is_never_gone(run, monkeypatch, n_done):
    save_at(run, 1)
    folder = save_at(run, 2)
    done = []

    def cut_off(path, other, rename=Path.rename):
        if len(done) == n_done:
            raise KeyboardInterrupt
        done.append(other)
        return rename(path, other)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", cut_off)
        with pytest.raises(KeyboardInterrupt):
            save_at(run, 2)
    assert folder.exists() == (n_done == 0)
    assert find_checkpoint(run.directory, "last") == folder
    save_at(run, 2)
    assert names(run) == ["step-1", "step-2"]


def test_weights_that_are_not_finite_are_not_saved(run):
    save_at(run, 1, is_best=True)
    with torch.no_grad():
        run.model.tagger.head.classifier.weight[0, 0] = float("nan")
    with pytest.raises(TrainingError, match="weights are not finite after step 2"):
        save_at(run, 2, is_best=True)
    assert names(run) == ["step-1"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("os error 28")])
def test_a_full_disk_is_one_line_and_leaves_the_old_ones_whole(run, monkeypatch, error):
    folder = save_at(run, 1, is_best=True)

    def full(path):
        (path / "config.json").write_text("half")
        raise error

    monkeypatch.setattr(run, "write_model", full)
    with pytest.raises(
        DataError, match=r"step-2: cannot be saved, .*; checkpoints before it are whole"
    ) as caught:
        save_at(run, 2)
    assert "\n" not in str(caught.value)
    assert names(run) == ["step-1"]
    assert find_checkpoint(run.directory, "last") == folder
