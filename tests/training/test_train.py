"""The parts of a run of fine-tuning; tests/test_train_*.py tests whole runs."""

import hashlib
import logging
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ner.data.folder import write_split
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import Span
from ner.training import train
from ner.training.new_model import Settings
from ner.training.objectives import Distillation, Likelihood, RDrop
from ner.training.params import Config
from ner.training.train import (
    build_scaler,
    build_update,
    choose_objective,
    data_hashes,
    read_annotated,
    replicate,
)
from tests.factories import make_tagger

CPU = torch.device("cpu")


@pytest.fixture
def settings(tmp_path):
    return Settings(directory=tmp_path / "x", params=tmp_path / "params.json", data_dir=tmp_path)


def test_fp16_has_a_scale_that_is_dynamic_unless_fixed():
    assert build_scaler(CPU, "fp16", 128).get_scale() == 128
    assert build_scaler(CPU, "fp16", 0).get_scale() == 2**16
    assert not build_scaler(CPU, "bf16", 0).is_enabled()


@pytest.mark.parametrize(("precision", "scale"), [("bf16", 2.0), ("fp16", -1.0), ("fp16", float("inf"))])
def test_a_scale_is_positive_and_for_fp16_alone(precision, scale):
    with pytest.raises(DataError, match=r"--loss_scale .*: expected 0 or more, together with --fp16"):
        build_scaler(CPU, precision, scale)


def test_rates_left_out_follow_the_general_ones(settings):
    tagger = make_tagger("crf", "bert")

    def peaks(**keys):
        groups = build_update(settings, Config(learning_rate=1e-3, **keys), tagger).optimizer.param_groups
        rates = {id(p): group["peak"] for group in groups for p in group["params"]}
        transitions = {id(p) for p in tagger.head.transition_parameters()}
        parts = {"encoder": tagger.encoder.parameters(), "transitions": tagger.head.transition_parameters()}
        parts["head"] = [p for p in tagger.head.parameters() if id(p) not in transitions]
        return {part: {rates[id(p)] for p in parameters} for part, parameters in parts.items()}

    assert peaks() == {"encoder": {1e-3}, "head": {1e-3}, "transitions": {1e-3}}
    assert peaks(head_learning_rate=1.0) == {"encoder": {1e-3}, "head": {1.0}, "transitions": {1.0}}
    found = peaks(head_learning_rate=1.0, transition_learning_rate=2.0)
    assert found == {"encoder": {1e-3}, "head": {1.0}, "transitions": {2.0}}


def test_the_objective_follows_params_and_the_command_line(settings, tmp_path):
    assert isinstance(choose_objective(settings, Config()), Likelihood)
    assert choose_objective(settings, Config(rdrop=2.0)) == RDrop(weight=2.0)
    taught = replace(settings, teacher=tmp_path)
    found = choose_objective(taught, Config(distillation_weight=0.7, distillation_temperature=2.0))
    assert found == Distillation(weight=0.7, temperature=2.0)
    with pytest.raises(DataError, match=r"rdrop: got 2.0 with --teacher, expected 0"):
        choose_objective(taught, Config(rdrop=2.0))


def test_several_gpus_are_used_in_one_way(settings, monkeypatch):
    monkeypatch.setattr("ner.training.train.distributed.world_size", lambda: 2)
    with pytest.raises(DataError, match="--multi_gpu: got torchrun as well, expected one of them"):
        choose_objective(replace(settings, multi_gpu=True), Config())


@pytest.mark.parametrize("n_gpus", [0, 1, 3])
def test_fewer_than_two_gpus_need_no_replicas(messages, monkeypatch, n_gpus):
    monkeypatch.setattr("torch.cuda.device_count", lambda: n_gpus)
    monkeypatch.setattr("ner.training.train.nn.DataParallel", lambda tagger: SimpleNamespace(module=tagger))
    tagger = object()
    replicas = replicate(tagger)
    assert (replicas and replicas.module) is (tagger if n_gpus > 1 else None)
    no_effect = f"--multi_gpu has no effect with {n_gpus} GPUs"
    assert messages == [f"--multi_gpu: {n_gpus} GPUs" if n_gpus > 1 else no_effect]


def test_illegal_gold_is_logged_and_missing_gold_refused(tmp_path, messages):
    write_split(tmp_path / "val", [Sentence.with_spans("ab", [Span(0, 2, "LOC")])] * 2)
    assert len(read_annotated(tmp_path, "val", ["spans"]).sentences) == 2
    assert messages == []
    (tmp_path / "val" / "tags.txt").write_text("B-LOC I-LOC\nO I-LOC\n")
    read_annotated(tmp_path, "val", ["spans"])
    assert messages[0].startswith(
        f"{tmp_path / 'val' / 'tags.txt'}:2: tag 2 begins no entity legally; 1 such"
    )
    (tmp_path / "val" / "tags.txt").unlink()
    with pytest.raises(DataError, match="expected an annotated split"):
        read_annotated(tmp_path, "val", ["spans"])


def test_every_file_that_decides_a_run_is_hashed(tmp_path):
    for split in ("train", "val", "test"):
        write_split(tmp_path / split, [Sentence.with_spans("ab", [Span(0, 1, "LOC")])])
    paths = [f"{split}/{name}" for split in ("train", "val") for name in ("sentences.txt", "tags.txt")]
    expected = {path: hashlib.sha256((tmp_path / path).read_bytes()).hexdigest() for path in paths}
    assert data_hashes(tmp_path) == expected


@pytest.mark.parametrize(("n_tokens", "says"), [(1000, False), (5000, True)])
def test_sentences_that_are_documents_are_named_in_the_log(monkeypatch, caplog, n_tokens, says):
    monkeypatch.setattr(train, "n_layers_of", lambda tagger: 12)
    examples = type("Three", (), {"token_ends": np.arange(4) * n_tokens, "__len__": lambda self: 3})()
    task = SimpleNamespace(
        train=SimpleNamespace(examples=examples, batch_tokens=160_000),
        model=SimpleNamespace(tagger=SimpleNamespace(encoder=SimpleNamespace(width=768))),
        steps_an_epoch=5,
    )
    with caplog.at_level(logging.INFO), caplog.filtering(logging.Filter()):
        monkeypatch.setattr(train.log, "propagate", True)
        train.log_long_sentences(task, "bf16")
    line = (
        "5,000 tokens a sentence of train, as if whole documents: 160,000 pieces a batch, 5 steps an epoch, "
    )
    line += "about 50.1 GB while a transformer learns; --split_lines"
    assert (line in caplog.text) == says
    assert bool(caplog.text) == says
