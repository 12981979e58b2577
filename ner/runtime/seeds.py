"""Seeds and random states."""

import torch

from ner.errors import DataError


def check_seed(seed: int) -> None:
    """DataError where torch has no such seed."""
    if not 0 <= seed < 2**63:
        raise DataError(f"--seed {seed}: expected 0 to {2**63 - 1}")


def set_seed(seed: int) -> None:
    """Seeds torch on every device; the order of data has a seed of its own in `Batches`."""
    check_seed(seed)
    torch.manual_seed(seed)


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
