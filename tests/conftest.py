"""Fixtures that several test files share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from ner.runtime.program import run


class Ended(NamedTuple):
    """How a program ended: its exit code, and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def ner_data() -> Path:
    """The folder with `msra/`, `conll2003/`, ...; tests that want it skip where NER_DATA is unset."""
    folder = os.environ.get("NER_DATA")
    if not folder:
        pytest.skip("NER_DATA is not set: no real data")
    return Path(folder)


@pytest.fixture
def float64(monkeypatch):
    """Computes in float64: two orders of the same sum then agree far below the bound of any test.

    In float32 the bound would hold on the machine that it was measured on.  The heads turn their scores into
    float32 by `Tensor.float`, which therefore is `Tensor.double` here.
    """
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def run_main(capsys) -> Callable[..., Ended]:
    """`run_main(module, "--option", value, ...)`: a program's end without a process of its own."""

    def start(module, *argv) -> Ended:
        capsys.readouterr()
        code = run(module.main, module.parse_args, [str(item) for item in argv])
        return Ended(code, *capsys.readouterr())

    return start


@pytest.fixture(scope="session")
def snapshot() -> Callable[[Path], dict[str, bytes | None]]:
    """`snapshot(folder)`: every file below the folder with its bytes, every folder with None."""

    def take(folder: Path) -> dict[str, bytes | None]:
        return {
            str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
            for path in sorted(folder.rglob("*"))
        }

    return take
