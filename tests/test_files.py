"""Reading names the line of an error; a file is written completely or not at all."""

import contextlib
import gzip
import hashlib
import json
import lzma

import numpy as np
import pytest

from ner.errors import DataError
from ner.files import (
    OPENERS,
    add_file_name,
    numbered,
    read_compressed_lines,
    read_json,
    read_text_lines,
    sha256,
    whole_file,
)

TEXT = "外交部发言人\n\n  playing the a.b \r\n中国 1 2\nplayed"
LINES = [(1, "外交部发言人"), (3, "playing the a.b"), (4, "中国 1 2"), (5, "played")]


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("name", ["t.txt", "t.txt.gz", "t.xz"])
def test_compressed_lines_are_read_as_plain_ones(tmp_path, name, end, mark):
    path = tmp_path / name
    data = (mark + TEXT + end).encode()
    path.write_bytes({".txt": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[path.suffix](data))
    assert list(read_compressed_lines(path)) == LINES


@pytest.mark.parametrize(
    ("name", "data"), [("t.gz", gzip.compress(b"x" * 99, mtime=0)), ("t.xz", lzma.compress(b"x"))]
)
def test_compressed_text_that_was_cut_off_is_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data[:-4])
    with pytest.raises(DataError, match=f"{name}: not whole, "):
        list(read_compressed_lines(tmp_path / name))


def test_compressed_text_names_the_line_that_is_not_utf8(tmp_path):
    (tmp_path / "t.gz").write_bytes(gzip.compress(b"a\n\xff\n", mtime=0))
    with pytest.raises(DataError, match=r"t\.gz:2: not utf-8, got byte ff"):
        list(read_compressed_lines(tmp_path / "t.gz"))
    with pytest.raises(DataError, match=r"t\.doc: got '\.doc', expected \.txt, \.gz, \.xz, or a built"):
        list(read_compressed_lines(tmp_path / "t.doc"))


@pytest.mark.parametrize("data", [b"a\nb\n", b"a\r\nb", b"\xef\xbb\xbfa\nb\r\n"])
def test_a_newline_alone_ends_a_line(tmp_path, data):
    (tmp_path / "t").write_bytes(data)
    assert read_text_lines(tmp_path / "t") == ["a", "b"]
    (tmp_path / "t").write_bytes("a\u2028b\x0bc\rd\n\n".encode())
    assert read_text_lines(tmp_path / "t") == ["a\u2028b\x0bc\rd", ""]


def test_numbered_names_stand_in_the_order_of_their_numbers(tmp_path):
    for name in ("step-10", "step-9", "step-", "step-x", ".step-3", "other"):
        (tmp_path / name).mkdir()
    assert list(numbered(tmp_path, "step-").items()) == [
        (number, tmp_path / f"step-{number}") for number in (9, 10)
    ]
    assert numbered(tmp_path / "none", "step-") == {}


def test_a_key_that_occurs_twice_is_named(tmp_path):
    (tmp_path / "t.json").write_text('{"a": 1, "b": {"c": 2, "d": 3, "d": 4, "c": 5}}')
    with pytest.raises(DataError, match=r"t\.json: key 'd' twice, expected it once"):
        read_json(tmp_path / "t.json")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["t.txt", "t.gz", "t.xz"])
def test_a_file_is_there_only_when_it_is_whole(tmp_path, name, compressed):
    path = tmp_path / name
    path.write_text("old")
    with contextlib.suppress(KeyError), whole_file(path, compressed=compressed) as file:
        file.write("half")
        raise KeyError
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [(name, "old")]
    with whole_file(path, compressed=compressed) as file:
        file.write("实体\n")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    with (OPENERS[path.suffix] if compressed else open)(path, "rb") as file:
        assert file.read() == "实体\n".encode()


def test_a_binary_file(tmp_path):
    with whole_file(tmp_path / "t.npy", binary=True) as file:
        np.save(file, np.arange(3))
    assert np.load(tmp_path / "t.npy").tolist() == [0, 1, 2]
    expected = hashlib.sha256((tmp_path / "t.npy").read_bytes()).hexdigest()
    assert sha256(tmp_path / "t.npy") == expected


def test_a_device_is_written_to(tmp_path):
    (tmp_path / "out").symlink_to("/dev/null")
    with whole_file(tmp_path / "out") as file:
        file.write(json.dumps({}))
    assert (tmp_path / "out").is_symlink()


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with (
        pytest.raises(DataError, match=r"no such directory, expected .*none to be there"),
        whole_file(tmp_path / "none" / "t"),
    ):
        pass


def test_a_failed_write_names_its_file(tmp_path):
    def write():
        with add_file_name(tmp_path / "scores.json"), open("/dev/full", "w") as file:
            file.write("x")

    with pytest.raises(OSError, match=r"No space left on device: '.*scores\.json'"):
        write()
