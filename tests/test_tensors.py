"""Files of tensors: what is damaged, points elsewhere or holds code is refused in one line."""

import json
import os
import pickle
import zipfile

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ner.tensors import read_weights, save_weights
from tests.encoders.test_published import make_bert
from tests.factories import error_line


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("container", ["torch", "old torch", "plain pickle"])
def test_code_in_a_weights_file_does_not_run(container, tmp_path):
    path, trace = tmp_path / "pytorch_model.bin", tmp_path / "trace"
    table = {"embeddings.LayerNorm.bias": Payload(str(trace))}
    if container == "plain pickle":
        path.write_bytes(pickle.dumps(table))
    else:
        torch.save(table, path, _use_new_zipfile_serialization=container == "torch")
    line = error_line(read_weights, tmp_path)
    assert line.startswith(f"{path}: ")
    assert "weights_only" not in line
    assert not trace.exists()
    # The payload is a real one: read carelessly, it acts.
    if container == "plain pickle":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trace.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("damage", ["empty", "halved", "noise"])
def test_broken_files_are_named(name, damage, tmp_path):
    path = tmp_path / name
    state = make_bert().state_dict()
    save_weights(path, state) if name.endswith("safetensors") else torch.save(state, path)
    whole = path.read_bytes()
    broken = {"empty": b"", "halved": whole[: len(whole) // 2], "noise": b"\x93noise" * 99}[damage]
    path.write_bytes(broken)
    assert error_line(read_weights, tmp_path).startswith(f"{path}: ")


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"model": {"a": torch.zeros(1)}}, {1: 2}])
def test_bin_file_must_be_a_table_of_tensors(content, tmp_path):
    torch.save(content, tmp_path / "pytorch_model.bin")
    assert "expected a table of tensors" in error_line(read_weights, tmp_path)


def test_bin_file_must_not_give_more_than_it_holds(tmp_path):
    path, whole = tmp_path / "pytorch_model.bin", torch.zeros(1000)
    torch.save({"a": whole, "tied": whole, "part": whole[:10]}, path)
    assert read_weights(tmp_path)["tied"].shape == (1000,)
    with zipfile.ZipFile(path) as records, zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_DEFLATED) as out:
        for record in records.infolist():
            out.writestr(record.filename, records.read(record))
    (tmp_path / "x").rename(path)
    assert "bytes of tensors, expected" in error_line(read_weights, tmp_path)
    torch.save({"a": whole, "view": torch.zeros(1).expand(1 << 25, 1 << 25)}, path)
    assert "bytes of tensors, expected" in error_line(read_weights, tmp_path)
    torch.save({"a": whole.to_sparse()}, path)
    assert "got a packed tensor" in error_line(read_weights, tmp_path)


@pytest.mark.parametrize(
    "file", ["../outside.safetensors", "/etc/passwd", "..", "", "a/b", "a\\b", "c:d", "model.bin", None, 3]
)
def test_index_must_not_point_outside(file, tmp_path):
    directory = tmp_path / "inside"
    directory.mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / "outside.safetensors")
    index = directory / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": file}}))
    line = error_line(read_weights, directory)
    assert line.startswith(f"{index}: 'a': got")
    assert "same directory" in line


def test_index_and_its_files_must_agree(tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one.safetensors"}}))
    assert error_line(read_weights, tmp_path).startswith(str(tmp_path / "one.safetensors"))
    save_file({"b": torch.zeros(1)}, tmp_path / "one.safetensors")
    assert "no tensor 'a'" in error_line(read_weights, tmp_path)
    # A tensors' index never leads to a pickle, whatever the file is called.
    torch.save({"a": torch.zeros(1)}, tmp_path / "one.safetensors")
    assert "expected a whole safetensors file" in error_line(read_weights, tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"weight_map": 3}', "{}", "\udcff"])
def test_malformed_index_is_named(text, tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(text, errors="surrogateescape")
    assert error_line(read_weights, tmp_path).startswith(f"{index}:")


def test_saved_file_is_marked_whole_and_replaces_the_one_in_use(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(path, {"a": torch.arange(6.0).reshape(2, 3).T})
    first = read_weights(tmp_path)["a"]
    save_weights(path, {"a": torch.zeros(3, 2)})
    assert torch.equal(first, torch.arange(6.0).reshape(2, 3).T)
    with safe_open(path, "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.safetensors"]
