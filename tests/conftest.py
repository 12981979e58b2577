"""Fixtures that several test files share."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

import train
from ner.data.folder import read_split
from ner.runtime.logs import log
from ner.runtime.program import run
from tests.experiments import build_short, make_experiment, run_program


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
def messages():
    """The texts of all that is logged during the test, as a list that grows."""
    texts, handler = [], logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())
    log.addHandler(handler)
    level = log.level
    log.setLevel(logging.INFO)
    yield texts
    log.setLevel(level)
    log.removeHandler(handler)


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


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """Sixty short sentences of the sample: forty to train on, ten each for val and test."""
    folder = tmp_path_factory.mktemp("data")
    build_short(folder, 60, 36, "--val_size", 10, "--test_size", 10)
    assert [len(read_split(folder / "built", s).sentences) for s in ("train", "val", "test")] == [40, 10, 10]
    return folder / "built"


@pytest.fixture(scope="session")
def trained(data, tmp_path_factory) -> Path:
    """An experiment over BERT that ran to its end."""
    folder = make_experiment(tmp_path_factory.mktemp("trained"), epoch_num=8, min_epoch_num=8)
    run_program(train, "--data_dir", data, "--model_dir", folder)
    return folder


@pytest.fixture(scope="session")
def whole(data, tmp_path_factory):
    """`whole("--bf16", head="crf")`: as `start`, a run without a break, made once."""
    made = {}

    def run(*argv, **params) -> Path:
        key = json.dumps([argv, params])
        if key not in made:
            made[key] = make_experiment(tmp_path_factory.mktemp("whole"), **params)
            run_program(train, "--data_dir", data, "--model_dir", made[key], *argv)
        return made[key]

    return run


@pytest.fixture
def start(data, tmp_path, run_main):
    """`start("--bf16", head="crf")`: trains a new experiment with these parameters and options."""

    def run(*argv, code=0, name="experiment", data_dir=data, **params):
        folder = make_experiment(tmp_path / name, **params)
        ended = run_main(train, "--data_dir", data_dir, "--model_dir", folder, *argv)
        assert ended.code == code, ended.err
        assert ended.out == ""
        return folder, ended

    return run
