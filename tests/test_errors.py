"""A user's mistake ends in one line that says where, what was found, and what was expected; exit code 2."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import evaluate
import predict
import train
from ner.data.folder import write_split
from ner.data.sentence import Sentence
from ner.data.tokenizer import learn_vocabulary
from ner.model.build import build_encoder, build_head
from ner.model.directory import save
from ner.model.tagger import Model, Tagger
from ner.runtime import logs, program
from ner.tags import Span, TagSet
from tests.factories import make_inventories

SENTENCES = [
    Sentence.with_spans(tuple("王小明在北京。"), (Span(0, 3, "PER"), Span(4, 6, "LOC"))),
    Sentence.with_spans(tuple("小明访问上海"), (Span(0, 2, "PER"), Span(4, 6, "LOC"))),
]
SIZES = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 32,
}
PARAMS = {"max_len": 32, "batch_size": 2, "epoch_num": 1, "encoder": {"name": "bert", **SIZES}}


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A working directory with a built set, an experiment to begin and a model that can tag."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val", "test"):
        write_split(f"data/{split}", SENTENCES)
    Path("data/tags.txt").write_text("O\nB-LOC\nB-PER\nI-LOC\nI-PER\n")
    Path("data/dataset.json").write_text('{"unit": "char"}')
    Path("experiment").mkdir()
    Path("model").mkdir()
    write_params()
    torch.manual_seed(0)
    tokenizer = learn_vocabulary(token for sentence in SENTENCES for token in sentence.tokens)
    encoder = build_encoder(PARAMS["encoder"], vocab_size=len(tokenizer))
    head = build_head(
        "softmax", encoder.width, make_inventories(TagSet.from_labels(["LOC", "PER"])), {"dropout": 0.1}
    )
    save("model", Model(Tagger(encoder, head), tokenizer, "char", 32))
    return tmp_path


def write_params(**changes):
    Path("experiment/params.json").write_text(json.dumps(PARAMS | changes, indent=2))


def write(path, data):
    """Replaces a file by text or bytes."""
    return lambda: Path(path).write_bytes(data if isinstance(data, bytes) else data.encode())


def edit(path, **changes):
    def change():
        values = json.loads(Path(path).read_text()) | changes
        Path(path).write_text(json.dumps({key: v for key, v in values.items() if v is not None}))

    return change


def remove(path):
    return lambda: shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def params(**changes):
    return lambda: write_params(**changes)


def encoder(**changes):
    return params(encoder=PARAMS["encoder"] | changes)


def nothing():
    pass


def train_first(*argv):
    def train_it():
        assert program.run(train.main, train.parse_args, [*TRAIN, *argv]) == 0

    return train_it


def then(*actions):
    return lambda: [action() for action in actions]


TRAIN = ["--data_dir", "data", "--model_dir", "experiment"]
EVALUATE = ["--data_dir", "data", "--model_dir", "model"]
PREDICT = ["--model_dir", "model"]
SENTENCES_FILE, TAGS_FILE = "data/train/sentences.txt", "data/train/tags.txt"

DATA = {
    "no data_dir": (remove("data"), "data/train: no such split, expected a set made by build_dataset.py"),
    "no split": (remove("data/val"), "data/val: no such split, expected one of train, test"),
    "no sentences": (remove(SENTENCES_FILE), f"{SENTENCES_FILE}: no such file"),
    "sentences are a folder": (
        then(remove(SENTENCES_FILE), lambda: Path(SENTENCES_FILE).mkdir()),
        f"{SENTENCES_FILE}: cannot be read, Is a directory",
    ),
    "split without tags": (remove(TAGS_FILE), "data/train: no tags.txt or entities.jsonl, expected an annot"),
    "ragged tags": (
        write(TAGS_FILE, "O O O O O O O\nO O O O O\n"),
        f"{TAGS_FILE}:2: 5 tags, expected 6 as in {SENTENCES_FILE}",
    ),
    "too few lines of tags": (
        write(TAGS_FILE, "O O O O O O O\n"),
        f"{TAGS_FILE}: 1 lines, expected 2 as in {SENTENCES_FILE}",
    ),
    "B_PER": (
        write(TAGS_FILE, "O O O O O O O\nO B_PER O O O O\n"),
        f"{TAGS_FILE}:2: tag 'B_PER', expected O or B-",
    ),
    "B_PER in the list": (
        write("data/tags.txt", "O\nB_PER\n"),
        "data/tags.txt:2: tag 'B_PER', expected O or B-",
    ),
    "empty list": (write("data/tags.txt", ""), "data/tags.txt: no entity type, expected O and tags such as"),
    "no list": (remove("data/tags.txt"), "data/tags.txt: no such file"),
    "empty sentences": (write(SENTENCES_FILE, ""), f"{SENTENCES_FILE}: empty, expected one sentence a line"),
    "empty line": (
        write(SENTENCES_FILE, "王 小 明\n\n"),
        f"{SENTENCES_FILE}:2: empty token, expected tokens separated by one space",
    ),
    "two spaces": (write(SENTENCES_FILE, "王  小\n"), f"{SENTENCES_FILE}:1: empty token, expected tokens"),
    "not UTF-8": (
        write(SENTENCES_FILE, "王 小\n".encode() + "明".encode("gbk")),
        f"{SENTENCES_FILE}:2: not utf-8, got bytes c3 f7",
    ),
    "unit": (write("data/dataset.json", '{"unit": "byte"}'), "dataset.json: unit 'byte', expected char or"),
}
PARAMETERS = {
    "no params": (remove("experiment/params.json"), "experiment/params.json: no such file"),
    "no directory": (remove("experiment"), "experiment/params.json: no such file"),
    "not JSON": (
        write("experiment/params.json", '{\n"head": softmax}'),
        "params.json:2: not JSON, Expecting",
    ),
    "a key twice": (
        write("experiment/params.json", '{"max_len": 8, "max_len": 9}'),
        "params.json: key 'max_len' twice, expected it once",
    ),
    "too large": (params(batch_size=10**30), "expected a number below 2147483648"),
    "a list": (write("experiment/params.json", "[]"), "params.json: got list, expected one JSON object"),
    "unknown key": (
        params(learning_rat=1.0),
        ": unknown key 'learning_rat', the nearest known one is 'learning_rate'",
    ),
    "unlike any key": (params(qqq=1), ": unknown key 'qqq', expected one of full_finetuning"),
    "text for a number": (params(max_len="128"), "max_len: got '128', expected a whole number"),
    "number for a bool": (params(full_finetuning=1), "full_finetuning: got 1, expected true or false"),
    "bool for a number": (params(epoch_num=True), "epoch_num: got True, expected a whole number"),
    "negative": (params(learning_rate=-1.0), "learning_rate: got -1.0, expected a number above 0"),
    "short window": (params(max_len=4), "max_len: got 4, expected 8 or more"),
    "head": (params(head="spam"), "head: got 'spam', expected one of softmax, crf, span"),
    "schedule": (params(schedule="step"), "schedule: got 'step', expected one of linear, cosine, constant"),
    "scheme": (params(scheme="BILOU"), "scheme: got 'BILOU', expected BIO or BIOES"),
    "scheme of a head without tags": (
        params(head="span", scheme="BIOES"),
        "head 'span': scheme: got 'BIOES', expected one of BIO",
    ),
    "transitions of a head without": (
        params(transition_learning_rate=0.1),
        "transition_learning_rate: got 0.1, expected 0 with head 'softmax', which has no transitions",
    ),
    "layers computed again of an encoder that cannot": (
        params(encoder={"name": "lstm", "hidden_size": 8}, activation_checkpointing=True),
        "params.json: activation_checkpointing: got True, expected false with encoder 'lstm'",
    ),
    "encoder": (encoder(name="roberta"), "encoder.name: got 'roberta', expected one of bert, electra"),
    "encoder without a name": (
        params(encoder=SIZES),
        "encoder.name: got None, expected one of bert, electra",
    ),
    "encoder's key": (
        encoder(hidden_sise=8),
        "unknown key 'hidden_sise', the nearest known one is 'hidden_s",
    ),
    "encoder's size": (encoder(hidden_size=9), "hidden_size: got 9, expected a multiple of"),
    "encoder's type": (encoder(hidden_size="8"), "hidden_size: got '8', expected a whole number"),
    "no encoder": (params(encoder={}), "params.json: no `encoder` key and no --bert_model_dir, expected one"),
    "beyond positions": (params(max_len=33), "max_len: got 33, expected at most 32 as the encoder has posit"),
    "vectors": (
        params(encoder={"name": "lstm", "hidden_size": 8, "character_vectors": "nowhere.txt"}),
        "nowhere.txt: cannot be read, No such file",
    ),
}
COMMANDS = {
    "--loss_scale nan": (["--fp16", "--loss_scale", "nan"], "--loss_scale nan: expected 0 or more"),
    "--seed": (["--seed", "-1"], "--seed -1: expected 0 to"),
    "--set without =": (["--set", "head"], "--set head: expected key=value"),
    "--set unknown": (["--set", "heed=crf"], "unknown key 'heed', the nearest known one is 'head'"),
    "--set type": (["--set", "epoch_num=two"], "epoch_num: got 'two', expected a whole number"),
    "--loss_scale alone": (
        ["--loss_scale", "128"],
        "--loss_scale 128: expected 0 or more, together with --f",
    ),
    "--device": (["--device", "abacus"], "--device abacus: not available"),
    "--threads": (["--threads", "0"], "--threads 0: expected 1 or more"),
    "nothing to restore": (["--restore_file", "last"], "experiment/last: no such checkpoint, expected last"),
    "no such directory": (
        ["--bert_model_dir", "nowhere"],
        "nowhere: no such directory; models are not downloaded by name",
    ),
    "a data directory": (["--bert_model_dir", "data"], "data: no config, expected one of config.json"),
}
MODELS = {
    "vocabulary and config": (
        edit("model/config.json", vocab_size=5),
        "pieces, expected 5 as its config says",
    ),
    "vocabulary and weights": (
        then(
            edit("model/config.json", vocab_size=7),
            write("model/vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n[unused1]\n王\n"),
        ),
        "model: the vocabulary has 7 pieces and the embedding",
    ),
    "not a vocabulary": (write("model/vocab.txt", "a\nb\n"), "vocab.txt: vocabulary without [PAD], [UNK]"),
    "no vocabulary": (remove("model/vocab.txt"), "model: no vocab.txt and no tokenizer.json"),
    "no weights": (remove("model/model.safetensors"), "model: no weights, expected one of model.safetensors"),
    "half the weights": (write("model/model.safetensors", b"\x10"), "expected a whole safetensors file"),
    "another architecture": (
        edit("model/config.json", model_type="roberta"),
        "model/config.json: model_type: got 'roberta', expected one of bert, ernie",
    ),
}


@pytest.fixture
def refuse(run_main, snapshot, capsys):
    """`refuse(module, argv, expected)`: the program ends with one line and leaves everything as it was."""

    def check(module, argv, expected: str):
        before = snapshot(Path())
        ended = run_main(module, *argv)
        assert ended.code == 2, ended
        assert ended.err.count("\n") == 1, ended.err
        assert ended.err.startswith("error: ")
        assert expected in ended.err
        assert ended.out == ""
        assert snapshot(Path()) == before
        assert logs.log.handlers == []

    return check


@pytest.mark.parametrize(("spoil", "expected"), DATA.values(), ids=DATA)
def test_data_that_cannot_be_trained_on(place, refuse, spoil, expected):
    spoil()
    refuse(train, TRAIN, expected)


@pytest.mark.parametrize(("spoil", "expected"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_that_cannot_be(place, refuse, spoil, expected):
    spoil()
    refuse(train, TRAIN, expected)


@pytest.mark.parametrize(("argv", "expected"), COMMANDS.values(), ids=COMMANDS)
def test_commands_that_cannot_be(place, refuse, argv, expected):
    refuse(train, [*TRAIN, *argv], expected)


@pytest.mark.parametrize(("spoil", "expected"), MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("program", ["train", "evaluate", "predict"])
def test_a_model_directory_that_is_none(place, refuse, program, spoil, expected):
    spoil()
    module, argv = {
        "train": (train, [*TRAIN, "--bert_model_dir", "model"]),
        "evaluate": (evaluate, EVALUATE),
        "predict": (predict, [*PREDICT, "--text", "王"]),
    }[program]
    refuse(module, argv, expected)


@pytest.mark.parametrize("program", [evaluate, predict])
@pytest.mark.parametrize(
    ("spoil", "argv", "expected"),
    [
        (remove("model"), [], "model: no such directory, expected a trained experiment or a model directory"),
        (
            nothing,
            ["--model_dir", "experiment"],
            "experiment: no config.json and no best/, expected a traine",
        ),
        (edit("model/config.json", id2label=None), [], "no id2label, expected a model trained for tagging"),
        (
            edit("model/config.json", ner={"head": "spam"}),
            [],
            "head: got 'spam', expected one of softmax, crf, span",
        ),
        (
            edit("model/config.json", ner={"head": "crf"}),
            [],
            "only a directory trained for tagging has a class",
        ),
        (nothing, ["--max_len", "33"], "max_len: got 33, expected 8 or more, at most 32 as the encoder has"),
        (nothing, ["--max_len", "3"], "max_len: got 3, expected 8 or more, at most 32 as the encoder has"),
        (nothing, ["--device", "abacus"], "--device abacus: not available"),
    ],
)
def test_a_model_that_cannot_tag(place, refuse, program, spoil, argv, expected):
    spoil()
    refuse(program, [*(EVALUATE if program is evaluate else [*PREDICT, "--text", "王"]), *argv], expected)


def test_what_cannot_be_scored(place, refuse):
    refuse(
        evaluate, [*EVALUATE, "--split", "dev"], "data/dev: no such split, expected one of train, val, test"
    )
    Path("data/test/tags.txt").unlink()
    refuse(
        evaluate,
        EVALUATE,
        "data/test: no tags.txt or entities.jsonl, expected an annotated split; predict.py tags it",
    )


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["nowhere.txt"], "nowhere.txt: no such file"),
        (["data"], "data: Is a directory"),
        (["--text", "王", "--output", "nowhere/out.jsonl"], "nowhere/out.jsonl: no such directory"),
        (["--data_dir", "data", "--split", "../data/test"], "split '../data/test': expected the name of"),
        (["--text", "王", "--batch_tokens", "0"], "--batch_tokens 0: expected 1 or more"),
        (["--text", "王", "--max_len", "0"], "max_len: got 0, expected 8 or more"),
        (["--data_dir", "data", "--split", "dev"], "data/dev: no such split"),
        (["--text", "好\udcff"], r"--text: not utf-8, got '\u597d\udcff'"),
    ],
)
def test_what_cannot_be_tagged(place, refuse, argv, expected):
    refuse(predict, [*PREDICT, *argv], expected)


def test_a_fresh_start_after_a_mistake_is_a_fresh_start(place, refuse, run_main):
    write_params(head="spam")
    refuse(train, TRAIN, "head: got 'spam'")
    write_params()
    assert run_main(train, *TRAIN).code == 0


def test_what_stands_is_not_overwritten_by_accident_or_by_a_mistake(place, refuse):
    train_first()()
    refuse(train, TRAIN, "experiment: holds results of an earlier run (train.log, metrics.jsonl")
    refuse(train, [*TRAIN, "--overwrite", "--set", "head=spam"], "head: got 'spam'")
    refuse(train, [*TRAIN, "--overwrite", "--bert_model_dir", "nowhere"], "nowhere: no such directory")
    refuse(train, [*TRAIN, "--overwrite", "--data_dir", "nowhere"], "nowhere/train: no such split")


@pytest.mark.parametrize(
    ("spoil", "argv", "expected"),
    [
        (params(learning_rate=0.5), [], "params.learning_rate is 0.5, expected 5e-05 as when the run began"),
        (nothing, ["--set", "epoch_num=9"], "params.epoch_num is 9, expected 1 as when the run began"),
        (nothing, ["--seed", "7"], "seed is 7, expected 2019 as when the run began"),
        (nothing, ["--bf16"], "precision is 'bf16', expected 'fp32' as when the run began"),
        (write(TAGS_FILE, "O O O O O O O\nO O O O O O\n"), [], "data.train/tags.txt is "),
        (write("data/tags.txt", "O\nB-LOC\n"), [], "data/tags.txt: no tags of PER, which train holds"),
        (edit("experiment/resolved.json", tokenizer="0"), [], "tokenizer is "),
        (edit("experiment/resolved.json", encoder={"hidden_size": 1}), [], "encoder.hidden_size is "),
        (nothing, ["--overwrite"], "--restore_file and --overwrite: expected one of them"),
        (nothing, ["--restore_file", "../experiment/last"], "no such checkpoint, expected last, best or"),
        (remove("experiment/resolved.json"), [], "experiment/resolved.json: no such file"),
        (nothing, ["--fp16", "--loss_scale", "8"], "precision is 'fp16', expected 'fp32' as when the run"),
        (edit("experiment/resolved.json", loss_scale=8), [], "loss_scale is 0, expected 8 as when the run"),
        (remove("experiment/last/training_state.json"), [], "training_state.json: no such file, expected as"),
        (remove("experiment/last/manifest.json"), [], "manifest.json: no such file"),
        (write("experiment/last/training_state.safetensors", b"x"), [], "safetensors: damaged, got 1 bytes"),
        (
            nothing,
            ["--restore_file", "checkpoints/step-7"],
            "checkpoints/step-7: no such checkpoint, expected",
        ),
    ],
)
def test_another_run_cannot_go_on(place, refuse, spoil, argv, expected):
    train_first()()
    spoil()
    refuse(train, [*TRAIN, "--restore_file", "last", *argv], expected)


def test_a_file_that_cannot_be_written(place, run_main):
    Path("taken").write_text("")
    ended = run_main(evaluate, *EVALUATE, "--out_dir", "taken")
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == "error: taken: File exists"
