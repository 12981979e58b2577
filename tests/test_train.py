"""From annotated text to scores, by calling the programs: what a user gets, and that a run can be resumed."""

import itertools
import json
import logging
import os
import shutil
import statistics
from pathlib import Path

import ner.training.experiment
import pytest
import torch
from ner.training.experiment import Experiment, Patience
from safetensors.torch import load_file, save_file
from seqeval.metrics import classification_report, f1_score
from seqeval.scheme import IOB2

import build_dataset
import evaluate
import predict
import train
from ner.annotations.spans import Counts, Scores
from ner.data.batches import Batches
from ner.data.folder import read_split
from ner.data.tokenizer import learn_vocabulary
from ner.model.manifest import write_manifest
from ner.runtime import program
from ner.training.averaging import WeightAverage

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


def run_program(module, *argv) -> None:
    """For fixtures, which have no `run_main`."""
    assert program.run(module.main, module.parse_args, [str(item) for item in argv]) == 0


def build_short(folder: Path, n: int, n_lines: int, *options) -> Path:
    """`n` sentences of the sample, of fewer than `n_lines` lines, built."""
    blocks = SAMPLE.read_text(encoding="utf-8").split("\n\n")
    short = [block for block in blocks if 2 < block.count("\n") < n_lines][:n]
    (folder / "short.bio").write_text("\n\n".join(short) + "\n\n", encoding="utf-8")
    run_program(build_dataset, "--train", folder / "short.bio", "--out_dir", folder / "built", *options)
    return folder / "built"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Sixty short sentences of the sample: forty to train on, ten each for val and test."""
    folder = tmp_path_factory.mktemp("data")
    build_short(folder, 60, 36, "--val_size", 10, "--test_size", 10)
    assert [len(read_split(folder / "built", s).sentences) for s in ("train", "val", "test")] == [40, 10, 10]
    return folder / "built"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    """An experiment over BERT that ran to its end."""
    folder = make_experiment(tmp_path_factory.mktemp("trained"), epoch_num=8, min_epoch_num=8)
    run_program(train, "--data_dir", data, "--model_dir", folder)
    return folder


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """`whole("--bf16", head="crf")`: as `start`, a run without a break, made once."""
    made = {}

    def run(*argv, **params) -> Path:
        key = json.dumps([argv, params])
        if key not in made:
            made[key] = make_experiment(tmp_path_factory.mktemp("whole"), **params)
            run_program(train, "--data_dir", data, "--model_dir", made[key], *argv)
        return made[key]

    return run


@pytest.fixture
def start(data, tmp_path, run_main):
    """`start("--bf16", head="crf")`: trains a new experiment with these parameters and options."""

    def run(*argv, code=0, name="experiment", data_dir=data, **params):
        folder = make_experiment(tmp_path / name, **params)
        ended = run_main(train, "--data_dir", data_dir, "--model_dir", folder, *argv)
        assert ended.code == code, ended.err
        assert ended.out == ""
        return folder, ended

    return run


def make_experiment(folder, **params) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "params.json").write_text(json.dumps({**PARAMS, **params}, indent=2))
    return folder


def metrics_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def without_times(folder) -> list[dict]:
    return [{key: value for key, value in line.items() if key not in TIMES} for line in metrics_of(folder)]


def check_finished(folder, n_epochs):
    """All that DESIGN promises of an experiment's directory."""
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
    """Gold and predicted tags of `predictions_<split>.txt`, read as a stranger would."""
    blocks = path.read_text(encoding="utf-8").removesuffix("\n\n").split("\n\n")
    rows = [[line.split("\t") for line in block.split("\n")] for block in blocks]
    assert all(len(columns) == 3 for row in rows for columns in row)
    return [[columns[1] for columns in row] for row in rows], [
        [columns[2] for columns in row] for row in rows
    ]


def check_scores(folder, data_dir, split):
    """The scores that stand there are those that seqeval gives to the predictions that stand there."""
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


def test_the_same_seed_is_the_same_run_and_another_is_not(start, trained):
    again, _ = start(epoch_num=8, min_epoch_num=8)
    assert without_times(again) == without_times(trained)
    assert same_weights(again, trained)
    other, _ = start("--seed", 7, name="other", epoch_num=1)
    assert metrics_of(other)[0]["train_loss"] != metrics_of(trained)[0]["train_loss"]


def read_epochs(folder, checkpoint) -> list[dict]:
    """The lines of metrics.jsonl up to the checkpoint of an epoch's end."""
    n_epochs = json.loads((checkpoint / "training_state.json").read_text())["progress"]["epoch"]
    return metrics_of(folder)[:n_epochs]


def interrupt_at_epoch(monkeypatch, epoch):
    go_on = Experiment._epoch

    def stop(experiment):
        if experiment.progress.epoch == epoch:
            raise KeyboardInterrupt
        go_on(experiment)

    monkeypatch.setattr(Experiment, "_epoch", stop)


def interrupt_at_call(monkeypatch, number):
    """When an epoch begins for the `number`-th time, in whichever run."""
    go_on, calls = Experiment._epoch, itertools.count(1)

    def stop(experiment):
        if next(calls) == number:
            raise KeyboardInterrupt
        go_on(experiment)

    monkeypatch.setattr(Experiment, "_epoch", stop)


@pytest.mark.parametrize("second_f1", [0.6, 0.4])
def test_scores_of_an_earlier_best_do_not_stay(data, tmp_path, run_main, monkeypatch, second_f1):
    """A run was cut off, scored, and goes on: evaluate.py's files stay while they are those of `best`."""
    plan = iter([0.5, second_f1])

    def told(*args, **options):
        n_correct = round(1000 * next(plan))
        return Scores(Counts(n_gold=1000, n_predicted=1000, n_correct=n_correct)), 1.0, []

    folder = make_experiment(tmp_path, encoder=LSTM, epoch_num=2)
    options = ["--data_dir", data, "--model_dir", folder]
    with monkeypatch.context() as patch:
        patch.setattr(ner.training.experiment, "evaluate", told)
        interrupt_at_call(patch, 2)
        assert run_main(train, *options).code == 130
    assert run_main(evaluate, *options).code == 0
    scores = {path: path.read_bytes() for path in folder.glob("*_test.*")}
    assert len(scores) == 3
    monkeypatch.setattr(ner.training.experiment, "evaluate", told)
    assert run_main(train, *options, "--restore_file", "last").code == 0
    left = {path: path.read_bytes() for path in folder.glob("*_test.*")}
    assert left == ({} if second_f1 > 0.5 else scores)
    said = "removed, scores of an earlier best: metrics_test.json, predictions_test.jsonl"
    assert (said in (folder / "train.log").read_text()) == (second_f1 > 0.5)


def interrupt_after_saving(monkeypatch, n_saves):
    save, n_saved = ner.training.experiment.save_checkpoint, []

    def stop(*args, **options):
        save(*args, **options)
        n_saved.append(1)
        if len(n_saved) == n_saves:
            raise KeyboardInterrupt

    monkeypatch.setattr(ner.training.experiment, "save_checkpoint", stop)


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
    with monkeypatch.context() as patch:  # what was trained after it is gone before training goes on
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
    assert "results of an earlier run stand here" in ended.err
    assert "--restore_file last goes on with it, --overwrite begins anew" in ended.err
    assert snapshot(folder) == before
    (folder / "notes.txt").write_text("mine")
    assert run_main(train, *command, "--overwrite").code == 0
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
    check_finished(folder, 2)
    assert without_times(folder) == lines


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


def write_published(folder, data_dir, *, tags=None, encoder="bert"):
    """What transformers saves, random weights, with a vocabulary for these data beside it."""
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
    assert train.build_scaler(torch.device("cpu"), "fp16", 128).get_scale() == 128
    assert train.build_scaler(torch.device("cpu"), "fp16", 0).get_scale() == 2**16
    assert not train.build_scaler(torch.device("cpu"), "bf16", 0).is_enabled()
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


def test_rdrop_needs_a_dropout(start, data, tmp_path):
    params = {"rdrop": 1.0, "head_dropout": 0.0}
    still = dict.fromkeys(("piece_dropout_prob", "embedding_dropout_prob", "hidden_dropout_prob"), 0.0)
    _, ended = start(code=2, encoder=LSTM | still, **params)
    assert "rdrop: got 1.0, expected 0 where there is no dropout" in ended.err
    write_published(tmp_path / "published", data)
    options = ["--bert_model_dir", tmp_path / "published"]
    _, ended = start(*options, code=2, full_finetuning=False, **params)
    assert "rdrop: got 1.0, expected 0 where there is no dropout" in ended.err
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
        return Scores(Counts(n_gold=10_000, n_predicted=10_000, n_correct=round(10_000 * f1))), 1.0, []

    monkeypatch.setattr(ner.training.experiment, "evaluate", evaluate_as_told)
    folder, _ = start(patience=0.02, patience_num=1, min_epoch_num=1)
    assert [line["val_f1"] for line in metrics_of(folder)] == [0.5, 0.51, 0.5101]


def test_patience_counts_as_the_ancestor_does():
    patience = Patience()
    f1s = [0.5, 0.5001, 0.4, 0.5002, 0.6, 0.6, 0.61]
    best = [patience.update(f1, 0.0002) for f1 in f1s]
    assert best == [True, True, False, True, True, False, True]
    counts, patience = [], Patience()
    for f1 in f1s:
        patience.update(f1, 0.0002)
        counts.append(patience.n_without_gain)
    assert counts == [0, 1, 2, 3, 0, 1, 0]


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


def test_illegal_gold_is_said_where_it_stands(data, tmp_path, run_main, start):
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


def test_nothing_is_left_listening(start):
    start(epoch_num=1)
    assert logging.getLogger("ner").handlers == []


@pytest.mark.parametrize("head", ["softmax", "crf"])
def test_a_student_learns_from_a_teacher(trained, start, data, tmp_path, run_main, head):
    """A BERT teaches an LSTM, by gold and by text that has none."""
    text = tmp_path / "more.txt"
    lines = (data / "test" / "sentences.txt").read_text(encoding="utf-8").splitlines()
    text.write_text("\n".join(line.replace(" ", "") for line in lines), encoding="utf-8")
    options = ["--teacher", trained, "--unlabelled", text]
    params = {"encoder": LSTM, "head": head, "epoch_num": 2, "distillation_weight": 0.7}
    folder, ended = start(*options, **params)
    assert "10 of the sentences have no labels but its own" in ended.err
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
def test_a_lesson_that_cannot_be(trained, start, options, params, message):
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


@pytest.mark.parametrize("how", ["head", "head_tail"])
def test_gold_that_is_not_read_is_said_and_missed(start, data, run_main, how):
    folder, ended = start(long_text=how, max_len=12, epoch_num=1)
    n_gold = read_split(data, "val").n_entities
    said = [line for line in ended.err.splitlines() if line.startswith(f"val: long_text {how} cuts ")]
    assert len(said) == 1
    assert said[0].endswith(f"of {n_gold} gold entities are not read, and count as missed")
    ended = run_main(evaluate, "--data_dir", data, "--model_dir", folder, "--split", "val")
    assert ended.code == 0
    assert said[0] in ended.err
    check_scores(folder, data, "val")
    ended = run_main(evaluate, "--data_dir", data, "--model_dir", folder, "--audit")
    assert (ended.code, ended.err.splitlines()[-1]) == (
        2,
        f"error: --audit: long_text {how} leaves gold unread, expected windows",
    )


SERIES = ["--seeds", 1, 2, 3]


@pytest.fixture(scope="module")
def series(data, tmp_path_factory) -> Path:
    """Three seeds, two epochs each."""
    folder = make_experiment(tmp_path_factory.mktemp("series"), epoch_num=2)
    run_program(train, "--data_dir", data, "--model_dir", folder, *SERIES)
    return folder


def same_but_for_times(one: Path, other: Path, snapshot) -> None:
    """File by file; seconds stand in the metrics, and the command in the log and resolved.json."""
    first, second = snapshot(one), snapshot(other)
    assert first.keys() == second.keys()
    told = {"train.log", "metrics.jsonl", "resolved.json"}
    assert {name for name in first if first[name] != second[name]} <= told
    assert without_times(one) == without_times(other)
    resolved = [json.loads((folder / "resolved.json").read_text()) for folder in (one, other)]
    assert [values.pop("command").split()[0] for values in resolved] == ["train.py", "train.py"]
    assert resolved[0] == resolved[1]


def test_a_series_is_separate_runs(series, data, tmp_path, snapshot, run_main):
    assert {path.name for path in series.iterdir()} == {"params.json", "seed-1", "seed-2", "seed-3"}
    copy = tmp_path / "copy"
    for seed in (1, 2, 3):
        single = series / f"seed-{seed}"
        shutil.copytree(single, copy / f"seed-{seed}", symlinks=True)
        shutil.rmtree(single)
        single.mkdir()
        shutil.copy(series / "params.json", single)
        options = ["--data_dir", data, "--model_dir", single, "--seed", seed]
        assert run_main(train, *options).code == 0
        same_but_for_times(copy / f"seed-{seed}", single, snapshot)
        check_finished(single, 2)
    losses = {metrics_of(series / f"seed-{seed}")[0]["train_loss"] for seed in (1, 2, 3)}
    assert len(losses) == 3
    assert run_main(evaluate, "--data_dir", data, "--model_dir", copy / "seed-2").code == 0
    check_scores(copy / "seed-2", data, "test")


def test_a_series_says_mean_and_deviation(series, data, run_main):
    def kept():
        return [(without_times(folder), (folder / "best").resolve()) for folder in sorted(series.glob("s*"))]

    before = kept()
    options = ["--data_dir", data, "--model_dir", series, *SERIES]
    ended = run_main(train, *options, "--restore_file", "last")
    assert (ended.code, ended.out) == (0, "")
    f1s = [max(100 * line["val_f1"] for line in metrics_of(series / f"seed-{i}")) for i in (1, 2, 3)]
    mean, deviation = statistics.mean(f1s), statistics.stdev(f1s)
    said = f"best val F1 of 3 seeds: mean {mean:.2f}, standard deviation {deviation:.2f} (n - 1)"
    assert ended.err.splitlines()[-1] == said
    assert "epoch 1/2" not in ended.err
    assert kept() == before


def test_a_series_asks_its_teacher_once(start, trained):
    folder, _ = start("--teacher", trained, "--seeds", 1, 2, epoch_num=1)
    assert len(list(folder.glob("soft_labels-*.npy"))) == 1
    assert not list(folder.glob("seed-*/soft_labels-*.npy"))
    assert len(list(folder.glob("seed-*/distillation.json"))) == 2


def test_a_series_goes_on_where_it_stopped(start, series, data, run_main, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at_call(patch, 4)  # the second epoch of the second run
        stopped, ended = start(*SERIES, code=130, epoch_num=2)
    assert not (stopped / "seed-3").exists()
    before = without_times(stopped / "seed-1")
    (stopped / "seed-3").mkdir()  # as a run leaves it that was killed before its first checkpoint
    shutil.copy(stopped / "params.json", stopped / "seed-3")
    (stopped / "seed-3" / "resolved.json").write_text("{}")
    options = ["--data_dir", data, "--model_dir", stopped, *SERIES]
    refused = run_main(train, *options)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert f"{stopped / 'seed-1'}: results of an earlier run stand here" in refused.err
    ended = run_main(train, *options, "--restore_file", "last")
    assert ended.code == 0, ended.err
    assert without_times(stopped / "seed-1") == before
    for seed in (1, 2, 3):
        check_finished(stopped / f"seed-{seed}", 2)
        assert without_times(stopped / f"seed-{seed}") == without_times(series / f"seed-{seed}")
        assert same_weights(stopped / f"seed-{seed}", series / f"seed-{seed}")
    log = (stopped / "seed-2" / "train.log").read_text()
    assert log.count("going on with epoch 2") == 1
    (stopped / "seed-1" / "notes.txt").write_text("mine")
    assert run_main(train, *options, "--overwrite", "--set", "epoch_num=1").code == 0
    assert [len(metrics_of(stopped / f"seed-{seed}")) for seed in (1, 2, 3)] == [1, 1, 1]
    assert (stopped / "seed-1" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", 4, 1], "seed-1: results of an earlier run stand here"),
        (["--seeds", 4, 5, 4], "--seeds: got 4 5 4, expected different ones"),
        (["--seeds", 4, -1], "--seed -1: expected 0 to"),
        (
            ["--seeds", 1, "--restore_file", "best"],
            "--restore_file best: expected last, as there are --seeds",
        ),
        (["--seeds", 1, "--restore_file", "last", "--overwrite"], "expected one of them"),
        (
            ["--seeds", 4, 1, "--restore_file", "last", "--set", "epoch_num=3"],
            "seed-1: params.epoch_num is 3, expected 2 as when the run began",
        ),
        (["--seeds", 4, "--set", "head=crff"], "head: got 'crff'"),
    ],
)
def test_a_series_that_cannot_be_changes_nothing(series, data, run_main, snapshot, options, message):
    before = snapshot(series)
    ended = run_main(train, "--data_dir", data, "--model_dir", series, *options)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err.splitlines()[-1]
    assert snapshot(series) == before


def test_a_series_does_not_replace_other_parameters(series, data, run_main, snapshot):
    (series / "seed-9").mkdir()
    make_experiment(series / "seed-9", epoch_num=1)
    before = snapshot(series)
    options = ["--data_dir", data, "--model_dir", series, "--seeds", 9]
    ended = run_main(train, *options)
    own = series / "seed-9" / "params.json"
    expected = (
        f"error: {own}: differs, expected the same as {series / 'params.json'}; --overwrite replaces it"
    )
    assert (ended.code, ended.err) == (2, f"{expected}\n")
    assert snapshot(series) == before
    assert run_main(train, *options, "--overwrite").code == 0
    assert own.read_bytes() == (series / "params.json").read_bytes()
    shutil.rmtree(series / "seed-9")


def test_one_seed_or_several(capsys):
    with pytest.raises(SystemExit) as ended:
        train.parse_args(["--seed", "1", "--seeds", "1", "2"])
    assert ended.value.code == 2
    assert "--seeds: not allowed with argument --seed" in capsys.readouterr().err
