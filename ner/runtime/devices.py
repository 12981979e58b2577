"""Device, threads, precision and random numbers, and the command-line options that choose them."""

import argparse
import contextlib
import os
import platform
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ner.errors import DataError

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Machine:
    """What the device options of a program choose."""

    device: torch.device
    precision: str
    "a key of PRECISIONS"
    batch_tokens: int
    "pieces a batch in evaluation and prediction, padding included"


def choose_machine(args: argparse.Namespace) -> Machine:
    """Reads the options of `add_device_arguments` and `add_batch_tokens`, and sets torch's threads."""
    if args.threads is not None:
        if args.threads < 1:
            raise DataError(f"--threads {args.threads}: expected 1 or more")
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    precision = "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32"
    return Machine(device, precision, choose_batch_tokens(getattr(args, "batch_tokens", None), device))


def pick_device(name: str | None = None) -> torch.device:
    """The named device, or else CUDA if available, or the CPU; DataError if torch cannot use it."""
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise DataError(f"--device {name}: not available, {str(error).splitlines()[0]}") from None
    return device


def bound_kernels() -> None:
    """Limits the caches that oneDNN and torch keep for each shape of a matrix product, on a CPU.

    Must be called before the first product.  The last batch of every chunk of texts has a new shape, and the
    default caches of 1,024 kernels and 1,024 descriptions take several hundred megabytes.  The shapes that
    recur need about 200 kernels, and a description is cheap to build again.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "240")
    os.environ.setdefault("LRU_CACHE_CAPACITY", "64")


def add_batch_tokens(parser: argparse.ArgumentParser) -> None:
    help_line = "pieces a batch (default: 2048 on a CPU, 8192 on a GPU)"
    parser.add_argument("--batch_tokens", type=int, help=help_line)


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of every program that runs a model: device, threads, precision."""
    parser.add_argument("--device", help="cuda, cuda:1, cpu ... (default: a GPU if there is one)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--bf16", action="store_true", help="autocast to bfloat16 (CPU or GPU)")
    fp16 = "autocast to float16, with loss scaling in training"
    group.add_argument("--fp16", action="store_true", help=fp16)


def choose_batch_tokens(asked: int | None, device: torch.device) -> int:
    """The value of --batch_tokens; None: what a CPU's caches hold or a GPU needs.  DataError below 1."""
    if asked is None:
        return 2048 if device.type == "cpu" else 8192
    if asked < 1:
        raise DataError(f"--batch_tokens {asked}: expected 1 or more")
    return asked


def autocast(device_type: str, precision: str):
    """The autocast context for the encoder and the head's matrix products; does nothing in fp32."""
    dtype = PRECISIONS[precision]
    return torch.autocast(device_type, dtype=dtype) if dtype else contextlib.nullcontext()


def casts_kept(device_type: str):
    """A context in which `autocast` casts each weight once, not once a batch."""
    return torch.autocast(device_type, enabled=False)


def environment() -> dict[str, str]:
    """Versions and hardware that a reader of results needs to know, by name."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "processor": _processor(),
        "threads": str(torch.get_num_threads()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> float:
    """Peak memory so far in megabytes: of the tensors on a GPU, of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def check_seed(seed: int) -> None:
    """DataError if the seed is out of torch's range."""
    if not 0 <= seed < 2**63:
        raise DataError(f"--seed {seed}: expected 0 to {2**63 - 1}")


def set_seed(seed: int) -> None:
    """Seeds torch on every device.  `Batches` has its own seed for the order of the data."""
    check_seed(seed)
    torch.manual_seed(seed)


def random_state() -> dict[str, torch.Tensor]:
    """Returns torch's random states, uint8 tensors by name.  Training uses no other random numbers."""
    of_gpus = {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return {"cpu": torch.get_rng_state(), **of_gpus}


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """Restores the states of `random_state`; ignores states of GPUs that this machine does not have."""
    torch.set_rng_state(state["cpu"])
    for i in range(torch.cuda.device_count()):
        if f"cuda{i}" in state:
            torch.cuda.set_rng_state(state[f"cuda{i}"], i)
