"""Measures time and memory: arms interleaved in one run, medians, and the machine's limit.

An arm is a function that does its whole work once.  It returns the seconds and its result, so that the same
call is timed and checked.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Arm = Callable[[], tuple[float, Any]]
CEILING_SECONDS = 0.5  # duration of one pass of `ceiling`


@dataclass
class Measured:
    """The measurements of one arm."""

    result: Any
    "result of the first pass"
    first: float
    "seconds of the first pass, which is not counted because shapes are new and code is compiled"
    seconds: list[float] = field(default_factory=list)
    "seconds of each counted pass"

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def clock() -> float:
    """Seconds on a clock, after all work on the GPU is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(work: Callable[[], Any]) -> Arm:
    """Makes an arm of `work`, timed as a whole."""

    def arm() -> tuple[float, Any]:
        start = clock()
        result = work()
        return clock() - start, result

    return arm


def interleave(arms: Mapping[str, Arm], *, rounds: int) -> dict[str, Measured]:
    """Runs every arm once uncounted, then all of them `rounds` times, each round in reverse order."""
    measured = {}
    for name, arm in arms.items():
        seconds, result = arm()
        measured[name] = Measured(result, seconds)
        show(f"first pass  {name}: {seconds:.2f} s")
    for number in range(rounds):
        for name in arms if number % 2 else reversed(arms):
            seconds, _ = arms[name]()
            measured[name].seconds.append(seconds)
            show(f"round {number + 1} of {rounds}  {name}: {seconds:.2f} s")
    return measured


def show(line: str) -> None:
    """Prints progress."""
    print(line, file=sys.stderr, flush=True)


def ceiling(sizes: Mapping[str, int], n_cells: int, device: torch.device) -> Arm:
    """Makes an arm that repeats only the bf16 weight products of one layer; its result is FLOP/s.

    For `n_cells` pieces: four products of H x H, one of H x F, one of F x H (F is the width of the
    feed-forward part).
    """
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    shapes = [(width, width)] * 4 + [(width, inner), (inner, width)]
    weights = [torch.randn(n, m, device=device, dtype=torch.bfloat16) for m, n in shapes]
    inputs = {m: torch.randn(n_cells, m, device=device, dtype=torch.bfloat16) for m in (width, inner)}
    flop = sum(2 * n_cells * m * n for m, n in shapes)

    @torch.inference_mode()
    def arm() -> tuple[float, float]:
        start, n_passes = clock(), 0
        while clock() - start < CEILING_SECONDS:
            for weight in weights:
                F.linear(inputs[weight.shape[1]], weight)
            n_passes += 1
        seconds = (clock() - start) / n_passes
        return seconds, flop / seconds

    arm.flop = flop
    return arm


def forward_flop(sizes: Mapping[str, int], shapes: Iterable[tuple[int, int]]) -> float:
    """FLOP of the matrix products of a forward pass over batches (rows, pieces), with padding and specials.

    A backward pass costs twice as many.
    """
    width, inner, n_layers = (sizes[k] for k in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    a_piece = 8 * width**2 + 4 * width * inner
    return float(sum(n_layers * rows * n * (a_piece + 4 * n * width) for rows, n in shapes))


def evenly_spaced(items: Sequence, cost: Callable[[Any], float], n: int) -> list:
    """Chooses `n` items, evenly spaced in the order of their cost, as a sample of the cost of all."""
    ordered = sorted(items, key=cost)
    n = min(n, len(ordered))
    return [ordered[i] for i in ((np.arange(n) + 0.5) * len(ordered) / n).astype(int)] if n else []


def in_process(module: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Runs `python -m module --worker VALUES` and returns the JSON that it prints.

    Its own process has its own memory.  RuntimeError with its standard error if it fails.
    """
    command = [sys.executable, "-m", module, "--worker", json.dumps(values)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    if ended.returncode:
        raise RuntimeError(f"{module} {values}: exit code {ended.returncode}\n{ended.stderr}")
    return json.loads(ended.stdout.splitlines()[-1])


def add_worker(parser: argparse.ArgumentParser) -> None:
    """Adds the option by which `in_process` starts a benchmark again."""
    parser.add_argument("--worker", type=json.loads, help=argparse.SUPPRESS)


def did_work(args: argparse.Namespace, work: Callable[[argparse.Namespace], Mapping[str, Any]]) -> bool:
    """True if `in_process` started this process; then prints the result of `work` for it."""
    if args.worker:
        print(json.dumps(work(argparse.Namespace(**args.worker))))
    return bool(args.worker)


def peak_memory() -> int:
    """Peak memory of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would include the parent's memory before this program was loaded
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
