"""The folder of a built set: all of it or nothing, and never a stranger's file."""

from pathlib import Path

import pytest

from ner.data.build import Dataset, build
from ner.data.folder import write_dataset, write_split
from ner.data.formats import Document
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import Span


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make_dataset(n: int, *, val_size: int = 2, test: int = 0) -> Dataset:
    sentence = Sentence.with_spans(("北",), (Span(0, 1, "LOC"),))
    documents = {
        split: Document(Path("x.txt"), [sentence] * size, list(range(size)), [], [], "", "BIO")
        for split, size in (("train", n), ("test", test))
        if size
    }
    return build(documents, val_size=val_size)


def test_an_earlier_build_is_replaced_and_the_rest_is_left(place, snapshot):
    Path("o").mkdir()
    Path("o/README.md").write_text("mine")
    write_dataset("o", make_dataset(20, test=2))
    assert sorted(p.name for p in Path("o").iterdir()) == [
        "README.md",
        "dataset.json",
        "tags.txt",
        "test",
        "train",
        "val",
    ]
    Path("o/train/entities.jsonl").touch()
    write_dataset("o", make_dataset(20, val_size=0))
    after = snapshot(Path("o"))
    assert sorted(after) == [
        "README.md",
        "dataset.json",
        "tags.txt",
        "train",
        "train/sentences.txt",
        "train/tags.txt",
    ]
    assert after["README.md"] == b"mine"


def renaming_until(n_moves: int, failure):
    """`Path.rename`, whose n-th call moves the file and is interrupted before anybody hears of it."""
    rename, calls = Path.rename, []

    def breaks_off(path, target):
        calls.append(path)
        rename(path, target)
        if len(calls) == n_moves:
            raise failure

    return breaks_off


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_build_that_breaks_off_while_moving_puts_everything_back(
    place, snapshot, monkeypatch, failure, earlier
):
    dataset = make_dataset(10, test=3)
    if earlier:
        write_dataset("deep/o", make_dataset(30))
        Path("deep/o/README.md").write_text("mine")
    before = snapshot(place)
    for n_moves in range(1, 6 + 4 * earlier):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", renaming_until(n_moves, failure))
            with pytest.raises((KeyboardInterrupt, DataError)):
                write_dataset("deep/o", dataset)
        assert snapshot(place) == before
    write_dataset("deep/o", dataset)
    assert snapshot(place) != before


def test_a_build_that_breaks_off_while_writing_leaves_nothing(place, snapshot, monkeypatch):
    before = snapshot(place)

    def full(folder, sentences, files):
        write_split(folder, sentences, files)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ner.data.folder.write_split", full)
    with pytest.raises(DataError, match="deep/o: cannot be written, No space left on device"):
        write_dataset("deep/o", make_dataset(10))
    assert snapshot(place) == before
