"""A built set for the benchmarks, from the sample that ships."""

from pathlib import Path

import pytest

import build_dataset
from ner.runtime.program import run

SAMPLE = Path(__file__).parents[2] / "data" / "sample" / "sample.bio"


@pytest.fixture(scope="session")
def sample(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sample")
    argv = ["--train", SAMPLE, "--out_dir", folder, "--val_size", 80, "--test_size", 100]
    assert run(build_dataset.main, build_dataset.parse_args, list(map(str, argv))) == 0
    return folder


@pytest.fixture
def no_transformers(monkeypatch) -> None:
    """Nothing of what only the rivals need can be found."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
