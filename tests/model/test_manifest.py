"""Files are checked before they are opened: undamaged, and not too large.  tests/faults tries many more."""

import pytest

from ner.errors import DataError
from ner.model.manifest import MANIFEST, MIB, check_manifest, check_model, check_sizes, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / "training_state.json").write_text("{}")
    write_manifest(tmp_path)
    return tmp_path


def test_a_folder_is_as_it_was_written(folder):
    check_manifest(folder)
    check_model(folder)
    (folder / "metrics.json").write_text("{}")
    check_manifest(folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"a": 2}', "damaged, its sha256 is not"), ("", "damaged, got 0 bytes, expected 8"), (None, "no such")],
)
def test_a_changed_file_is_named(folder, text, message):
    path = folder / "config.json"
    path.unlink() if text is None else path.write_text(text)
    for check in (check_manifest, check_model):
        with pytest.raises(DataError, match=rf"\A{path}: {message}"):
            check(folder)


def test_tagging_does_not_need_the_state_of_training(folder):
    (folder / "training_state.json").write_text("{ }")
    check_model(folder)
    with pytest.raises(DataError, match=r"training_state\.json: damaged"):
        check_manifest(folder)


def test_without_a_manifest_nothing_is_compared(folder):
    (folder / MANIFEST).unlink()
    (folder / "config.json").write_text("changed")
    check_model(folder)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("config.json", b" " * (4 * MIB + 1), "got 4,194,305 bytes, expected 4,194,304 at most"),
        ("config.json", b"[" * 10_001, "got more than 10,000 brackets"),
        ("vocab.txt", b"\n" * 1_000_001, "got more than 1,000,000 lines"),
        ("model.safetensors", b"\xff" * 8, r"got a header of 18,446,744,073,709,551,615 bytes"),
    ],
)
def test_a_file_that_is_too_large_is_refused(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=f"{name}: {message}"):
        check_sizes(tmp_path)


def test_a_manifest_that_is_too_large_is_not_parsed(folder):
    (folder / MANIFEST).write_bytes(b"[" * 10_001)
    with pytest.raises(DataError, match="got more than 10,000 brackets"):
        check_model(folder)
