"""Several processes that train one model, as torchrun starts them; one alone has no need to know of it.

Each process runs the same program over its share of the batches.  What they tell each other besides gradients
goes through the CPU: sums of a few numbers a step, and Python objects where a process waits for the others.
The first process alone writes files, holds the lock of a directory, and speaks.
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
PATIENCE = timedelta(hours=12)  # the first may ask a teacher for long; that a process died is seen at once


@contextlib.contextmanager
def group() -> Iterator[None]:
    """In it the processes that torchrun started know each other; nothing without torchrun, or inside another.

    A GPU's gradients go through nccl, all else through gloo.  All but the first are silent from then on.
    """
    if not dist.is_torchelastic_launched() or dist.is_initialized():
        yield
        return
    has_gpu = torch.cuda.is_available()
    if has_gpu and dist.get_node_local_rank() < torch.cuda.device_count():  # too many: `own_device`
        torch.cuda.set_device(dist.get_node_local_rank())
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpu else "gloo", timeout=PATIENCE)
    log.disabled = not is_first()
    try:
        yield
    except (DataError, SystemExit):
        if not has_gpu:  # gloo's threads, left to themselves, now and then abort a process that ends with 2
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()  # not after other errors: some may be waiting, whom its end alone would free


def world_size() -> int:
    """Processes in all, 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this one, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    return rank() == 0


def in_words() -> str:
    """How many processes there are, for the end of a line; empty for one."""
    return f" in each of {world_size()} processes" if world_size() > 1 else ""


def expect_one(what: str) -> None:
    """DataError where torchrun has started the program."""
    if dist.is_torchelastic_launched():
        raise DataError(f"{what}: got torchrun, expected one process")


def own_device(device: torch.device) -> torch.device:
    """Of the GPUs of its node the one with the process's number there; the CPU is shared.

    DataError where there are too few, or one is named.
    """
    if world_size() == 1 or device.type != "cuda":
        return device
    number, n_gpus = dist.get_node_local_rank(), torch.cuda.device_count()
    if device.index is not None:
        raise DataError(f"--device {device}: got one GPU for {world_size()} processes, expected cuda")
    if number >= n_gpus:
        raise DataError(f"process {number + 1} of a node with {n_gpus} GPUs, expected one a process")
    return torch.device("cuda", number)


def share(model: nn.Module, *, some_unused: bool) -> nn.Module:
    """The model as one of several whose gradients are averaged, with the first one's weights; alone, itself.

    `some_unused`: not every parameter that may learn takes part in every step.
    """
    if world_size() == 1:
        return model
    return DistributedDataParallel(model, forward_sync_buffers=False, find_unused_parameters=some_unused)


def accumulate(model: nn.Module, batches: Sequence[T]) -> Iterator[T]:
    """The batches of one step, each to be differentiated before the next.

    Until the last one a shared model's gradients stay in their processes, then their sums are averaged.
    """
    apart = getattr(model, "no_sync", contextlib.nullcontext)
    for batch in batches[:-1]:
        with apart():
            yield batch
    yield batches[-1]


def seed_others(seed: int, step: int) -> None:
    """Gives all processes but the first random numbers of their own: other dropout for other batches."""
    if not is_first():
        torch.manual_seed(int(np.random.default_rng((seed, step, rank())).integers(1 << 62)))


def total(values: Sequence[float]) -> list[float]:
    """The sums over all processes, the same in each."""
    return _reduced(values, dist.ReduceOp.SUM)


def largest(values: Sequence[float]) -> list[float]:
    """The largest of all processes, the same in each."""
    return _reduced(values, dist.ReduceOp.MAX)


def _reduced(values: Sequence[float], how: dist.ReduceOp) -> list[float]:
    if world_size() == 1:
        return list(values)
    numbers = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(numbers, how)
    return numbers.tolist()


def gather(value: Any) -> list:
    """What each process gives, in their order.  SystemExit where another is in `synchronised` and failed."""
    if world_size() == 1:
        return [value]
    failed, values = _exchange(0, value)
    if any(failed):
        raise SystemExit(max(failed))
    return values


def barrier() -> None:
    """Waits until all are here, as `gather`."""
    gather(None)


def from_first(make: Callable[[], T]) -> T:
    """What the first process makes, in all of them, as `gather`."""
    return gather(make() if is_first() else None)[0]


def first_then_others(make: Callable[[], T]) -> T:
    """What each process makes, the others once the first is done and its files stand, as `gather`."""
    if not is_first():
        barrier()
    made = make()
    if is_first():
        barrier()
    return made


@contextlib.contextmanager
def synchronised() -> Iterator[None]:
    """Who leaves it waits for the others; where any of them fails in it, all end.

    The first of those that failed raises its error, the others SystemExit with an exit code like its own.
    """
    try:
        yield
    except Exception as error:
        if world_size() > 1:
            _fail(error)
        raise
    barrier()


def _fail(error: Exception) -> None:
    """Returns in the process that is to say what happened."""
    code = 2 if isinstance(error, DataError | OSError) else 1
    failed, _ = _exchange(code, None)
    if rank() != next(number for number, one in enumerate(failed) if one):
        raise SystemExit(code)


def _exchange(code: int, value: Any) -> tuple[list[int], list]:
    """Exit codes of those that failed, 0 of the others; what each gave."""
    given: list = [None] * world_size()
    dist.all_gather_object(given, (code, value))
    codes, values = zip(*given, strict=True)
    return list(codes), list(values)
