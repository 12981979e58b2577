"""`train.py` and `pretrain.py` as torchrun starts them: two processes, one run."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import pretrain
import train
from ner.data.batches import Batches
from ner.data.folder import read_split
from ner.data.windows import encode
from ner.model.directory import load
from ner.model.manifest import check_manifest
from ner.scoring.evaluate import evaluate
from tests.experiments import build_short

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "data" / "sample" / "sample.bio"
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
ENCODER = {"name": "bert", "max_position_embeddings": 64, **SIZES, **STILL}
PARAMS = {
    **{"encoder": ENCODER, "max_len": 32, "batch_size": 5, "learning_rate": 3e-3, "head": "crf"},
    **{"epoch_num": 3, "min_epoch_num": 3, "head_dropout": 0.0},
}
PRETRAINING = {
    "encoder": {key: value for key, value in ENCODER.items() if key != "name"},
    **{"vocab_size": 300, "block_len": 32, "batch_tokens": 256, "learning_rate": 3e-3, "max_steps": 10},
    **{"eval_steps": 5, "save_steps": 5, "packing": "lines", "gradient_accumulation_steps": 2},
}
OF_THE_MACHINE = ("seconds", "minutes", "tokens_per_second", "peak_memory_mb")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Sixty short sentences of the sample, built."""
    return build_short(tmp_path_factory.mktemp("data"), 60, 36, "--val_size", 13, "--test_size", 0)


def make_experiment(folder, **params) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "params.json").write_text(json.dumps(PARAMS | params))
    return folder


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def begin(program, *argv) -> list[subprocess.Popen]:
    """Two processes with the environment that torchrun gives them."""
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    shared = {**os.environ, **place, "TORCHELASTIC_RUN_ID": "test", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", str(ROOT / program), *map(str, argv)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": ROOT}
    ranks = ({"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1))
    return [subprocess.Popen(command, env=shared | rank, **pipes) for rank in ranks]


def end(pair) -> tuple[list[int], str]:
    """Exit codes and standard error of both; standard output is empty."""
    ended = [one.communicate(timeout=300) for one in pair]
    assert [out for out, _ in ended] == ["", ""]
    return [one.returncode for one in pair], "".join(err for _, err in ended)


def metrics_of(folder) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in OF_THE_MACHINE} for line in lines]


def check_same(ours, theirs, file="best/model.safetensors") -> None:
    """The same lines of metrics and the same weights, but for the order in which numbers are added."""
    expected = metrics_of(theirs)
    assert len(expected) > 1
    assert metrics_of(ours) == [pytest.approx(line, rel=1e-3, abs=1e-4) for line in expected]
    weights, others = load_file(ours / file), load_file(theirs / file)
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=0, atol=2e-3)


def files_of(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


def train_alone(run_main, folder, data, *argv) -> str:
    ended = run_main(train, "--data_dir", data, "--model_dir", folder, *argv)
    assert ended.code == 0, ended.err
    return ended.err


def test_two_processes_are_the_run_of_one(data, tmp_path, run_main):
    both, one = make_experiment(tmp_path / "both"), make_experiment(tmp_path / "one")
    starter = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*starter, ROOT / "train.py", "--data_dir", data, "--model_dir", both]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    train_alone(run_main, one, data, "--set", "gradient_accumulation_steps=2")
    check_same(both, one)
    assert files_of(both) == files_of(one)
    resolved, other = (json.loads((folder / "resolved.json").read_text()) for folder in (both, one))
    assert (resolved["world_size"], other["world_size"]) == (2, 1)
    assert resolved["steps_an_epoch"] == other["steps_an_epoch"]
    log = [line.split(" ", 2)[-1] for line in (both / "train.log").read_text().splitlines()]
    assert sum(line.startswith("epoch ") for line in log) == 3
    assert sum(line.endswith("fp32 on cpu in each of 2 processes") for line in log) == 1
    assert ended.stderr.count("epoch 1/3 ") == 1


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "holds results of an earlier run"),
        (
            ["--set", "adversarial=fgm"],
            "params.json: adversarial: got 'fgm' with torchrun, expected none: one process",
        ),
        (["--multi_gpu"], "--multi_gpu: got torchrun as well, expected one of them"),
    ],
)
def test_an_error_of_the_user_is_one_line(data, tmp_path, argv, message):
    folder = make_experiment(tmp_path / "experiment")
    if not argv:
        (folder / "metrics.jsonl").touch()
    before = files_of(folder)
    codes, err = end(begin("train.py", "--data_dir", data, "--model_dir", folder, *argv))
    assert codes == [2, 2], err
    assert [message in line for line in err.splitlines() if line.startswith("error: ")] == [True], err
    assert "Traceback" not in err
    assert files_of(folder) == before


def test_a_signal_to_one_stops_both_and_they_go_on_together(data, tmp_path, run_main):
    params = {"epoch_num": 12, "min_epoch_num": 12, "unfreeze_every": 4}
    folder, one = make_experiment(tmp_path / "both", **params), make_experiment(tmp_path / "one", **params)
    options = ["--data_dir", data, "--model_dir", folder]
    pair = begin("train.py", *options)
    while not (folder / "metrics.jsonl").exists():
        assert all(process.poll() is None for process in pair), end(pair)
        time.sleep(0.05)
    pair[1].send_signal(signal.SIGTERM)
    codes, err = end(pair)
    assert codes == [143, 143], err
    assert err.count("stopped by SIGTERM, saved after step") == 1
    check_manifest(folder / "last")
    assert "train.lock" not in files_of(folder)
    refused = run_main(train, *options, "--restore_file", "last")
    assert refused.code == 2
    assert "world_size is 1, expected 2 as when the run began" in refused.err
    codes, err = end(begin("train.py", *options, "--restore_file", "last"))
    assert codes == [0, 0], err
    train_alone(run_main, one, data, "--set", "gradient_accumulation_steps=2")
    check_same(folder, one)
    tag_all(folder, one, data)


def tag_all(folder, one, data) -> None:
    """Both tag val the same way."""
    sentences = read_split(data, "val").sentences
    found = []
    for model in (load(folder / "best"), load(one / "best")):
        options = {"windows": model.windows, "batch_tokens": 500, "targets": model.tagger.head}
        loader = Batches(encode(sentences, model.tokenizer), **options)
        found.append(evaluate(model, loader, device=torch.device("cpu"))[2])
    assert any(found[0])
    assert found[0] == found[1]


def test_a_series_is_run_by_both(data, tmp_path):
    folder = make_experiment(tmp_path / "series", epoch_num=1)
    codes, err = end(begin("train.py", "--data_dir", data, "--model_dir", folder, "--seeds", 1, 2))
    assert codes == [0, 0], err
    assert files_of(folder) == {"params.json", "seed-1", "seed-2"}
    assert [len(metrics_of(folder / name)) for name in ("seed-1", "seed-2")] == [1, 1]
    assert err.count("best val F1 of 2 seeds: mean") == 1


def test_two_processes_pretrain_as_one(tmp_path, run_main):
    (tmp_path / "params.json").write_text(json.dumps(PRETRAINING))
    text = SAMPLE.read_text(encoding="utf-8").split("\n\n")[:139]
    lines = ("".join(row.split()[0] for row in block.splitlines() if row) for block in text)
    (tmp_path / "text.txt").write_text("\n".join(lines), encoding="utf-8")
    options = ["--text", tmp_path / "text.txt", "--params", tmp_path / "params.json", "--out_dir"]
    codes, err = end(begin("pretrain.py", *options, tmp_path / "both"))
    assert codes == [0, 0], err
    accumulation = ["--set", "gradient_accumulation_steps=4"]
    ended = run_main(pretrain, *options, tmp_path / "one", *accumulation)
    assert ended.code == 0, ended.err
    check_same(tmp_path / "both", tmp_path / "one", file="model.safetensors")
    assert files_of(tmp_path / "both") == files_of(tmp_path / "one")
    assert err.count("step 5  loss") == 1
    (n_batches,) = re.findall(r"(\d+) batches an epoch", err)
    assert int(n_batches) % 4 == 1, "one process is to be without a batch in the last step"
