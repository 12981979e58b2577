"""train.py: the switches of params.json and of the command line."""

import json

import pytest
import torch
from safetensors.torch import load_file

import evaluate
import ner.training.fine_tuning
import ner.training.run
import train
from ner.annotations.span_scores import Counts, SpanScores
from ner.data.batches import Batches
from ner.scoring.evaluate import Evaluation
from ner.training.optim import WeightAverage
from tests.experiments import (
    BERT,
    LSTM,
    PARAMS,
    check_finished,
    check_scores,
    metrics_of,
    same_weights,
    write_published,
)


def test_set_overrides_params_and_leaves_them(start):
    folder, _ = start(
        *("--set", "epoch_num=1", "--set", "head=crf", "--set", "encoder.hidden_size=16"),
        *("--set", "full_finetuning=false"),
    )
    resolved = check_finished(folder, 1)
    assert resolved["params"] == resolved["params"] | {
        **{"epoch_num": 1, "head": "crf", "full_finetuning": False},
        **{"encoder": BERT | {"hidden_size": 16}},
    }
    assert resolved["encoder"]["hidden_size"] == 16
    assert json.loads((folder / "params.json").read_text()) == PARAMS
    config = json.loads((folder / "best" / "config.json").read_text())
    assert (config["ner"]["head"], config["hidden_size"]) == ("crf", 16)


@pytest.mark.parametrize("encoder", [BERT, LSTM], ids=["bert", "lstm"])
@pytest.mark.parametrize("head", ["softmax", "crf"])
@pytest.mark.parametrize(
    ("options", "precision"),
    [(["--bf16"], "bf16"), (["--fp16"], "fp16"), (["--fp16", "--loss_scale", "128"], "fp16")],
    ids=["bf16", "fp16", "fp16 scaled by 128"],
)
def test_every_precision_trains(start, whole, data, run_main, encoder, head, options, precision):
    folder, _ = start(*options, encoder=encoder, head=head, epoch_num=2)
    resolved = check_finished(folder, 2)
    assert resolved["precision"] == precision
    lines = metrics_of(folder)
    assert lines[1]["train_loss"] < 0.95 * lines[0]["train_loss"]
    single = metrics_of(whole(encoder=encoder, head=head, epoch_num=2))
    assert lines[0]["train_loss"] == pytest.approx(single[0]["train_loss"], rel=0.05)
    assert lines[0]["train_loss"] != single[0]["train_loss"]
    assert all(
        tensor.dtype == torch.float32
        for tensor in load_file(folder / "last" / "model.safetensors").values()
        if tensor.is_floating_point()
    )
    scaler = json.loads((folder / "last" / "training_state.json").read_text())["scaler"]
    assert bool(scaler) == (precision == "fp16")
    if "128" in options:
        assert scaler["scale"] == 128
    half = options[0]
    assert run_main(evaluate, "--data_dir", data, "--model_dir", folder, half).code == 0
    check_scores(folder, data, "test")


def test_a_fixed_scale_stays_though_it_overflows(start):
    folder, _ = start("--fp16", "--loss_scale", "1e30", epoch_num=1)
    scaler = json.loads((folder / "last" / "training_state.json").read_text())["scaler"]
    assert scaler["scale"] == pytest.approx(1e30)


def test_a_frozen_encoder_keeps_its_bytes(start, data, tmp_path):
    write_published(tmp_path / "published", data)
    published = load_file(tmp_path / "published" / "model.safetensors")
    folder, ended = start("--bert_model_dir", tmp_path / "published", full_finetuning=False, epoch_num=2)
    assert "the encoder is frozen (full_finetuning is false)" in ended.err
    after = load_file(folder / "last" / "model.safetensors")
    encoder = {name for name in after if name.startswith("bert.")}
    assert encoder == after.keys() - {"classifier.weight", "classifier.bias"}
    assert all(torch.equal(after[name], published[name]) for name in encoder)
    assert after["classifier.bias"].abs().sum() > 0
    n_parameters = json.loads((folder / "resolved.json").read_text())["n_parameters"]
    assert n_parameters == after["classifier.weight"].numel() + after["classifier.bias"].numel()


@pytest.mark.parametrize(
    ("params", "still", "words"),
    [
        ({"freeze_layers": "embeddings"}, ["embeddings"], "frozen: the embeddings (freeze_layers)"),
        ({"freeze_layers": 1}, ["embeddings", "layer.0"], "the embeddings and the first 1 of 2 layers"),
        (
            {"unfreeze_every": 1, "epoch_num": 1},
            ["embeddings", "layer.0", "layer.1"],
            "in 1 epochs the embeddings and the first 2 of 2 layers never get to learn (unfreeze_every)",
        ),
        (
            {"unfreeze_every": 1, "epoch_num": 2},
            ["embeddings", "layer.0"],
            "in 2 epochs the embeddings and the first 1 of 2 layers never get to learn (unfreeze_every)",
        ),
        (
            {"unfreeze_every": 1, "epoch_num": 3},
            ["embeddings"],
            "in 3 epochs the embeddings never get to learn (unfreeze_every)",
        ),
        ({"unfreeze_every": 1, "epoch_num": 5, "freeze_layers": 1}, ["embeddings", "layer.0"], ""),
        ({"layers": 1}, ["layer.1"], "layers above number 1 do not learn, the head does not see them"),
        ({"layers": 1, "freeze_layers": "embeddings"}, ["embeddings", "layer.1"], "frozen: the embeddings ("),
        (
            {"layers": 1, "unfreeze_every": 1, "epoch_num": 2},
            ["embeddings", "layer.1"],
            "in 2 epochs the embeddings never get to learn (unfreeze_every)",
        ),
    ],
)
def test_layers_that_may_not_learn_keep_their_bytes(start, data, tmp_path, params, still, words):
    write_published(tmp_path / "published", data)
    published = load_file(tmp_path / "published" / "model.safetensors")
    folder, ended = start("--bert_model_dir", tmp_path / "published", **{"epoch_num": 2, **params})
    assert words in ended.err
    assert ("never get to learn" in ended.err) == ("never get to learn" in words)
    after = load_file(folder / "last" / "model.safetensors")
    for name in after.keys() & {n for n in published if n.endswith("weight")}:
        assert torch.equal(after[name], published[name]) == any(part in name for part in still), name


def test_the_order_of_sentences_is_made_once_an_epoch_however_many_its_steps(start, monkeypatch):
    made, batch_indices = [], Batches.batch_indices
    monkeypatch.setattr(
        Batches, "batch_indices", lambda self, epoch: made.append(epoch) or batch_indices(self, epoch)
    )
    folder, _ = start(epoch_num=2, batch_size=1)
    assert json.loads((folder / "resolved.json").read_text())["steps_an_epoch"] > 10
    assert len(made) == 5  # the number of batches; in each epoch that of train and, to be scored, of val


@pytest.mark.parametrize("params", [{"loss": "focal"}, {"loss": "dice"}, {"label_smoothing": 0.1}])
def test_another_loss_trains_and_val_is_measured_as_ever(start, whole, data, run_main, params):
    folder, _ = start(epoch_num=1, **params)
    (line,), first = metrics_of(folder), metrics_of(whole())[0]
    assert line["train_loss"] != pytest.approx(first["train_loss"], rel=1e-3)
    ended = run_main(evaluate, "--data_dir", data, "--model_dir", folder, "--split", "val")
    assert ended.code == 0
    read = json.loads((folder / "metrics_val.json").read_text())
    assert read["loss"] == pytest.approx(line["val_loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"loss": "hinge"}, "loss: got 'hinge', expected one of ce, focal, dice"),
        ({"loss": "focal", "head": "crf"}, "loss: got 'focal', which head 'crf' cannot be trained with"),
        ({"label_smoothing": 0.1, "head": "crf"}, "label_smoothing: got 0.1, which head 'crf' cannot"),
    ],
)
def test_a_loss_that_a_head_cannot_be_trained_with(start, params, message):
    _, ended = start(code=2, **params)
    assert message in ended.err


def test_more_frozen_layers_than_there_are(start, data, tmp_path):
    write_published(tmp_path / "published", data)
    _, ended = start("--bert_model_dir", tmp_path / "published", code=2, freeze_layers=2)
    assert "freeze_layers: got 2, expected at most 1 of 2 layers" in ended.err
    options = {"freeze_layers": 1, "layers": 1}
    _, ended = start("--bert_model_dir", tmp_path / "published", code=2, **options)
    assert "freeze_layers: got 1, expected at most 0 of 1 layers" in ended.err


def test_rdrop_needs_a_dropout(start, data, tmp_path):
    params = {"rdrop": 1.0, "head_dropout": 0.0}
    still = dict.fromkeys(("piece_dropout_prob", "embedding_dropout_prob", "hidden_dropout_prob"), 0.0)
    _, ended = start(code=2, encoder=LSTM | still, **params)
    assert "rdrop: got 1.0, expected 0 if the model has no dropout" in ended.err
    write_published(tmp_path / "published", data)
    options = ["--bert_model_dir", tmp_path / "published"]
    _, ended = start(*options, code=2, full_finetuning=False, **params)
    assert "rdrop: got 1.0, expected 0 if the model has no dropout" in ended.err
    start(*options, epoch_num=1, **params)


def test_patience_stops_a_run_that_learns_nothing(start, data, run_main):
    options = {"learning_rate": 1e-9, "epoch_num": 9, "min_epoch_num": 2, "patience_num": 3}
    options["encoder"] = BERT | {"num_hidden_layers": 1, "hidden_size": 8}
    folder, ended = start(**options)
    assert "stopped early: 3 epochs without gain" in ended.err
    check_finished(folder, 3)  # an F1 of 0 is no gain, not even in the first epoch
    ended = run_main(train, "--data_dir", data, "--model_dir", folder, "--restore_file", "last")
    assert ended.code == 0
    assert "stopped early: 3 epochs without gain" in ended.err
    check_finished(folder, 3)
    late, _ = start(name="late", **options | {"min_epoch_num": 6})
    check_finished(late, 7)  # later than min_epoch_num, as in the ancestor
    never, ended = start(name="never", **options | {"min_epoch_num": 99, "epoch_num": 5})
    check_finished(never, 5)
    assert "stopped early" not in ended.err
    at_once, _ = start(name="at_once", **options | {"patience_num": 0})
    check_finished(at_once, 3)


def test_patience_is_in_points_of_f1(start, monkeypatch):
    f1s = iter([0.5, 0.51, 0.5101, 0.9])

    def evaluate_as_told(*args, **options):
        f1 = next(f1s)
        return Evaluation(
            {"spans": SpanScores(Counts(n_gold=10_000, n_predicted=10_000, n_correct=round(10_000 * f1)))},
            1.0,
            [],
        )

    monkeypatch.setattr(ner.training.fine_tuning, "evaluate", evaluate_as_told)
    folder, _ = start(patience=0.02, patience_num=1, min_epoch_num=1)
    assert [line["val_f1"] for line in metrics_of(folder)] == [0.5, 0.51, 0.5101]


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_a_student_learns_from_a_teacher(trained, start, data, tmp_path, run_main, head):
    """A BERT teaches an LSTM, by gold and by text that has none."""
    text = tmp_path / "more.txt"
    lines = (data / "test" / "sentences.txt").read_text(encoding="utf-8").splitlines()
    text.write_text("\n".join(line.replace(" ", "") for line in lines), encoding="utf-8")
    options = ["--teacher", trained, "--unlabelled", text]
    params = {"encoder": LSTM, "head": head, "epoch_num": 2, "distillation_weight": 0.7}
    folder, ended = start(*options, **params)
    assert "10 of the sentences have only its labels" in ended.err
    assert ended.err.splitlines()[0].startswith("train.py")
    rows = json.loads((folder / "distillation.json").read_text())
    assert rows["student"]["parameters"] < rows["teacher"]["parameters"]
    for name, place in (("teacher", trained), ("student", folder)):
        val = [line["val_f1"] for line in metrics_of(place)]
        assert rows[name]["val_f1"] == pytest.approx(max(val))
        resolved = json.loads((place / "resolved.json").read_text())
        assert rows[name]["parameters"] == resolved["n_parameters"]
    assert len(list(folder.glob("soft_labels-*.npy"))) == 1
    again, _ = start(*options, name="again", **params)
    assert same_weights(folder, again)
    alone, _ = start(name="alone", **{**params, "distillation_weight": 0.5})
    assert not same_weights(folder, alone)
    other = ["--data_dir", data, "--model_dir", folder, "--restore_file", "last"]
    ended = run_main(train, *other)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "teacher is None, expected" in ended.err


@pytest.mark.parametrize(
    ("options", "params", "message"),
    [
        ([], {"scheme": "BIO"}, "the student has no tag E-"),
        ([], {"rdrop": 1.0}, "rdrop: got 1.0 with --teacher, expected 0"),
        ([], {"distillation_weight": 1.5}, "distillation_weight: got 1.5, expected a share, 0 to 1"),
        (["--unlabelled", "more.doc"], {}, "more.doc: got '.doc', expected .txt"),
    ],
)
def test_a_teacher_that_cannot_teach(trained, start, options, params, message):
    _, ended = start("--teacher", trained, *options, code=2, **params)
    assert ended.err.count("\n") == 1
    assert message in ended.err


def test_the_average_is_what_is_scored_and_saved(start, data, run_main, monkeypatch):
    seen = []
    update = WeightAverage.update

    def watch(average, step):
        update(average, step)
        seen.append((average.weights[0].detach().clone(), average.means[0].clone()))

    monkeypatch.setattr(WeightAverage, "update", watch)
    folder, _ = start(epoch_num=2, ema=0.9)
    learning, mean = seen[-1]
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(load_file(folder / "last" / "model.safetensors")[name], mean)
    assert torch.equal(load_file(folder / "last" / "learning_weights.safetensors")["0"], learning)
    assert not torch.equal(learning, mean)
    assert run_main(evaluate, "--data_dir", data, "--model_dir", folder, "--split", "val").code == 0
    best = max(metrics_of(folder), key=lambda line: line["val_f1"])
    assert json.loads((folder / "metrics_val.json").read_text())["f1"] == pytest.approx(best["val_f1"])
