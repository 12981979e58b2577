"""train.py and evaluate.py: the files, scores and messages that a user gets."""

import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

import build_dataset
import evaluate
import predict
import train
from ner.data.folder import read_split
from tests.experiments import (
    BERT,
    PUBLISHED,
    check_finished,
    check_scores,
    metrics_of,
    tags_of,
    write_published,
)

ANCESTORS = {  # lemonhu/NER-BERT-pytorch, experiments/base_model/params.json
    **{"full_finetuning": True, "max_len": 180, "learning_rate": 3e-5, "weight_decay": 0.01, "clip_grad": 2},
    **{"batch_size": 30, "epoch_num": 20, "min_epoch_num": 5, "patience": 0.02, "patience_num": 5},
}


ENGLISH = """\
John B-PER
Smith I-PER
visited O
New B-LOC
York I-LOC
. O

The O
U.S. B-LOC
bank O
Goldman B-ORG
Sachs I-ORG
hired O
Mary B-PER
. O

Mary B-PER
Smith I-PER
lives O
in O
London B-LOC
. O

"""


def test_an_experiment_has_all_its_files(trained, data):
    resolved = check_finished(trained, 8)
    assert len(list((trained / "checkpoints").iterdir())) <= 3
    assert resolved["params"]["learning_rate"] == 5e-3
    assert resolved["params"]["weight_decay"] == 0.01
    assert resolved["seed"] == 2019
    assert resolved["precision"] == "fp32"
    assert resolved["data"]["labels"] == ["LOC", "ORG", "PER"]
    assert resolved["data"]["unit"] == "char"
    assert {"train/sentences.txt", "val/tags.txt"} <= set(resolved["data"])
    assert {"python", "torch", "threads", "gpu"} <= set(resolved["environment"])
    tensors = load_file(trained / "last" / "model.safetensors")
    assert resolved["n_parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert json.loads((trained / "params.json").read_text())["epoch_num"] == 8
    log = (trained / "train.log").read_text()
    assert "an encoder without published weights" in log
    assert "new, to be trained: the softmax head over 13 tags (BIOES)" in log
    assert "epoch 8/8  loss" in log
    assert "best val F1" in log.splitlines()[-1]
    lines = metrics_of(trained)
    assert lines[-1]["train_loss"] < 0.6 * lines[0]["train_loss"]
    assert all(line["val_accuracy_all_o"] == lines[0]["val_accuracy_all_o"] for line in lines)
    rates = [line["learning_rate"] for line in lines]
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < rates[0] < 5e-3


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_scores_are_those_of_seqeval(trained, data, tmp_path, run_main, snapshot, split):
    before = snapshot(trained)
    ended = run_main(
        evaluate, "--data_dir", data, "--model_dir", trained, "--split", split, "--out_dir", tmp_path
    )
    assert (ended.code, ended.out) == (0, "")
    scores = check_scores(tmp_path, data, split)
    if split == "train":
        assert scores["f1"] > 0.2
    if split == "val":
        best = max(metrics_of(trained), key=lambda line: line["val_f1"])
        for key in ("f1", "precision", "recall", "accuracy", "accuracy_all_o"):
            assert scores[key] == pytest.approx(best[f"val_{key}"], abs=1e-12)
        assert scores["loss"] == pytest.approx(best["val_loss"], rel=1e-4)
    assert f"F1 {100 * scores['f1']:.2f}" in ended.err
    assert f"{scores['n_gold']} gold entities, all scored" in ended.err
    assert snapshot(trained) == before


def test_evaluate_writes_into_the_experiment_and_takes_best_or_last(trained, data, tmp_path, run_main):
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder, symlinks=True)
    results = []
    for name in ("last", "best"):
        options = ["--data_dir", data, "--model_dir", folder, "--restore_file", name]
        ended = run_main(evaluate, *options)
        assert ended.code == 0
        assert f"tensors loaded from {folder / name}" in ended.err
        results.append(check_scores(folder, data, "test"))
    assert run_main(evaluate, "--data_dir", data, "--model_dir", folder).code == 0
    assert json.loads((folder / "metrics_test.json").read_text()) == results[1]
    direct = ["--model_dir", folder / "checkpoints" / Path(os.readlink(folder / "last")).name]
    assert run_main(evaluate, "--data_dir", data, *direct, "--out_dir", tmp_path / "new" / "out").code == 0
    assert json.loads((tmp_path / "new" / "out" / "metrics_test.json").read_text()) == results[0]


def test_any_batch_and_window_give_the_same_scores(trained, data, tmp_path, run_main):
    options = ["--data_dir", data, "--model_dir", trained, "--split", "train", "--out_dir", tmp_path]
    found = []
    for batch_tokens in (8192, 64, 1):
        assert run_main(evaluate, *options, "--batch_tokens", batch_tokens).code == 0
        found.append(json.loads((tmp_path / "metrics_train.json").read_text()))
        found[-1]["loss"] = pytest.approx(found[-1]["loss"], rel=1e-4)
    assert found[0]["f1"] == found[1]["f1"] == found[2]["f1"]
    assert found[0]["n_predicted"] == found[1]["n_predicted"] == found[2]["n_predicted"]
    assert run_main(evaluate, *options, "--max_len", 10).code == 0
    check_scores(tmp_path, data, "train")


def test_the_ancestors_file_and_published_weights(start, data, tmp_path, run_main):
    write_published(tmp_path / "published", data)
    folder = tmp_path / "ancestor"
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(ANCESTORS))
    options = ["--data_dir", data, "--model_dir", folder, "--set", "epoch_num=1"]
    ended = run_main(train, *options, "--bert_model_dir", tmp_path / "published")
    assert ended.code == 0, ended.err
    resolved = check_finished(folder, 1)
    assert resolved["encoder"]["hidden_size"] == 32
    assert resolved["params"] == resolved["params"] | ANCESTORS | {"epoch_num": 1}
    assert f"tensors loaded from {tmp_path / 'published'}" in ended.err
    assert "not used: " in ended.err
    assert "cls.predictions" in ended.err
    assert "new, to be trained: the softmax head over 13 tags (BIOES)" in ended.err
    _, ended = start("--bert_model_dir", tmp_path / "published", epoch_num=1)
    assert "the `encoder` key of params.json is not used" in ended.err
    theirs = pytest.importorskip("transformers").AutoModelForTokenClassification.from_pretrained(
        folder / "best"
    )
    assert sorted(theirs.config.id2label.values())[0] == "B-LOC"


def test_nothing_found_is_explained(start):
    folder, ended = start(learning_rate=1e-9, epoch_num=1, scheme="BIO")
    gold = "val F1 is 0. Gold tags: {'"
    (line,) = [line for line in ended.err.splitlines() if line.startswith("val F1 is 0")]
    assert line.startswith(gold)
    assert "learning_rate" in line or "wrong end or type" in line
    assert "val F1 is 0" in (folder / "train.log").read_text()


def test_a_loss_that_is_not_finite_ends_the_run_in_a_line(start):
    folder, ended = start(code=1, learning_rate=1e38, clip_grad=0, warmup=0.0)
    last = ended.err.splitlines()[-1]
    assert last.startswith("error: the loss is nan (epoch 1, batch ")
    assert last.endswith("a lower learning_rate may help")
    assert "Traceback" not in ended.err
    assert not (folder / "last").exists()


@pytest.mark.parametrize(("encoder", "order"), [("bert", -1), *((encoder, 1) for encoder in PUBLISHED)])
def test_a_published_classifier_is_scored_as_it_is(data, tmp_path, run_main, snapshot, encoder, order):
    transformers = pytest.importorskip("transformers")
    tags = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER", "B-ORG", "I-ORG"][::order]
    oracle = write_published(tmp_path / "published", data, tags=tags, encoder=encoder).eval()
    before = snapshot(tmp_path / "published")
    options = ["--data_dir", data, "--model_dir", tmp_path / "published"]
    assert run_main(evaluate, *options, "--out_dir", tmp_path / "out").code == 0
    assert snapshot(tmp_path / "published") == before
    scores = check_scores(tmp_path / "out", data, "test")
    assert scores["n_predicted"] > 10
    tokenizer = transformers.BertTokenizer(str(tmp_path / "published" / "vocab.txt"))
    losses, n_tokens = 0.0, 0
    for sentence in read_split(data, "test").sentences:
        ids = [
            tokenizer.convert_tokens_to_ids(tokenizer.tokenize(t) or ["[UNK]"])[0] for t in sentence.tokens
        ]
        gold = torch.zeros(len(ids), dtype=torch.long) + tags.index("O")
        for start, end, label in sentence.spans:
            gold[start:end] = tags.index(f"I-{label}")
            gold[start] = tags.index(f"B-{label}")
        with torch.no_grad():
            piece_ids = torch.tensor([[tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]])
            logits = oracle(piece_ids).logits[0, 1:-1]
        losses += torch.nn.functional.cross_entropy(logits, gold, reduction="sum").item()
        n_tokens += len(ids)
    assert scores["loss"] == pytest.approx(losses / n_tokens, rel=1e-4)


def test_english_words(tmp_path, run_main, start):
    (tmp_path / "english.txt").write_text(ENGLISH * 6, encoding="utf-8")
    sizes = ["--val_size", 3, "--test_size", 3]
    ended = run_main(
        build_dataset, "--train", tmp_path / "english.txt", "--out_dir", tmp_path / "data", *sizes
    )
    assert ended.code == 0
    folder, _ = start(
        data_dir=tmp_path / "data", epoch_num=12, min_epoch_num=12, encoder=BERT | {"num_hidden_layers": 1}
    )
    resolved = check_finished(folder, 12)
    assert resolved["data"]["unit"] == "word"
    assert run_main(evaluate, "--data_dir", tmp_path / "data", "--model_dir", folder).code == 0
    assert check_scores(folder, tmp_path / "data", "test")["f1"] > 0.8
    text = "Mary Smith lives in London."
    ended = run_main(predict, "--model_dir", folder, "--text", text)
    found = json.loads(ended.out)
    assert {e["text"] for e in found["entities"]} == {"Mary Smith", "London"}
    assert all(text[e["start"] : e["end"]] == e["text"] for e in found["entities"])


def test_illegal_gold_is_logged_with_its_line(data, tmp_path, run_main, start):
    shutil.copytree(data, tmp_path / "data")
    for split in ("train", "test"):
        path = tmp_path / "data" / split / "tags.txt"
        rows = path.read_text().splitlines()
        number = next(i for i, row in enumerate(rows) if "B-LOC" in row)
        rows[number] = rows[number].replace("B-LOC", "I-LOC", 1)
        path.write_text("".join(f"{row}\n" for row in rows))
    folder, ended = start(data_dir=tmp_path / "data", epoch_num=1)
    assert "1 such tags are read as entity starts" in ended.err
    assert "1 such tags are read as entity starts" in (folder / "train.log").read_text()
    ended = run_main(evaluate, "--data_dir", tmp_path / "data", "--model_dir", folder)
    assert ended.code == 0
    assert "1 gold tags are illegal" in ended.err
    scores = json.loads((folder / "metrics_test.json").read_text())
    raw = [row.split() for row in (tmp_path / "data" / "test" / "tags.txt").read_text().splitlines()]
    _, predicted = tags_of(folder / "predictions_test.txt")
    oracle = f1_score(raw, predicted, mode="strict", scheme=IOB2, zero_division=0)
    assert scores["seqeval_strict"]["f1"] == pytest.approx(oracle, abs=1e-12)
    assert scores["n_gold"] == scores["seqeval_strict"]["n_gold"] + 1


def test_labels_that_the_model_lacks_are_missed_gold(trained, data, tmp_path, run_main):
    shutil.copytree(data, tmp_path / "data")
    path = tmp_path / "data" / "test" / "tags.txt"
    path.write_text(path.read_text().replace("-PER", "-GOD"))
    options = ["--data_dir", tmp_path / "data", "--model_dir", trained, "--out_dir", tmp_path]
    ended = run_main(evaluate, *options)
    assert ended.code == 0
    assert "labels that the model does not know, all counted as missed: GOD" in ended.err
    scores = json.loads((tmp_path / "metrics_test.json").read_text())
    assert scores["per_type"]["GOD"]["recall"] == 0
    assert scores["per_type"]["GOD"]["support"] == path.read_text().count("B-GOD")
    assert scores["n_gold"] == path.read_text().count("B-")


def test_no_log_handler_is_left(start):
    start(epoch_num=1)
    assert logging.getLogger("ner").handlers == []


@pytest.mark.parametrize("how", ["head", "head_tail"])
def test_gold_that_is_not_read_is_logged_and_missed(start, data, run_main, how):
    folder, ended = start(long_text=how, max_len=12, epoch_num=1)
    n_gold = sum(len(sentence.spans) for sentence in read_split(data, "val").sentences)
    messages = [line for line in ended.err.splitlines() if line.startswith(f"val: long_text {how} cuts ")]
    assert len(messages) == 1
    assert messages[0].endswith(f"of {n_gold} gold entities are not read, and count as missed")
    ended = run_main(evaluate, "--data_dir", data, "--model_dir", folder, "--split", "val")
    assert ended.code == 0
    assert messages[0] in ended.err
    check_scores(folder, data, "val")
    ended = run_main(evaluate, "--data_dir", data, "--model_dir", folder, "--audit")
    assert (ended.code, ended.err.splitlines()[-1]) == (
        2,
        f"error: --audit: long_text {how} leaves gold unread, expected windows",
    )
