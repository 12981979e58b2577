"""train.py: an interrupted run is resumed as if it had not been interrupted."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import evaluate
import ner.training.fine_tuning
import ner.training.run
import train
from ner.annotations.span_scores import Counts, SpanScores
from ner.model.manifest import write_manifest
from ner.scoring.evaluate import Evaluation
from tests.experiments import (
    BERT,
    LSTM,
    PUBLISHED,
    check_finished,
    check_scores,
    interrupt_after_saving,
    interrupt_at_call,
    interrupt_at_epoch,
    make_experiment,
    metrics_of,
    read_epochs,
    same_weights,
    without_times,
    write_published,
)


@pytest.mark.parametrize("second_f1", [0.6, 0.4])
def test_scores_of_an_earlier_best_do_not_stay(data, tmp_path, run_main, monkeypatch, second_f1):
    """A run is interrupted, scored and resumed.  The files of evaluate.py stay until `best` changes."""
    plan = iter([0.5, second_f1])

    def evaluate_as_planned(*args, **options):
        n_correct = round(1000 * next(plan))
        return Evaluation(
            {"spans": SpanScores(Counts(n_gold=1000, n_predicted=1000, n_correct=n_correct))}, 1.0, []
        )

    folder = make_experiment(tmp_path, encoder=LSTM, epoch_num=2)
    options = ["--data_dir", data, "--model_dir", folder]
    with monkeypatch.context() as patch:
        patch.setattr(ner.training.fine_tuning, "evaluate", evaluate_as_planned)
        interrupt_at_call(patch, 2)
        assert run_main(train, *options).code == 130
    assert run_main(evaluate, *options).code == 0
    scores = {path: path.read_bytes() for path in folder.glob("*_test.*")}
    assert len(scores) == 3
    monkeypatch.setattr(ner.training.fine_tuning, "evaluate", evaluate_as_planned)
    assert run_main(train, *options, "--restore_file", "last").code == 0
    left = {path: path.read_bytes() for path in folder.glob("*_test.*")}
    assert left == ({} if second_f1 > 0.5 else scores)
    message = "removed, scores of an earlier best: metrics_test.json, predictions_test.jsonl"
    assert (message in (folder / "train.log").read_text()) == (second_f1 > 0.5)


@pytest.mark.parametrize("encoder", [BERT, LSTM], ids=["bert", "lstm"])
@pytest.mark.parametrize(
    ("options", "params"),
    [
        ([], {}),
        (["--bf16"], {"head": "crf", "scheme": "BIOES"}),
        (["--fp16"], {"schedule": "cosine"}),
        (["--bf16"], {"layers": "mix", "context": "bilstm", "rdrop": 1.0}),
        ([], {"unfreeze_every": 1, "layer_decay": 0.8, "schedule": "triangular", "head_learning_rate": 1e-3}),
        (["--bf16"], {"ema": 0.9, "unfreeze_every": 1}),
    ],
    ids=["softmax", "crf bf16", "softmax fp16", "features", "unfreezing", "ema"],
)
def test_a_run_goes_on_where_it_stopped(start, whole, data, run_main, monkeypatch, encoder, options, params):
    params = {"encoder": encoder, **params}
    unbroken = whole(*options, **params)
    with monkeypatch.context() as patch:
        interrupt_at_epoch(patch, 2)
        stopped, ended = start(*options, name="stopped", code=130, **params)
    assert ended.err.endswith("interrupted\n")
    assert len(metrics_of(stopped)) == 2
    resolved = (stopped / "resolved.json").read_bytes()
    step = Path(os.readlink(stopped / "last")).name
    restore = ["--data_dir", data, "--model_dir", stopped, *options, "--restore_file", "last"]
    ended = run_main(train, *restore)
    assert ended.code == 0
    assert f"restored {stopped / 'checkpoints' / step}: going on with epoch 3" in ended.err
    check_finished(stopped, 4)
    assert (stopped / "resolved.json").read_bytes() == resolved
    assert without_times(stopped) == without_times(unbroken)
    assert same_weights(stopped, unbroken)
    log = (stopped / "train.log").read_text()
    assert log.count("going on with epoch 3") == 1
    assert [log.count(f"epoch {i}/4  loss") for i in (1, 2, 3, 4)] == [1, 1, 1, 1]
    assert run_main(train, *restore).code == 0
    assert without_times(stopped) == without_times(unbroken)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("n_saves", [1, 6])
def test_a_run_goes_on_in_the_middle_of_an_epoch(
    start, whole, data, run_main, monkeypatch, accumulation, n_saves
):
    params = {"epoch_num": 2, "save_steps": 2, "gradient_accumulation_steps": accumulation}
    unbroken = whole(**params)
    with monkeypatch.context() as patch:
        interrupt_after_saving(patch, n_saves)
        stopped, _ = start(name="stopped", code=130, **params)
    assert run_main(train, "--data_dir", data, "--model_dir", stopped, "--restore_file", "last").code == 0
    check_finished(stopped, 2)
    assert without_times(stopped) == without_times(unbroken)
    assert same_weights(stopped, unbroken)


def test_the_time_of_an_epoch_is_that_of_all_its_parts(start, data, run_main, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_after_saving(patch, 1)
        folder, _ = start(epoch_num=2, save_steps=2, code=130)
    state = folder / "last" / "training_state.json"
    values = json.loads(state.read_text())
    assert 0 < values["progress"]["seconds"] < 1000
    values["progress"]["seconds"] += 1000
    state.write_text(json.dumps(values))
    write_manifest(folder / "last")
    assert run_main(train, "--data_dir", data, "--model_dir", folder, "--restore_file", "last").code == 0
    first, second = metrics_of(folder)
    assert second["seconds"] < 1000 < first["seconds"]
    assert first["tokens_per_second"] < second["tokens_per_second"]


def test_a_run_goes_on_from_an_earlier_checkpoint(trained, data, tmp_path, run_main, monkeypatch):
    folder = tmp_path / "experiment"
    shutil.copytree(trained, folder, symlinks=True)
    earlier = min((folder / "checkpoints").iterdir(), key=lambda path: int(path.name[5:]))
    name = f"checkpoints/{earlier.name}"
    with monkeypatch.context() as patch:  # later results are removed before training is resumed
        interrupt_at_epoch(patch, len(read_epochs(folder, earlier)))
        ended = run_main(train, "--data_dir", data, "--model_dir", folder, "--restore_file", name)
    assert ended.code == 130
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [earlier.name]
    assert metrics_of(folder) == read_epochs(trained, earlier)
    ended = run_main(train, "--data_dir", data, "--model_dir", folder, "--restore_file", name)
    assert ended.code == 0
    assert without_times(folder) == without_times(trained)
    assert same_weights(folder, trained)
    assert os.readlink(folder / "best") == os.readlink(trained / "best")


def test_results_are_not_overwritten_unless_asked(start, data, run_main, snapshot):
    folder, _ = start(epoch_num=2)
    before, lines = snapshot(folder), without_times(folder)
    command = ["--data_dir", data, "--model_dir", folder]
    ended = run_main(train, *command)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "holds results of an earlier run" in ended.err
    assert "--restore_file last continues that run, --overwrite deletes it and starts again" in ended.err
    assert snapshot(folder) == before
    (folder / "notes.txt").write_text("mine")
    assert run_main(train, *command, "--overwrite").code == 0
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
    check_finished(folder, 2)
    assert without_times(folder) == lines


@pytest.mark.parametrize("encoder", ["electra", "albert", "distilbert"])
def test_a_published_relative_is_trained_resumed_and_scored(data, tmp_path, run_main, start, encoder):
    transformers = pytest.importorskip("transformers")
    write_published(tmp_path / "published", data, encoder=encoder)
    options = ["--bert_model_dir", tmp_path / "published"]
    whole, ended = start(*options, name="whole", epoch_num=2)
    assert f"tensors loaded from {tmp_path / 'published'}" in ended.err
    assert metrics_of(whole)[1]["train_loss"] < metrics_of(whole)[0]["train_loss"]
    assert run_main(evaluate, "--data_dir", data, "--model_dir", whole).code == 0
    check_scores(whole, data, "test")
    theirs = transformers.AutoModelForTokenClassification.from_pretrained(whole / "best")
    assert type(theirs).__name__ == f"{PUBLISHED[encoder][0]}ForTokenClassification"
    broken, _ = start(*options, name="broken", epoch_num=2, save_steps=3)
    shutil.rmtree(broken / "checkpoints" / (broken / "last").resolve().name)
    step = sorted((broken / "checkpoints").iterdir(), key=lambda path: int(path.name.partition("-")[2]))[-1]
    resume = ["--restore_file", f"checkpoints/{step.name}", "--set", "epoch_num=2", "--set", "save_steps=3"]
    ended = run_main(train, "--data_dir", data, "--model_dir", broken, *options, *resume)
    assert ended.code == 0, ended.err
    assert f"restored {step}: going on with epoch 2" in ended.err
    assert metrics_of(broken)[1]["train_loss"] == metrics_of(whole)[1]["train_loss"]


def test_a_run_does_not_go_on_from_other_weights(start, data, tmp_path, run_main):
    write_published(tmp_path / "published", data)
    options = ["--bert_model_dir", tmp_path / "published"]
    folder, _ = start(*options, epoch_num=1)
    file = tmp_path / "published" / "model.safetensors"
    save_file({name: tensor + 1e-6 for name, tensor in load_file(file).items()}, file)
    again = ["--data_dir", data, "--model_dir", folder, "--restore_file", "last"]
    ended = run_main(train, *options, *again)
    assert ended.code == 2
    assert f"{folder}: weights is " in ended.err


def test_a_constant_schedule_goes_on_for_more_epochs_as_if_they_had_been_asked_for(
    start, whole, data, run_main, monkeypatch
):
    params = {"schedule": "constant", "warmup": 0.0}
    unbroken = whole(epoch_num=4, **params)
    folder, _ = start(name="stopped", epoch_num=2, **params)
    command = ["--data_dir", data, "--model_dir", folder, "--restore_file", "last", "--set"]
    with monkeypatch.context() as patch:
        interrupt_at_epoch(patch, 3)
        ended = run_main(train, *command, "epoch_num=4")
    assert ended.code == 130
    assert "epoch_num grows from 2 to 4: the learning rate stays constant" in ended.err
    ended = run_main(train, *command, "epoch_num=4")
    assert (ended.code, "grows" in ended.err) == (0, False)
    check_finished(folder, 4)
    assert without_times(folder) == without_times(unbroken)
    assert same_weights(folder, unbroken)
    ended = run_main(train, *command, "epoch_num=3")
    assert (ended.code, "epoch_num is 3, expected 4" in ended.err) == (2, True)


def test_a_constant_schedule_keeps_the_warm_up_that_it_had(start, data, run_main):
    folder, _ = start(epoch_num=2, schedule="constant", warmup=0.5)
    command = ["--data_dir", data, "--model_dir", folder, "--restore_file", "last", "--set", "epoch_num=5"]
    assert run_main(train, *command).code == 0
    assert len({line["learning_rate"] for line in metrics_of(folder)[1:]}) == 1


def test_another_schedule_is_stretched_if_asked(start, whole, data, run_main, monkeypatch, snapshot):
    folder, _ = start(name="stopped", epoch_num=2)
    command = ["--data_dir", data, "--model_dir", folder, "--restore_file", "last", "--set", "epoch_num=4"]
    before = snapshot(folder)
    ended = run_main(train, *command)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "--extend stretches the schedule 'linear' over 4 epochs" in ended.err
    assert snapshot(folder) == before
    with monkeypatch.context() as patch:
        interrupt_at_epoch(patch, 3)
        ended = run_main(train, *command, "--extend")
    assert "the schedule 'linear', warm-up included, now ends there" in ended.err
    assert run_main(train, *command).code == 0
    check_finished(folder, 4)
    other = whole(epoch_num=4)
    rates = [[line["learning_rate"] for line in metrics_of(path)] for path in (folder, other)]
    assert rates[0][2:] == rates[1][2:]


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_the_head_of_a_tagger_with_the_same_tags_is_kept(start, data, tmp_path, run_main, head):
    first, _ = start(name="first", epoch_num=2, head=head, encoder=BERT)
    options = ["--bert_model_dir", first / "best"]
    slow = {"epoch_num": 1, "head": head, "full_finetuning": False, "learning_rate": 1e-12}
    kept, ended = start(*options, name="kept", **slow)
    message = f"kept, to be trained further: the {head} head of {first / 'best'} over 13 tags"
    assert message in ended.err
    assert "\nnot used: " not in ended.err
    new, ended = start(*options, "--new_head", name="new", **slow)
    assert message not in ended.err
    before, same, other = (load_file(path / "best" / "model.safetensors") for path in (first, kept, new))
    assert before.keys() == same.keys() == other.keys()
    assert all((before[name] - same[name]).abs().max() < 1e-6 for name in before)
    assert (before["classifier.weight"] - other["classifier.weight"]).abs().max() > 1e-3
    _, ended = start(*options, name="bio", scheme="BIO", **slow)
    assert message not in ended.err


def test_a_published_tagger_is_a_start_and_keeps_its_tags(start, data, tmp_path, run_main, monkeypatch):
    write_published(tmp_path / "published", data)
    path = tmp_path / "published" / "config.json"
    labels = ("ORG", "LOC", "PER")
    tags = [*(f"{prefix}-{label}" for label in labels for prefix in "IB"), "O"]
    values = json.loads(path.read_text()) | {"id2label": dict(enumerate(tags))}
    path.write_text(json.dumps(values))
    file = tmp_path / "published" / "model.safetensors"
    weights = {name: tensor for name, tensor in load_file(file).items() if not name.startswith("classifier")}
    width = values["hidden_size"]
    weights |= {"classifier.weight": torch.randn(7, width), "classifier.bias": torch.randn(7)}
    save_file(weights, file)
    options = ["--bert_model_dir", tmp_path / "published"]
    unbroken, ended = start(*options, name="unbroken", epoch_num=2)
    assert "over 7 tags (BIO); --new_head begins with a new one" in ended.err
    with monkeypatch.context() as patch:
        interrupt_at_epoch(patch, 1)
        stopped, _ = start(*options, name="stopped", epoch_num=2, code=130)
    again = ["--data_dir", data, "--model_dir", stopped, "--restore_file", "last"]
    assert run_main(train, *options, *again).code == 0
    assert same_weights(stopped, unbroken)
    config = json.loads((unbroken / "best" / "config.json").read_text())
    assert list(config["id2label"].values()) == tags
