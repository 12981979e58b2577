"""Training in several processes under torchrun.  In a single process every function here does nothing.

Besides gradients, processes exchange only sums of a few numbers a step and Python objects at a barrier, both
through the CPU.  Only the first process writes files, locks a directory, and logs.

A collective function waits until every process calls it.  So all processes must call it, in the same order,
and never inside `if is_first()`.  The functions whose docstring says so are collective, and so are `wrap`,
its gradients and the end of `synchronised`.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ner.errors import DataError
from ner.runtime.logs import log

T = TypeVar("T")
# long, since the others wait while the first process asks a teacher; a process that died is noticed at once
TIMEOUT = timedelta(hours=12)


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Connects the processes that torchrun started.  Does nothing without torchrun or inside another group.

    GPU gradients go through nccl, everything else through gloo.  All processes but the first stop logging.
    """
    if not dist.is_torchelastic_launched() or dist.is_initialized():
        yield
        return
    has_gpu = torch.cuda.is_available()
    if has_gpu and dist.get_node_local_rank() < torch.cuda.device_count():  # else `local_device` refuses
        torch.cuda.set_device(dist.get_node_local_rank())
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo", timeout=TIMEOUT)
    log.disabled = not is_first()
    try:
        yield
    except (DataError, SystemExit):
        if not has_gpu:  # otherwise gloo's threads sometimes abort a process that exits with 2
            dist.destroy_process_group()
        raise
    # not after other errors: only the end of this process releases those blocked in a collective function
    dist.destroy_process_group()


def world_size() -> int:
    """Number of processes, 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """True in the process of rank 0, and without torchrun."""
    return rank() == 0


def describe_processes() -> str:
    """The number of processes, as the end of a log line; empty for one process."""
    return f" in each of {world_size()} processes" if world_size() > 1 else ""


def refuse_torchrun(what: str) -> None:
    """DataError if torchrun started the program."""
    if dist.is_torchelastic_launched():
        raise DataError(f"{what}: got torchrun, expected one process")


def local_device(device: torch.device) -> torch.device:
    """Returns the GPU whose number is the process's rank on its node; DataError if there is none for it."""
    if world_size() == 1 or device.type != "cuda":
        return device
    number, n_gpus = dist.get_node_local_rank(), torch.cuda.device_count()
    if device.index is not None:
        raise DataError(f"--device {device}: got one GPU for {world_size()} processes, expected cuda")
    if number >= n_gpus:
        raise DataError(f"process {number + 1} of a node with {n_gpus} GPUs, expected one a process")
    return torch.device("cuda", number)


def wrap(model: nn.Module, *, some_unused: bool) -> nn.Module:
    """Returns the model with the first process's weights and averaged gradients; in one process, itself.

    `some_unused`: True if some trainable parameters take no part in some steps.
    """
    if world_size() == 1:
        return model
    return DistributedDataParallel(model, forward_sync_buffers=False, find_unused_parameters=some_unused)


def accumulate(model: nn.Module, batches: Sequence[T]) -> Iterator[T]:
    """Yields the batches of one step.  The caller calls backward on each before it takes the next.

    Gradients stay in their process until the last batch.  Then their sums are averaged over the processes.
    """
    no_sync = getattr(model, "no_sync", contextlib.nullcontext)
    for batch in batches[:-1]:
        with no_sync():
            yield batch
    yield batches[-1]


def seed_others(seed: int, step: int) -> None:
    """Reseeds all processes but the first, so that each draws its own dropout for its own batches."""
    if not is_first():
        torch.manual_seed(int(np.random.default_rng((seed, step, rank())).integers(1 << 62)))


def all_sum(values: Sequence[float]) -> list[float]:
    """Sums each value over all processes, in float64.  Collective."""
    return _all_reduce(values, dist.ReduceOp.SUM)


def all_max(values: Sequence[float]) -> list[float]:
    """The maximum of each value over all processes.  Collective."""
    return _all_reduce(values, dist.ReduceOp.MAX)


def _all_reduce(values: Sequence[float], operation: dist.ReduceOp) -> list[float]:
    if world_size() == 1:
        return list(values)
    numbers = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(numbers, operation)
    return numbers.tolist()


def all_gather(value: Any) -> list:
    """The values of all processes, by rank; SystemExit if one failed in `synchronised`.  Collective."""
    if world_size() == 1:
        return [value]
    exit_codes, values = _exchange(0, value)
    if any(exit_codes):
        raise SystemExit(max(exit_codes))
    return values


def barrier() -> None:
    """Waits until all processes are here, as `all_gather`.  Collective."""
    all_gather(None)


def from_first(make: Callable[[], T]) -> T:
    """Calls `make` in the first process and returns its result in all.  Collective, as `all_gather`."""
    return all_gather(make() if is_first() else None)[0]


def first_then_others(make: Callable[[], T]) -> T:
    """Calls `make` in the first process, then in the others; each gets its own result.  Collective."""
    if not is_first():
        barrier()
    made = make()
    if is_first():
        barrier()
    return made


@contextlib.contextmanager
def synchronised() -> Iterator[None]:
    """A barrier at the end of the block.  If a process fails inside, all exit.

    The first one that failed raises its error, the others SystemExit.
    """
    try:
        yield
    except Exception as error:
        if world_size() > 1:
            code = 2 if isinstance(error, DataError | OSError) else 1
            exit_codes, _ = _exchange(code, None)
            if any(exit_codes[: rank()]):  # a process before this one reports its error
                raise SystemExit(code) from None
        raise
    barrier()


def _exchange(code: int, value: Any) -> tuple[list[int], list]:
    """Exit codes (0: did not fail) and values of all processes, by rank."""
    received: list = [None] * world_size()
    dist.all_gather_object(received, (code, value))
    return [code for code, _ in received], [value for _, value in received]
