"""Devices: what the options choose, the caches that are bounded on a CPU, seeds and random states."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ner.errors import DataError
from ner.runtime import devices
from ner.runtime.devices import check_seed, random_state, set_random_state, set_seed

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def same_threads():
    """Restores torch's number of threads."""
    n_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(n_threads)


def choose(*argv, batch_tokens=True) -> devices.Machine:
    parser = argparse.ArgumentParser()
    devices.add_device_arguments(parser)
    if batch_tokens:
        devices.add_batch_tokens(parser)
    args = parser.parse_args(argv)
    before = dict(vars(args))
    machine = devices.choose_machine(args)
    assert vars(args) == before
    return machine


def test_the_options_choose_the_machine():
    cpu = torch.device("cpu")
    assert choose("--device", "cpu") == devices.Machine(cpu, "fp32", 2048)
    assert choose("--device", "cpu", batch_tokens=False) == devices.Machine(cpu, "fp32", 2048)
    options = ["--device", "cpu", "--bf16", "--batch_tokens", "7", "--threads", "1"]
    assert choose(*options) == devices.Machine(cpu, "bf16", 7)
    assert torch.get_num_threads() == 1
    assert choose("--device", "cpu", "--fp16").precision == "fp16"
    assert devices.choose_batch_tokens(None, torch.device("cuda")) == 8192


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--threads", "0"], "--threads 0: expected 1 or more"),
        (["--device", "cpu", "--batch_tokens", "0"], "--batch_tokens 0: expected 1 or more"),
        (["--device", "abacus"], "--device abacus: not available, "),
    ],
)
def test_wrong_options_are_refused(argv, message):
    with pytest.raises(DataError) as error:
        choose(*argv)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("precision", "dtype"), list(devices.PRECISIONS.items()))
def test_autocast_runs_products_in_the_precision(precision, dtype):
    with devices.autocast("cpu", precision):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (dtype or torch.float32)


MANY_SHAPES = """
import sys, torch
from ner.runtime import devices
if sys.argv[1] == "bounded":
    devices.bound_kernels()
torch.set_num_threads(1)
weight = torch.randn(64, 64, dtype=torch.bfloat16)
used = lambda: int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]) // 1024
with torch.no_grad():
    for rows in range(1, 1501):
        torch.nn.functional.linear(torch.ones(rows, 64, dtype=torch.bfloat16), weight)
        if rows == 1:
            before = used()
print(used() - before)
"""


@pytest.mark.slow
def test_the_caches_for_shapes_are_bounded():
    def megabytes(how):
        command = [sys.executable, "-c", MANY_SHAPES, how]
        environment = {k: v for k, v in os.environ.items() if not k.endswith("CACHE_CAPACITY")}
        ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=True)
        return int(ended.stdout)

    left = megabytes("unbounded")
    if left < 100:
        pytest.skip(f"only {left} MB are kept for 1,500 shapes: this machine does not use oneDNN's kernels")
    assert megabytes("bounded") < 0.6 * left


@pytest.fixture(autouse=True)
def same_random_state():
    """Leaves torch's random numbers as they were."""
    state = random_state()
    yield
    set_random_state(state)


def test_a_seed_repeats_the_random_numbers():
    set_seed(3)
    first = torch.rand(4)
    assert not torch.equal(torch.rand(4), first)
    set_seed(3)
    assert torch.equal(torch.rand(4), first)


def test_a_state_repeats_the_random_numbers_and_ignores_missing_gpus():
    state = random_state() | {"cuda99": torch.zeros(16, dtype=torch.uint8)}
    first = torch.rand(4)
    set_random_state(state)
    assert torch.equal(torch.rand(4), first)
    assert all(tensor.dtype == torch.uint8 for tensor in state.values())


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(DataError, match=f"--seed {seed}: expected 0 to {2**63 - 1}"):
        check_seed(seed)
    check_seed(2**63 - 1)
