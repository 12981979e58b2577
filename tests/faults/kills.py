"""Tests that the programs survive kills, damage, full disks, NaN, malformed data and hostile files.

    python -m tests.faults                      # minutes; a table in markdown, exit code 1 if a trial failed
    python -m tests.faults --quick              # seconds: a few trials of each kind
    python -m tests.faults --only data models   # some groups of trials

Each trial runs in a forked child process.  The parent has imported everything and computed nothing.
Both trainers, train.py and pretrain.py, get the same trials on a few lines of the sample: thirty optimiser
steps of two batches in three epochs, with dropout.  train.py also unfreezes layers step by step and averages
the weights.  "The same" means: equal sha256 of the last weights and of the optimiser's and random state,
equal links, and equal lines of metrics except for times.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
import torch._dynamo  # imported here because the first optimiser imports it, which takes longer than a trial
from safetensors.torch import load_file

import build_dataset
import ner.pretraining.task
import ner.tensors
import ner.training.checkpoint
import ner.training.run
import ner.training.step
import pretrain
import train
from ner import files
from ner.errors import DataError
from ner.model.manifest import check_manifest
from ner.runtime import program
from ner.training.checkpoint import find_checkpoint
from ner.training.run_dir import LOCK
from tests.faults import hostile, malformed, random_data

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "sample.bio"
TIMES = ("seconds", "tokens_per_second", "minutes", "peak_memory_mb")
BERT = {
    **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24},
    **{"hidden_dropout_prob": 0.2, "max_position_embeddings": 64},
}
COMMON = {"gradient_accumulation_steps": 2, "learning_rate": 5e-3, "save_steps": 3}
N_STEPS = 30
N_SENTENCES = 30  # 8 of them for val; train.py makes 20 batches an epoch of the others


class Ended(NamedTuple):
    """How a process ended: its exit code, or minus the number of a signal; its output; processor time."""

    code: int
    output: str
    seconds: float

    @property
    def is_one_line(self) -> bool:
        """Whether the output has one error, in one line at its end."""
        lines = self.output.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        return len(errors) == 1 and lines[-1] == errors[0] and "Traceback" not in self.output


def fork(act: Callable[[], int]) -> Ended:
    """Runs `act` in a child process.  The number it returns is the exit code."""
    with tempfile.TemporaryFile() as file:
        sys.stdout.flush()
        child = os.fork()
        if not child:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
            try:
                code = act()
            except BaseException:
                traceback.print_exc()
                code = 99
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status, used = os.wait4(child, 0)
        file.seek(0)
        output = file.read().decode(errors="replace")
        return Ended(os.waitstatus_to_exitcode(status), output, used.ru_utime + used.ru_stime)


class Trainer(NamedTuple):
    """A training program: its arguments without the directory, and its params.json."""

    module: ModuleType
    argv: tuple[str, ...]
    option: str
    params: dict

    @property
    def name(self) -> str:
        return f"{self.module.__name__}.py"

    def run(self, directory: Path, *argv: str, before: Callable[[], object] = lambda: None) -> int:
        """Runs the program in this process; `before` may set a trap."""
        before()
        given = [*self.argv, self.option, str(directory), "--device", "cpu", *argv]
        return program.run(self.module.main, self.module.parse_args, given)

    def start(self, directory: Path, *argv: str, **options) -> Ended:
        """Starts a new run in a child process."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "params.json").write_text(json.dumps(self.params))
        return fork(lambda: self.run(directory, *argv, **options))

    def resume(self, directory: Path, *argv: str, **options) -> Ended:
        """Continues from the last checkpoint, or starts again if there is none."""
        how = ("--restore_file", "last") if checkpoints(directory) else ("--overwrite",)
        return fork(lambda: self.run(directory, *how, *argv, **options))


def checkpoints(directory: Path) -> list[str]:
    """Names of the checkpoints, including one that is being replaced."""
    found = (directory / "checkpoints").glob("*step-*")
    return sorted(path.name for path in found if path.suffix in ("", ".replaced"))


def find_last(directory: Path) -> tuple[Path, bool]:
    """The checkpoint to resume from, and whether it is the newest: then none is damaged."""
    folder, last = find_checkpoint(directory, "last"), directory / "last"
    if not last.exists():  # the run was killed before it made the link
        last = max((directory / "checkpoints").glob("step-*"), key=lambda path: int(path.name[5:]))
    return folder, folder.samefile(last)


def outcome(directory: Path) -> dict:
    """Everything that must be equal in two runs."""
    weights = [*(directory / "last").glob("*.safetensors"), *directory.glob("*.safetensors")]
    lines = map(json.loads, (directory / "metrics.jsonl").read_text().splitlines())
    return {
        "weights": {str(p.relative_to(directory)): files.sha256(p) for p in weights},
        "links": [os.readlink(directory / name) for name in ("last", "best")],
        "metrics": [{key: v for key, v in line.items() if key not in TIMES} for line in lines],
    }


class Trials(NamedTuple):
    """A row of the table."""

    fault: str
    n_passed: int
    n_trials: int
    remark: str = ""


class Lab:
    """A working folder, a trainer, and the outcome of its run without a fault."""

    def __init__(self, folder: Path, trainer: Trainer, choose: random.Random):
        self.folder, self.trainer, self.choose = folder / trainer.module.__name__, trainer, choose
        self.reference = self.folder / "reference"
        ended = trainer.start(self.reference)
        self.seconds = ended.seconds
        if ended.code:
            sys.exit(ended.output)
        last = (self.reference / "last").resolve().name
        assert last == f"step-{N_STEPS}", f"the run ended at {last}, expected {N_STEPS} steps"
        self.expected = outcome(self.reference)
        self.n_made = 0

    def new(self) -> Path:
        self.n_made += 1
        return self.folder / f"run{self.n_made}"

    def copy(self) -> Path:
        """Copies the finished run with its links."""
        return Path(shutil.copytree(self.reference, self.new(), symlinks=True))

    def is_same(self, directory: Path, ended: Ended) -> bool:
        """Whether a resumed run has the expected outcome.  Prints the differences, or removes the run."""
        found = outcome(directory) if ended.code == 0 else {}
        differs = [name for name, value in self.expected.items() if found.get(name) != value]
        if differs or (directory / LOCK).exists():
            print(f"{directory}: code {ended.code}, {differs} differ\n{ended.output}", file=sys.stderr)
            return False
        shutil.rmtree(directory)
        return True

    def row(self, fault: str, passed: Iterable[bool], remark: str = "") -> Trials:
        passed = list(passed)
        return Trials(f"{self.trainer.name}: {fault}", sum(passed), len(passed), remark)


def trap_in_step(step: int, delay: float) -> Callable[[], None]:
    """A trap: SIGKILL comes `delay` seconds after a step, from 1, has begun."""

    def set_trap() -> None:
        steps = itertools.count(1)

        def count_steps(set_rates, *args):
            set_rates(*args)
            if next(steps) == step:
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()

        for module in (ner.training.step, ner.pretraining.task):
            module.set_rates = functools.partial(count_steps, module.set_rates)

    return set_trap


def killed_at_random(lab: Lab, n_trials: int) -> Trials:
    passed, n_restarted, n_finished = [], 0, 0
    for _ in range(n_trials):
        directory = lab.new()
        trap = trap_in_step(lab.choose.randint(1, N_STEPS), lab.choose.uniform(0, lab.seconds / N_STEPS))
        killed = lab.trainer.start(directory, before=trap)
        n_finished += killed.code == 0
        n_restarted += not checkpoints(directory)
        passed.append(lab.is_same(directory, lab.trainer.resume(directory)))
    remark = (
        f"{n_restarted} killed before the first checkpoint, started again; {n_finished} killed after the end"
    )
    return lab.row("SIGKILL at random moments, then resumed: the same result", passed, remark)


def trap_in_saving(kill_at: int, count_into: Path | None = None) -> Callable[[], None]:
    """A trap: the process kills itself at the `kill_at`-th change to the disk while it saves the second,
    third and fourth checkpoint.  If it is writing a file, half of the file remains."""

    def set_trap() -> None:
        state = {"n_saves": 0, "active": False, "n": 0}

        def event(before_kill: Callable[[], None] = lambda: None) -> None:
            if state["active"]:
                state["n"] += 1
                if state["n"] == kill_at:
                    before_kill()
                    os.kill(os.getpid(), signal.SIGKILL)

        def halve(path) -> None:
            os.truncate(path, os.path.getsize(path) // 2)

        def hook(name: str, args: tuple) -> None:
            changes = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.chmod")
            if name in changes or (name == "open" and isinstance(args[2], int) and args[2] & os.O_ACCMODE):
                event()

        def saving(save_checkpoint, *args, **options):
            state["n_saves"] += 1
            state["active"] = 2 <= state["n_saves"] <= 4
            save_checkpoint(*args, **options)
            state["active"] = False
            if count_into:
                count_into.write_text(str(state["n"]))

        def writing(write, target: int, *args, **options):
            write(*args, **options)
            event(lambda: halve(args[target]))

        def flushing(fsync, handle):
            event()
            fsync(handle)
            event()

        sys.addaudithook(hook)
        weights = ner.tensors
        os.fsync = functools.partial(flushing, os.fsync)
        weights.save_file = functools.partial(writing, weights.save_file, 1)
        write_text = Path.write_text
        Path.write_text = lambda *args, **options: writing(write_text, 0, *args, **options)
        ner.training.run.save_checkpoint = functools.partial(saving, ner.training.run.save_checkpoint)

    return set_trap


def killed_in_saving(lab: Lab, n_trials: int | None) -> Trials:
    count = lab.folder / "count"
    counted = lab.new()
    ended = lab.trainer.start(counted, before=trap_in_saving(0, count))
    assert lab.is_same(counted, ended), "the trap changes the run"
    moments = range(1, int(count.read_text()) + 1)
    passed = []
    for moment in moments if n_trials is None else lab.choose.sample(moments, n_trials):
        directory = lab.new()
        killed = lab.trainer.start(directory, before=trap_in_saving(moment))
        try:
            folder, is_last = find_last(directory)
            check_manifest(folder)
        except DataError as error:
            print(f"{directory}: moment {moment}: {error}", file=sys.stderr)
            passed.append(False)
            continue
        is_same = lab.is_same(directory, lab.trainer.resume(directory))
        passed.append(killed.code == -signal.SIGKILL and is_last and is_same)
    remark = f"{len(moments)} writes, flushes, renames and removals of three checkpoints"
    return lab.row(
        "SIGKILL at each write while saving: whole checkpoint, resumed with the same result", passed, remark
    )


def bits_and_truncations(lab: Lab, n_bits: int, n_truncations: int, n_runs: int) -> list[Trials]:
    directory = lab.copy()
    last, choose = (directory / "last").resolve(), lab.choose
    files = sorted(last.iterdir())

    def is_noticed(path: Path, damaged: bytes) -> bool:
        before = path.read_bytes()
        path.write_bytes(damaged)
        try:
            check_manifest(last)
        except DataError:
            return True
        finally:
            path.write_bytes(before)
        return False

    def flipped(path: Path) -> bytes:
        data = bytearray(path.read_bytes())
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        return bytes(data)

    def cut(path: Path) -> bytes:
        return path.read_bytes()[: choose.randrange(path.stat().st_size)]

    noticed = [is_noticed(path, flipped(path)) for path in choose.choices(files, k=n_bits)]
    cuts = [is_noticed(path, cut(path)) for path in choose.choices(files, k=n_truncations)]
    check_manifest(last)
    shutil.rmtree(directory)
    resumed = []
    for path in choose.choices(files, k=n_runs):
        directory = lab.copy()
        damaged = directory / "last" / path.name
        damaged.write_bytes(flipped(damaged))
        ended = lab.trainer.resume(directory)
        reports = [
            line for line in ended.output.splitlines() if "the checkpoint before it takes over" in line
        ]
        resumed.append(lab.is_same(directory, ended) and len(reports) == 1)
    return [
        lab.row("a random bit of a checkpoint flipped: noticed before use", noticed),
        lab.row("a file of a checkpoint truncated: noticed before use", cuts),
        lab.row("the last checkpoint damaged: reported, the one before is used, the same result", resumed),
    ]


def signal_after(step: int, number: int) -> Callable[[], None]:
    """A trap: a signal comes during an optimiser step."""
    return after_step(step, lambda optimizer: os.kill(os.getpid(), number))


def after_step(step: int, act: Callable[[torch.optim.Optimizer], None]) -> Callable[[], None]:
    """A trap: `act` is called when an optimiser step has been taken."""

    def set_trap() -> None:
        update, done = torch.optim.AdamW.step, []

        def counting(optimizer, *args, **options):
            update(optimizer, *args, **options)
            done.append(1)
            if len(done) == step:
                act(optimizer)

        torch.optim.AdamW.step = counting

    return set_trap


def stopped_at_each_step(lab: Lab, steps: Iterable[int]) -> Trials:
    passed = []
    for step in steps:
        directory = lab.new()
        number = (signal.SIGTERM, signal.SIGINT)[step % 2]
        stopped = lab.trainer.start(directory, before=signal_after(step, number))
        saved = (directory / "last").resolve().name == f"step-{step}"
        # pretrain.py has nothing left to do after its last step
        is_done = lab.trainer.module is pretrain and step == N_STEPS
        as_promised = stopped.code == (0 if is_done else 128 + number) and saved
        passed.append(lab.is_same(directory, lab.trainer.resume(directory)) and as_promised)
    return lab.row(
        "SIGTERM or Ctrl-C in each step: saved, exit code 143 or 130, resumed with the same result", passed
    )


def is_refused(lab: Lab, directory: Path, ended: Ended, code: int = 2) -> bool:
    """Whether a run ended with one line and this code, kept its checkpoints, and can be resumed."""
    with contextlib.suppress(DataError):
        _, is_last = find_last(directory)
        if ended.code == code and ended.is_one_line and is_last:
            return lab.is_same(directory, lab.trainer.resume(directory))
    print(f"{directory}: code {ended.code}, expected {code} and one line\n{ended.output}", file=sys.stderr)
    return False


def stop_half_way(lab: Lab) -> Path:
    """The directory of a run that was stopped in the middle."""
    directory = lab.new()
    lab.trainer.start(directory, before=signal_after(N_STEPS // 2, signal.SIGTERM))
    return directory


def full_disks(lab: Lab, n_trials: int) -> list[Trials]:
    """Limits the size of files, so that the system refuses to write more; then mounts a small disk."""
    passed = []
    for _ in range(n_trials):
        directory = stop_half_way(lab)
        sizes = [path.stat().st_size for path in (directory / "last").iterdir()]
        limit = lab.choose.randrange(8192, max(sizes))  # larger than the output of the process
        before = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit))
        passed.append(is_refused(lab, directory, lab.trainer.resume(directory, before=before)))
    lines = [lab.row("no more room in a file: one line, nothing lost", passed)]
    mounted = lab.folder / "disk"
    mounted.mkdir()
    size = 5 * sum(path.stat().st_size for path in (lab.reference / "last").iterdir()) // 2
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(mounted)]
    if os.getuid() or subprocess.run(mount, capture_output=True).returncode:
        return [*lines, lab.row("a full disk", [], "needs root to mount one: left out")]
    try:
        ended = lab.trainer.start(mounted / "run")
        subprocess.run(["mount", "-o", f"remount,size={100 * size}", str(mounted)], check=True)
        passed = ["No space left on device" in ended.output and is_refused(lab, mounted / "run", ended)]
    finally:
        subprocess.run(["umount", str(mounted)], check=True)
    return [*lines, lab.row("a full disk: one line, nothing lost", passed)]


@contextlib.contextmanager
def unwritable(folder: Path) -> Iterator[bool]:
    """Makes a folder read-only; yields whether that worked.  Root needs a read-only mount for it."""
    if os.getuid():
        folder.chmod(0o555)
        try:
            yield True
        finally:
            folder.chmod(0o755)
        return
    mounts = [["mount", "--bind", folder, folder], ["mount", "-o", "remount,bind,ro", folder]]
    done = [subprocess.run(mount, capture_output=True).returncode == 0 for mount in mounts]
    try:
        yield all(done)
    finally:
        if done[0]:
            subprocess.run(["umount", folder], check=True)


def read_only(lab: Lab) -> Trials:
    """Resumes in a read-only directory, then in one whose checkpoints alone are read-only."""
    passed = []
    for name in ("", "checkpoints"):
        directory = stop_half_way(lab)
        with unwritable(directory / name) as is_read_only:
            ended = lab.trainer.resume(directory)
        if is_read_only:
            passed.append(is_refused(lab, directory, ended))
    remark = "" if passed else "root without the right to mount: left out"
    return lab.row("a read-only directory: one line, nothing lost", passed, remark)


def odd_paths(lab: Lab) -> Trials:
    directory = lab.folder / "实验 一 – «ü»" / "my run"
    lab.trainer.start(directory, before=trap_in_step(N_STEPS // 2, 0.0))
    return lab.row(
        "a path with spaces and Chinese: killed and resumed with the same result",
        [lab.is_same(directory, lab.trainer.resume(directory))],
    )


def two_at_once(lab: Lab) -> Trials:
    directory = lab.new()

    def start_second(optimizer) -> None:  # in the first trainer, while it holds the lock
        second = fork(lambda: lab.trainer.run(directory, "--restore_file", "last"))
        (directory.parent / "second.json").write_text(json.dumps(second))

    first = lab.trainer.start(directory, before=after_step(N_STEPS // 2, start_second))
    second = Ended(*json.loads((directory.parent / "second.json").read_text()))
    as_promised = second.code == 2 and second.is_one_line and "is training here" in second.output
    return lab.row(
        "two trainers in one directory: the second gets one line, the first the same result",
        [lab.is_same(directory, first) and as_promised],
    )


def is_finite(directory: Path) -> bool:
    """Whether all checkpoints are whole and all their weights are finite."""
    for path in (directory / "checkpoints").glob("step-*"):
        check_manifest(path)
        if not all(t.isfinite().all() for t in load_file(path / "model.safetensors").values()):
            return False
    return True


def not_finite(lab: Lab, steps: Iterable[int]) -> list[Trials]:
    def poison(optimizer) -> None:
        with torch.no_grad():
            optimizer.param_groups[0]["params"][0].fill_(float("nan"))

    def is_stopped(directory: Path, ended: Ended, *words: str) -> bool:
        passed = ended.code == 1 and ended.is_one_line and is_finite(directory)
        if not passed or not any(word in ended.output for word in words):
            print(f"{directory}: code {ended.code}, expected {words}\n{ended.output}", file=sys.stderr)
            return False
        return True

    injected = []
    for step in steps:
        directory = lab.new()
        ended = lab.trainer.start(directory, before=after_step(step, poison))
        names = (f"step {step + 1})", f"not finite after step {step};", f", step {step})")
        injected.append(is_stopped(directory, ended, *names))
    directory = lab.new()
    ended = lab.trainer.start(directory, "--set", "learning_rate=1e20", "--set", "clip_grad=0")
    too_fast = is_stopped(directory, ended, ", batch ", "not finite after step")
    return [
        lab.row("NaN in the weights: stops, step named, never saved", injected),
        lab.row("a learning rate of 1e20: stops, never saved", [too_fast]),
    ]


def overflowing(lab: Lab) -> Trials:
    """Starts with a scale far too large: one run halves it until it fits, one always overflows."""
    scaler = torch.amp.GradScaler

    def scaled(init_scale: float, **options) -> Callable[[], None]:
        def set_trap() -> None:
            init = scaler.__init__
            scaler.__init__ = lambda self, device, **given: init(
                self, device, **{**given, **options, "init_scale": init_scale}
            )

        return set_trap

    directory = lab.new()
    ended = lab.trainer.start(directory, "--fp16", before=scaled(2.0**32))
    skips = ended.code == 0 and "steps skipped as fp16 overflowed" in ended.output and is_finite(directory)
    directory = lab.new()
    ended = lab.trainer.start(directory, "--fp16", before=scaled(2.0**100, backoff_factor=0.9999))
    bounded = ended.code == 1 and ended.is_one_line and "fp16 overflowed in 2" in ended.output
    return lab.row("fp16 overflow: skipped and counted; 20 in a row stop the run", [skips, bounded])


def build_trainers(folder: Path) -> list[Trainer]:
    """Prepares both programs on a few lines of the sample."""
    blocks = SAMPLE.read_text(encoding="utf-8").split("\n\n")
    short = [block for block in blocks if 12 < block.count("\n") < 30][:N_SENTENCES]
    (folder / "few.bio").write_text("\n\n".join(short) + "\n\n", encoding="utf-8")
    text = "".join("".join(line.split()[0] for line in block.split("\n")) + "\n" for block in short)
    (folder / "few.txt").write_text(text, encoding="utf-8")
    argv = ["--train", folder / "few.bio", "--out_dir", folder / "data", "--val_size", 8]
    built = fork(lambda: program.run(build_dataset.main, build_dataset.parse_args, list(map(str, argv))))
    assert built.code == 0, built.output
    tagging = {"encoder": {"name": "bert", **BERT}, "max_len": 32, "batch_size": 2, "epoch_num": 3}
    tagging |= {"unfreeze_every": 1, "ema": 0.9}
    guessing = {"encoder": BERT, "block_len": 32, "batch_tokens": 64, "max_steps": N_STEPS, "eval_steps": 2}
    return [
        Trainer(train, ("--data_dir", str(folder / "data")), "--model_dir", COMMON | tagging),
        Trainer(pretrain, ("--text", str(folder / "few.txt")), "--out_dir", COMMON | guessing),
    ]


def training_trials(folder: Path, trainer: Trainer, quick: bool) -> Iterator[Trials]:
    """`quick` runs fewer trials.  For pretrain.py it leaves out code that both trainers share."""
    lab, is_brief = Lab(folder, trainer, random.Random(0)), quick and trainer.module is pretrain
    yield killed_at_random(lab, 2 if quick else 100)
    if not is_brief:
        yield killed_in_saving(lab, 2 if quick else None)
        yield from bits_and_truncations(lab, *((50, 10, 1) if quick else (1000, 100, 10)))
    yield stopped_at_each_step(lab, (10, 17) if quick else range(1, N_STEPS + 1))
    if not is_brief:
        yield from full_disks(lab, 1 if quick else 20)
        yield read_only(lab)
        yield odd_paths(lab)
        yield two_at_once(lab)
    yield from not_finite(lab, (3,) if quick else range(1, 13))
    yield overflowing(lab)


def data_trials(folder: Path, quick: bool) -> Iterator[Trials]:
    yield from itertools.starmap(Trials, malformed.trials(folder, fork))
    yield Trials(
        "random sentences through every reader and writer: text and offsets exact",
        *random_data.sentences(folder, 100 if quick else 5000),
    )
    yield Trials(
        "random and damaged bytes into every reader: read, or refused in one line",
        *random_data.readers(folder, 20 if quick else 2000),
    )


def model_trials(folder: Path, quick: bool) -> Iterator[Trials]:
    yield from itertools.starmap(Trials, hostile.trials(folder, random.Random(0), fork, quick))


GROUPS = ("train", "pretrain", "data", "models")


def all_trials(folder: Path, groups: Sequence[str], quick: bool) -> Iterator[Trials]:
    if {"train", "pretrain"} & set(groups):
        for trainer in build_trainers(folder):
            if trainer.module.__name__ in groups:
                yield from training_trials(folder, trainer, quick)
    if "data" in groups:
        yield from data_trials(folder, quick)
    if "models" in groups:
        yield from model_trials(folder, quick)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="run a few trials of each kind")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="groups of trials to run")
    args = parser.parse_args()
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that the temporary folder is removed
    print("| fault | passed | of | |\n|---|---|---|---|", flush=True)
    all_passed = True
    with tempfile.TemporaryDirectory() as folder:
        for trials in all_trials(Path(folder), args.only, args.quick):
            print(f"| {trials.fault} | {trials.n_passed} | {trials.n_trials} | {trials.remark} |", flush=True)
            all_passed &= trials.n_passed == trials.n_trials
    return 0 if all_passed else 1
