"""The machine: seeds, devices, precision, logging, and how a program ends.

The only file that reads the environment.
"""

import argparse
import contextlib
import hashlib
import io
import logging
import os
import platform
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ner.corpus import DataError

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

log = logging.getLogger("ner")


class TrainingError(RuntimeError):
    """Training cannot go on.  One line that says where and why."""


class Stopped(Exception):
    """A signal asked for the end of a run, and what it had done is saved.  One line that says so."""

    def __init__(self, number: int, where: str):
        super().__init__(f"stopped by {signal.Signals(number).name}, {where}; --restore_file last goes on")
        self.number = number


class StopRequest:
    """Notes the first Ctrl-C or SIGTERM inside `with`, so that the step under way can be finished and saved.

    The second one stops at once.  `number` is 0 until there was one.
    """

    def __init__(self):
        self.number = 0
        self._before: dict = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():  # no other may set handlers
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exception) -> None:
        while self._before:
            signal.signal(*self._before.popitem())

    def _note(self, number: int, frame) -> None:
        self.number = number
        self.__exit__()
        with contextlib.suppress(OSError):  # written as it is: the signal may have come inside print
            os.write(2, b"\nstopping after this step; once more stops at once\n")


def run(main: Callable, parse_args: Callable, argv: Sequence[str] | None = None) -> int:
    """Runs a program: 0 when it ends well; after one line on standard error 2 for a user's error, a file
    that cannot be read or written included, 1 for training that cannot go on, 128 + its number for a
    signal that stopped a run.  Memory that ran out is of the second kind."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that lacks a character shows its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return _run(main, parse_args, argv)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    finally:
        stop_log()


def _run(main: Callable, parse_args: Callable, argv: Sequence[str] | None) -> int:
    try:
        main(parse_args(argv))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except TrainingError as error:
        log.error(f"error: {error}")
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        log.error(f"error: out of memory: {str(error).partition(chr(10))[0]}")
        return 1
    except Stopped as stopped:
        log.info(str(stopped))
        return 128 + stopped.number
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory ran out; of the machine's own torch says so in words alone."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def check_seed(seed: int) -> None:
    """DataError where torch has no such seed."""
    if not 0 <= seed < 2**63:
        raise DataError(f"--seed {seed}: expected 0 to {2**63 - 1}")


def set_seed(seed: int) -> None:
    """Seeds torch on every device; the order of data has a seed of its own in `DataLoader`."""
    check_seed(seed)
    torch.manual_seed(seed)


def pick_device(name: str | None = None) -> torch.device:
    """The device named, or CUDA where there is one (CUDA_VISIBLE_DEVICES says which), or the CPU."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"--device {name}: not to be had, {str(error).splitlines()[0]}") from None
    return device


def bound_kernels() -> None:
    """Bounds what is kept of products by their shapes, for prediction on a CPU; before the first product.

    The last batch of every chunk of texts has a shape of its own.  Left alone, oneDNN keeps 1,024 compiled
    kernels and torch 1,024 descriptions of products, several hundred megabytes; the shapes that come again
    need some 200 kernels, and descriptions are made in no time.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "240")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "64")


def add_batch_tokens(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch_tokens", type=int, help="pieces a batch (default: 2048 on a CPU, 8192 on a GPU)"
    )


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """The options by which every program that runs a model says where and in which precision."""
    parser.add_argument("--device", help="cuda, cuda:1, cpu ... (default: a GPU where there is one)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--bf16", action="store_true", help="autocast to bfloat16 (CPU or GPU)")
    group.add_argument(
        "--fp16", action="store_true", help="autocast to float16, with loss scaling in training"
    )


def device_and_precision(args: argparse.Namespace) -> tuple[torch.device, str]:
    """What the device arguments ask for; a `batch_tokens` that was not given gets its value."""
    if args.threads is not None:
        if args.threads < 1:
            raise DataError(f"--threads {args.threads}: expected 1 or more")
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    settle_batch_tokens(args, device)
    return device, "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"


def settle_batch_tokens(args: argparse.Namespace, device: torch.device) -> None:
    """Gives a `batch_tokens` that the program has and nobody gave its value; DataError below 1."""
    if "batch_tokens" not in args:
        return
    if args.batch_tokens is None:
        args.batch_tokens = default_batch_tokens(device)
    if args.batch_tokens < 1:
        raise DataError(f"--batch_tokens {args.batch_tokens}: expected 1 or more")


def autocast(device_type: str, precision: str):
    """The context in which the encoder and the head's matrices run."""
    dtype = PRECISIONS[precision]
    if dtype is None:
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=dtype)


def casts_kept(device_type: str):
    """Inside, what `autocast` makes of a weight is kept from batch to batch."""
    return torch.autocast(device_type, enabled=False)


def default_batch_tokens(device: torch.device) -> int:
    """Pieces a batch without a gradient: as many as a CPU's caches hold, or enough to fill a GPU."""
    return 2048 if device.type == "cpu" else 8192


def random_state() -> dict[str, torch.Tensor]:
    """torch's random states, uint8 tensors by name; nothing else is random in training."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state |= {f"cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return state


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """Restores what `random_state` gave; states of GPUs that are not here are left out."""
    torch.set_rng_state(state["cpu"])
    for i in range(torch.cuda.device_count()):
        if f"cuda{i}" in state:
            torch.cuda.set_rng_state(state[f"cuda{i}"], i)


def environment() -> dict[str, str]:
    """What a reader of results wants to know of the machine."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
        "gpu": gpu,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> float:
    """Megabytes at most so far: on a GPU of its tensors, on a CPU of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def sha256(path: str | Path) -> str:
    """Hex digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_tensors(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex digest of names, shapes and numbers."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().cpu().numpy())
    return digest.hexdigest()


def binary(path: Path, mode: str, **text_options):
    """An opener of `whole_file` for bytes."""
    return open(path, mode.replace("t", "b"))


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError in it bears the file's name: the system names none where writing fails (a full disk)."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def whole_file(path: Path, opener=open):
    """A text file that appears under its name only when it is whole; a device or a pipe is written to.

    `opener` is one that compresses, gzip.open or lzma.open, or `binary`.
    """
    if path.exists() and not path.is_file():
        with path.open("w", encoding="utf-8", newline="\n") as file:
            yield file
        return
    draft = path.with_name(f"{path.name}.unfinished")
    if not path.parent.is_dir():
        raise DataError(f"{path}: no such directory, expected {path.parent} to be there")
    try:
        with opener(draft, "wt", encoding="utf-8", newline="\n") as file:
            yield file
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


class LogFile(logging.FileHandler):
    """A line that cannot be written is an error like any other, not a traceback among the messages."""

    def handleError(self, record: logging.LogRecord) -> None:
        with naming(Path(self.baseFilename)):
            raise


def start_log(path: Path | None = None) -> logging.Logger:
    """Messages go to standard error as they are, and with the time to the end of the file."""
    log.setLevel(logging.INFO)
    log.propagate = False
    stop_log()
    console = logging.StreamHandler(sys.stderr)
    console.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(console)
    if path is not None:
        file = LogFile(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(file)
    return log


def stop_log() -> None:
    """Closes what `start_log` opened."""
    for handler in list(log.handlers):
        log.removeHandler(handler)
        with contextlib.suppress(OSError):  # every line was flushed, or its error told
            handler.close()
