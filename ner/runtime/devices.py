"""Devices, threads, precision and the options that choose them."""

import argparse
import contextlib
import os
import platform
import resource
import sys
from pathlib import Path

import numpy as np
import torch

from ner.errors import DataError

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


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
