"""Small experiments for the tests of train.py, and checks of what they leave."""

import itertools
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from seqeval.metrics import classification_report, f1_score
from seqeval.scheme import IOB2

import build_dataset
import ner.training.fine_tuning
import ner.training.run
from ner.data.folder import read_split
from ner.data.tokenizer import learn_vocabulary
from ner.runtime import program

SAMPLE = Path(__file__).parents[1] / "data" / "sample" / "sample.bio"


BERT = {
    "name": "bert",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}


LSTM = {
    "name": "lstm",
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "embedding_size": 16,
    "bigram_size": 8,
    "max_bigrams": 100,
}


# what transformers publishes: its spelling, and the sizes in its config
PUBLISHED = {
    "bert": ("Bert", {}),
    "electra": ("Electra", {"embedding_size": 24}),
    "albert": ("Albert", {"embedding_size": 24, "hidden_act": "relu"}),
    "distilbert": ("DistilBert", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48}),
}


PARAMS = {
    **{"encoder": BERT, "max_len": 32, "batch_size": 6, "learning_rate": 5e-3},
    **{"epoch_num": 4, "min_epoch_num": 4},
}


METRICS = [
    *("epoch", "train_loss", "val_loss", "val_precision", "val_recall", "val_f1", "val_accuracy"),
    *("val_accuracy_all_o", "learning_rate", "seconds", "tokens_per_second", "peak_memory_mb"),
]


TIMES = ("seconds", "tokens_per_second", "peak_memory_mb")


def run_program(module, *argv) -> None:
    """Runs a program in a fixture of wider scope than `run_main`."""
    assert program.run(module.main, module.parse_args, [str(item) for item in argv]) == 0


def build_short(folder: Path, n: int, n_lines: int, *options) -> Path:
    """`n` sentences of the sample, of fewer than `n_lines` lines, built."""
    blocks = SAMPLE.read_text(encoding="utf-8").split("\n\n")
    short = [block for block in blocks if 2 < block.count("\n") < n_lines][:n]
    (folder / "short.bio").write_text("\n\n".join(short) + "\n\n", encoding="utf-8")
    run_program(build_dataset, "--train", folder / "short.bio", "--out_dir", folder / "built", *options)
    return folder / "built"


def make_experiment(folder, **params) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "params.json").write_text(json.dumps({**PARAMS, **params}, indent=2))
    return folder


def metrics_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_times(folder) -> list[dict]:
    return [{key: value for key, value in line.items() if key not in TIMES} for line in metrics_of(folder)]


def check_finished(folder, n_epochs):
    """Checks all files that a finished run leaves; returns resolved.json."""
    assert {path.name for path in folder.iterdir()} == {
        *("params.json", "train.log", "metrics.jsonl", "resolved.json", "checkpoints", "last", "best"),
    }
    lines = metrics_of(folder)
    assert [list(line) for line in lines] == [METRICS] * n_epochs
    assert [line["epoch"] for line in lines] == list(range(1, n_epochs + 1))
    assert all(
        0 <= line[key] <= 1
        for line in lines
        for key in METRICS
        if key.startswith("val_") and key != "val_loss"
    )
    for name in ("last", "best"):
        assert os.readlink(folder / name).startswith("checkpoints/step-")
        assert (folder / name / "model.safetensors").is_file()
    resolved = json.loads((folder / "resolved.json").read_text())
    per_epoch = resolved["steps_an_epoch"]
    best = max(range(n_epochs), key=lambda i: lines[i]["val_f1"])
    assert os.readlink(folder / "last") == f"checkpoints/step-{n_epochs * per_epoch}"
    assert os.readlink(folder / "best") == f"checkpoints/step-{(best + 1) * per_epoch}"
    return resolved


def same_weights(one, other) -> bool:
    first, second = (load_file(folder / "last" / "model.safetensors") for folder in (one, other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def tags_of(path) -> tuple[list[list[str]], list[list[str]]]:
    """Gold and predicted tags of `predictions_<split>.txt`, read without this code."""
    blocks = path.read_text(encoding="utf-8").removesuffix("\n\n").split("\n\n")
    rows = [[line.split("\t") for line in block.split("\n")] for block in blocks]
    assert all(len(columns) == 3 for row in rows for columns in row)
    return [[columns[1] for columns in row] for row in rows], [
        [columns[2] for columns in row] for row in rows
    ]


def check_scores(folder, data_dir, split):
    """Checks the written scores against seqeval's scores of the written predictions; returns them."""
    scores = json.loads((folder / f"metrics_{split}.json").read_text())
    sentences = read_split(data_dir, split).sentences
    gold, predicted = tags_of(folder / f"predictions_{split}.txt")
    raw = (data_dir / split / "tags.txt").read_text().splitlines()
    assert [" ".join(row) for row in gold] == raw
    assert scores["n_gold"] == sum(tag.startswith("B-") for row in raw for tag in row.split())
    assert scores["n_gold"] == sum(len(sentence.spans) for sentence in sentences)
    assert scores["n_predicted"] == sum(tag.startswith("B-") for row in predicted for tag in row)
    assert (scores["n_sentences"], scores["n_tokens"]) == (len(raw), sum(len(row.split()) for row in raw))
    strict = {"mode": "strict", "scheme": IOB2, "zero_division": 0}
    assert scores["f1"] == pytest.approx(f1_score(gold, predicted, **strict), abs=1e-12)
    oracle = classification_report(gold, predicted, output_dict=True, **strict)
    for key, theirs in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert scores[key] == pytest.approx(oracle["micro avg"][theirs], abs=1e-12)
        for label, values in scores["per_type"].items():
            assert values[key] == pytest.approx(oracle[label][theirs], abs=1e-12)
            assert values["support"] == oracle[label]["support"]
    pairs = [(g, p) for gs, ps in zip(gold, predicted, strict=True) for g, p in zip(gs, ps, strict=True)]
    assert scores["accuracy"] == pytest.approx(sum(g == p for g, p in pairs) / len(pairs))
    assert scores["accuracy_all_o"] == pytest.approx(sum(g == "O" for g, _ in pairs) / len(pairs))
    objects = [
        json.loads(line) for line in (folder / f"predictions_{split}.jsonl").read_text().split("\n")[:-1]
    ]
    assert [tuple(line["tokens"]) for line in objects] == [sentence.tokens for sentence in sentences]
    assert [[tuple(span) for span in line["gold"]] for line in objects] == [[*s.spans] for s in sentences]
    correct = sum(len({*map(tuple, o["gold"])} & {*map(tuple, o["predicted"])}) for o in objects)
    assert scores["n_correct"] == correct
    return scores


def read_epochs(folder, checkpoint) -> list[dict]:
    """The lines of metrics.jsonl up to the checkpoint of an epoch's end."""
    n_epochs = json.loads((checkpoint / "training_state.json").read_text())["progress"]["epoch"]
    return metrics_of(folder)[:n_epochs]


def interrupt_at_epoch(monkeypatch, epoch):
    go_on = ner.training.fine_tuning.epoch_steps

    def stop(model, train, update, progress, **options):
        if progress.epoch == epoch:
            raise KeyboardInterrupt
        return go_on(model, train, update, progress, **options)

    monkeypatch.setattr(ner.training.fine_tuning, "epoch_steps", stop)


def interrupt_at_call(monkeypatch, number):
    """Interrupts when an epoch begins for the `number`-th time, counted over all runs."""
    go_on, calls = ner.training.fine_tuning.epoch_steps, itertools.count(1)

    def stop(*args, **options):
        if next(calls) == number:
            raise KeyboardInterrupt
        return go_on(*args, **options)

    monkeypatch.setattr(ner.training.fine_tuning, "epoch_steps", stop)


def interrupt_after_saving(monkeypatch, n_saves):
    save, n_saved = ner.training.run.save_checkpoint, []

    def stop(*args, **options):
        save(*args, **options)
        n_saved.append(1)
        if len(n_saved) == n_saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(ner.training.run, "save_checkpoint", stop)


def write_published(folder, data_dir, *, tags=None, encoder="bert"):
    """Saves a model of transformers with random weights, and a vocabulary for these data; returns it."""
    transformers = pytest.importorskip("transformers")
    tokenizer = learn_vocabulary(t for s in read_split(data_dir, "train").sentences for t in s.tokens)
    folder.mkdir()
    torch.manual_seed(1)
    spelling, own = PUBLISHED[encoder]
    sizes = {} if encoder == "distilbert" else {key: value for key, value in BERT.items() if key != "name"}
    labels = {"id2label": dict(enumerate(tags or "")), "label2id": {t: i for i, t in enumerate(tags or "")}}
    config = getattr(transformers, f"{spelling}Config")(
        **{"vocab_size": len(tokenizer), **sizes, **own, "max_position_embeddings": 200},
        **(labels if tags else {}),
    )
    if tags is None:
        task = "ForMaskedLM" if encoder == "distilbert" else "ForPreTraining"
        model = getattr(transformers, f"{spelling}{task}")(config)
    else:
        model = getattr(transformers, f"{spelling}ForTokenClassification")(config)
        with torch.no_grad():
            model.get_input_embeddings().weight.normal_(std=2.0)
            model.classifier.weight.normal_(std=1.0)
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return model
