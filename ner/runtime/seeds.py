"""Seeds and random states of torch."""

import torch

from ner.errors import DataError


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
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state |= {f"cuda{i}": s for i, s in enumerate(torch.cuda.get_rng_state_all())}
    return state


def set_random_state(state: dict[str, torch.Tensor]) -> None:
    """Restores the states of `random_state`; ignores states of GPUs that this machine does not have."""
    torch.set_rng_state(state["cpu"])
    for i in range(torch.cuda.device_count()):
        if f"cuda{i}" in state:
            torch.cuda.set_rng_state(state[f"cuda{i}"], i)
