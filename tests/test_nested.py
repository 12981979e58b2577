"""Entities inside entities, from JSON lines to predictions, by calling the programs."""

import json
import shutil
from itertools import combinations
from pathlib import Path

import pytest

import build_dataset
import evaluate
import predict
import train
from ner.data.folder import read_split
from ner.model.directory import load
from ner.runtime import program

CITIES, PEOPLE = ["北京", "上海", "巴黎", "纽约"], ["王小明", "李丽", "张伟"]
ENCODER = {
    "name": "lstm",
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "embedding_size": 32,
    "bigram_size": 16,
    "max_bigrams": 99,
}
PARAMS = {
    **{"encoder": ENCODER, "max_len": 32, "batch_size": 4, "learning_rate": 1e-2, "epoch_num": 8},
    **{"min_epoch_num": 8, "head": "global_pointer"},
}


def make_text(city: str, person: str) -> dict:
    """A university with a city in it, and its head, whose title holds both; in code points."""
    text = f"{person}是{city}大学校长"
    school = len(person) + 1
    label = [
        [0, len(person), "PER"],
        [school, school + len(city) + 2, "ORG"],
        [school, school + len(city), "LOC"],
        [school, len(text), "TITLE"],
    ]
    return {"text": text, "label": label}


TEXTS = [make_text(city, person) for city in CITIES for person in PEOPLE]
LONG = {"text": "北京上海巴黎纽约大学", "label": [[0, 10, "ORG"], [0, 2, "LOC"]]}


def run_program(module, *argv) -> None:
    assert program.run(module.main, module.parse_args, [str(item) for item in argv]) == 0


def write_lines(path: Path, values: list[dict]) -> None:
    path.write_text("".join(json.dumps(v, ensure_ascii=False) + "\n" for v in values), encoding="utf-8")


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def make_experiment(folder: Path, **changes) -> Path:
    folder.mkdir()
    (folder / "params.json").write_text(json.dumps(PARAMS | changes))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """All texts as val and five times as train; test has one with an entity longer than any of train's."""
    folder = tmp_path_factory.mktemp("nested")
    write_lines(folder / "train.jsonl", 5 * TEXTS)
    write_lines(folder / "val.jsonl", TEXTS)
    write_lines(folder / "test.jsonl", [*TEXTS[:3], LONG])
    files = [f"--{split}={folder / split}.jsonl" for split in ("train", "val", "test")]
    run_program(build_dataset, *files, "--out_dir", folder / "built")
    return folder / "built"


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory) -> Path:
    folder = make_experiment(tmp_path_factory.mktemp("trained") / "x")
    run_program(train, "--data_dir", data, "--model_dir", folder)
    return folder


def test_a_built_set_holds_what_the_file_holds(data, tmp_path, run_main):
    assert sorted(path.name for path in (data / "train").iterdir()) == ["entities.jsonl", "sentences.txt"]
    for split, texts in (("val", TEXTS), ("test", [*TEXTS[:3], LONG])):
        sentences = read_split(data, split).sentences
        assert ["".join(s.tokens) for s in sentences] == [values["text"] for values in texts]
        assert [sorted(map(list, s.spans)) for s in sentences] == [sorted(v["label"]) for v in texts]
    lines = (data / "train" / "entities.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0]) == sorted(TEXTS[0]["label"])
    facts = json.loads((data / "dataset.json").read_text())
    assert facts["splits"]["val"]["overlapping"] == 3 * len(TEXTS)
    assert (data / "tags.txt").read_text().split() == [
        *("O", "B-LOC", "B-ORG", "B-PER", "B-TITLE", "I-LOC", "I-ORG", "I-PER", "I-TITLE"),
    ]
    shutil.copytree(data, tmp_path / "again")
    ended = run_main(build_dataset, "--train", data.parent / "train.jsonl", "--out_dir", tmp_path / "again")
    assert ended.code == 0
    assert "entities overlap others; only head global_pointer finds them" in ended.out
    ended = run_main(
        *(build_dataset, "--train", data.parent / "train.jsonl", "--out_dir", tmp_path / "again"),
        *("--nested", "keep_longest"),
    )
    assert ended.code == 0
    assert sorted(p.name for p in (tmp_path / "again/train").iterdir()) == ["sentences.txt", "tags.txt"]


def test_nested_entities_are_learned_scored_and_found_in_raw_text(trained, data, run_main, tmp_path):
    log = (trained / "train.log").read_text(encoding="utf-8")
    assert "the global_pointer head over 4 labels, spans of up to 6 tokens; spans may overlap" in log
    assert json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])["val_f1"] == 1.0
    assert (load(trained / "best").tagger.head.max_span_len, load(trained / "best").tagger.head.nested) == (
        *(6, True),
    )
    shutil.copytree(trained, tmp_path / "x", symlinks=True)
    (tmp_path / "x" / "predictions_test.txt").write_text("of an earlier model")
    ended = run_main(evaluate, "--data_dir", data, "--model_dir", tmp_path / "x", "--split", "test")
    assert ended.code == 0
    assert "1 of 14 gold entities are longer than any of train's (6 tokens); this head" in ended.err
    assert "predictions_test.jsonl beside it" in ended.err
    assert not (tmp_path / "x" / "predictions_test.txt").exists()
    rows = read_lines(tmp_path / "x" / "predictions_test.jsonl")
    gold = [{tuple(span) for span in row["gold"]} for row in rows]
    found = [{tuple(span) for span in row["predicted"]} for row in rows]
    assert gold == [{tuple(span) for span in values["label"]} for values in [*TEXTS[:3], LONG]]
    assert gold[:3] == found[:3]
    scores = json.loads((tmp_path / "x" / "metrics_test.json").read_text())
    assert scores["n_gold"] == sum(map(len, gold)) == 14
    assert scores["n_predicted"] == sum(map(len, found))
    assert scores["n_correct"] == sum(len(g & f) for g, f in zip(gold, found, strict=True))
    assert scores["per_type"]["ORG"]["support"] == 4
    tagged = run_main(predict, "--model_dir", trained, "--text", TEXTS[5]["text"])
    entities = json.loads(tagged.out)["entities"]
    assert [[e["start"], e["end"], e["label"]] for e in entities] == sorted(TEXTS[5]["label"])
    assert all(e["text"] == TEXTS[5]["text"][e["start"] : e["end"]] for e in entities)
    built = run_main(predict, "--model_dir", trained, "--data_dir", data, "--split", "test")
    assert [len(json.loads(line)["entities"]) for line in built.out.splitlines()] == [len(f) for f in found]


def test_a_run_goes_on_from_an_earlier_checkpoint(trained, data, tmp_path, run_main):
    shutil.copytree(trained, tmp_path / "x", symlinks=True)
    steps = [int(path.name.partition("-")[2]) for path in (trained / "checkpoints").iterdir()]
    earlier = f"checkpoints/step-{min(steps)}"
    options = ["--data_dir", data, "--model_dir", tmp_path / "x", "--restore_file", earlier]
    ended = run_main(train, *options)
    assert ended.code == 0
    assert f"{earlier}: going on with epoch" in ended.err
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "x" / "last" / name).read_bytes() == (trained / "last" / name).read_bytes()


@pytest.mark.parametrize("precision", ["--bf16", "--fp16"])
@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_accumulation_steps": 2},
        {"rdrop": 1.0, "context": "bilstm"},
        {"multi_dropout": 2},
    ],
    ids=str,
)
def test_every_way_of_training(data, tmp_path, run_main, changes, precision):
    folder = make_experiment(tmp_path / "x", epoch_num=1, **changes)
    assert run_main(train, "--data_dir", data, "--model_dir", folder, precision).code == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"head": "softmax"},
            "train/entities.jsonl:1: entities overlap others, such as [4, 6, 'LOC'], which head",
        ),
        (
            {"head": "crf"},
            "which head 'crf' cannot learn; expected head 'global_pointer', or a set built",
        ),
        ({"head": "span"}, "which head 'span' cannot learn"),
        ({"scheme": "BIOES"}, "head 'global_pointer': scheme: got 'BIOES', expected one of BIO"),
        ({"loss": "dice"}, "loss: got 'dice', which head 'global_pointer' cannot be trained with"),
        (
            {"label_smoothing": 0.1},
            "label_smoothing: got 0.1, which head 'global_pointer' cannot be",
        ),
        (
            {"transition_learning_rate": 0.1},
            "transition_learning_rate: got 0.1, expected 0 with head 'g",
        ),
    ],
)
def test_what_a_head_cannot_do_is_refused_by_name(data, tmp_path, run_main, changes, message):
    folder = make_experiment(tmp_path / "x", **changes)
    ended = run_main(train, "--data_dir", data, "--model_dir", folder)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert message in ended.err


def test_an_audit_needs_probabilities(trained, data, run_main):
    ended = run_main(evaluate, "--data_dir", data, "--model_dir", trained, "--audit")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "a head without probabilities of a tagging" in ended.err


def test_a_config_that_says_nonsense_of_train(trained, tmp_path, run_main):
    for name, value, expected in (
        ("max_span_len", 0, "max_span_len: got 0, expected a whole number above 0"),
        ("nested", 1, "nested: got 1, expected true or false"),
    ):
        folder = tmp_path / name
        shutil.copytree(trained / "best", folder)
        (folder / "manifest.json").unlink(missing_ok=True)
        config = json.loads((folder / "config.json").read_text())
        config["ner"][name] = value
        (folder / "config.json").write_text(json.dumps(config))
        ended = run_main(predict, "--model_dir", folder, "--text", "a")
        assert (ended.code, ended.err) == (2, f"error: {folder / 'config.json'}: {expected}\n")


@pytest.mark.parametrize("head", ["softmax", "crf", "span", "global_pointer"])
def test_a_model_of_flat_data_finds_no_overlaps_and_is_scored_on_those_of_others(
    data, tmp_path, run_main, head
):
    flat = tmp_path / "flat"
    options = [f"--{split}={data.parent / split}.jsonl" for split in ("train", "val")]
    ended = run_main(build_dataset, *options, "--out_dir", flat, "--nested", "keep_longest")
    assert ended.code == 0
    folder = make_experiment(tmp_path / "x", head=head, epoch_num=5)
    assert run_main(train, "--data_dir", flat, "--model_dir", folder).code == 0
    assert json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["val_f1"] > 0.8
    for data_dir, n_overlapping in ((flat, 0), (data, 2 * len(TEXTS))):
        ended = run_main(evaluate, "--data_dir", data_dir, "--model_dir", folder, "--split", "val")
        assert ended.code == 0
        assert (f"{n_overlapping} of {4 * len(TEXTS)} gold entities overlap" in ended.err) == bool(
            n_overlapping
        )
        assert (folder / "predictions_val.txt").exists() == (not n_overlapping)
        for row in read_lines(folder / "predictions_val.jsonl"):
            spans = [span[:2] for span in row["predicted"]]
            assert all(a[1] <= b[0] or b[1] <= a[0] for a, b in combinations(spans, 2))
