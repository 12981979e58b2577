"""The audit from the command line to audit.md and audit.json."""

import json
import re
import unicodedata
from pathlib import Path

import pytest

import build_dataset
from ner.data.audit import CHECKS
from ner.data.folder import read_split


def bio(*sentences: str) -> str:
    """`bio("北/B-LOC 京")`: each argument is a sentence, each item a token with its tag (default O)."""
    lines = ("".join("{}\t{}\n".format(*f"{item}/O".split("/")[:2]) for item in s.split()) for s in sentences)
    return "\n".join(lines)


TRAIN = bio("北/B-LOC 京/I-LOC 的 \u200b", "北/B-ORG 京/I-ORG", "我 们 在 大 学 学 习 ，", "王/B-PER < b >")
TEST = bio("我 们 在 大 学 学 习 ！", "南/B-LOC 京/I-GPE")


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working directory with a train.txt and a test.txt that have errors."""
    monkeypatch.chdir(tmp_path)
    Path("train.txt").write_text(TRAIN, encoding="utf-8")
    Path("test.txt").write_text(TEST, encoding="utf-8")
    return tmp_path


BUILD = ["--train", "train.txt", "--test", "test.txt", "--val_size", 0, "--unit", "char", "--out_dir", "o"]


def test_a_build_prints_and_writes_its_findings(place, run_main):
    ended = run_main(build_dataset, *BUILD, "--audit")
    assert (ended.code, ended.err) == (0, "")
    assert [line for line in ended.out.splitlines() if line.startswith("audit: ")] == [
        "audit: 1 of 2 test texts lie in train (50.0%): 1 as a whole text, 0 as part of one",
        "audit: 1 surface with several labels, 3 labels in one split alone, "
        "1 sentence with invisible characters, 1 sentence with markup remains",
    ]
    values = json.loads(Path("o/audit.json").read_text(encoding="utf-8"))
    assert values["sentences"] == {"train": 4, "test": 2}
    assert set(values["counts"]) == set(values["findings"]) == set(CHECKS)
    assert [f["places"] for f in values["findings"]["shared_texts"]] == [["test.txt:1"]]
    assert values["findings"]["shared_texts"][0]["other_place"] == "train.txt:9"
    assert [(f["places"], f["tag"]) for f in values["findings"]["illegal_tags"]] == [
        (["test.txt:11"], "I-GPE")
    ]
    page = Path("o/audit.md").read_text(encoding="utf-8")
    for line in (
        "## 1 text that lies in another split",
        "    train.txt:1: U+200B ZERO WIDTH SPACE",
        "    train.txt:18: <b>",
        "    test.txt:11: I-GPE",
        "None: texts with several readings, sentences with links, length outliers.",
    ):
        assert line in page.splitlines()
    assert not re.search(r"[^\n\S ]|\u200b", page)


def test_a_built_set_is_audited_in_its_folder(place, run_main, snapshot):
    run_main(build_dataset, *BUILD, "--audit")
    before = json.loads(Path("o/audit.json").read_text(encoding="utf-8"))
    rest = {name: data for name, data in snapshot(Path("o")).items() if "audit" not in name}
    ended = run_main(build_dataset, "--audit", "--out_dir", "o")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == "written to o: audit.md, audit.json"
    after = json.loads(Path("o/audit.json").read_text(encoding="utf-8"))
    # the build wrote legal tags for the entities that it read
    assert after["counts"] == before["counts"] | {"illegal_tags": 0}
    assert after["findings"]["markup_remains"][0]["places"] == ["train/sentences.txt:4"]
    assert rest == {name: data for name, data in snapshot(Path("o")).items() if "audit" not in name}

    Path("o/test/tags.txt").write_text("O " * 7 + "O\nI-LOC I-LOC\n")
    assert run_main(build_dataset, "--audit", "--out_dir", "o").code == 0
    found = json.loads(Path("o/audit.json").read_text(encoding="utf-8"))["findings"]["illegal_tags"]
    assert [(f["places"], f["tag"]) for f in found] == [(["test/tags.txt:2"], "tag 1 of the line")]


def test_texts_with_spans_are_located_in_their_files(place, run_main):
    text = '{"text": "甲<b>\\n乙</b>", "label": [[0, 1, "X"]]}'
    Path("train.jsonl").write_text(f"\n{text}\n", encoding="utf-8")
    Path("test").mkdir()
    for name, (raw, entities) in {"a": ("甲", "T1\tX 0 1\t甲\n"), "b": ("丙\n丁</b>", "")}.items():
        Path(f"test/{name}.txt").write_text(raw, encoding="utf-8")
        Path(f"test/{name}.ann").write_text(entities, encoding="utf-8")
    options = ["--train", "train.jsonl", "--test", "test", "--val_size", 0, "--split_lines", "--unit", "char"]
    ended = run_main(build_dataset, *options, "--out_dir", "o", "--audit")
    assert (ended.code, ended.err) == (0, "")
    found = json.loads(Path("o/audit.json").read_text(encoding="utf-8"))["findings"]["markup_remains"]
    assert [f["places"] for f in found] == [["train.jsonl:2"], ["train.jsonl:2"], ["test/b.txt:2"]]


def test_files_of_the_same_name_are_distinguished(place, run_main):
    for folder, content in {"a": TRAIN, "b": TEST}.items():
        Path(folder).mkdir()
        Path(folder, "x.txt").write_text(content, encoding="utf-8")
    options = ["--train", "a/x.txt", "--test", "b/x.txt", "--val_size", 1, "--unit", "char", "--out_dir", "o"]
    assert run_main(build_dataset, *options, "--audit").code == 0
    findings = json.loads(Path("o/audit.json").read_text(encoding="utf-8"))["findings"]
    assert [f["places"] for f in findings["markup_remains"]] == [["train x.txt:18"]]
    assert [f["places"] for f in findings["illegal_tags"]] == [["test x.txt:11"]]
    [gpe] = [f for f in findings["labels_in_one_split"] if f["label"] == "GPE"]
    assert gpe["places"] == ["test x.txt:10"]


def test_a_build_without_audit_removes_an_old_one(place, run_main):
    run_main(build_dataset, *BUILD, "--audit")
    ended = run_main(build_dataset, *BUILD)
    assert ended.code == 0
    assert "audit: 1 of 2 test texts lie in train" in ended.out
    assert not list(Path("o").glob("audit*"))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--out_dir", "nowhere"], "nowhere/train: no such split, expected a set made by build_dataset.py"),
        (["--out_dir", "o", "--test", "test.txt"], "--test needs --train; --audit without --train takes"),
        (["--out_dir", "o", "--seed", "3"], "--seed needs --train; --audit without --train takes"),
        (["--out_dir", "o", "--train", "none.txt"], "none.txt: no such file"),
        (["--out_dir", "o", "--train", "o/audit.md"], "o/audit.md: would be overwritten by the build"),
    ],
)
def test_an_error_is_one_line_and_changes_nothing(place, run_main, snapshot, argv, message):
    run_main(build_dataset, *BUILD, "--audit")
    before = snapshot(place)
    ended = run_main(build_dataset, "--audit", *argv)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert snapshot(place) == before


def test_the_test_set_of_people_daily_is_found_in_msra(ner_data, tmp_path, run_main):
    """Compares with Python's `in` over the letters and digits of whole texts."""
    files = {"train": ner_data / "msra/msra_train_bio", "test": ner_data / "people_daily/example.test"}
    options = [item for split, path in files.items() for item in (f"--{split}", path)]
    ended = run_main(build_dataset, *options, "--val_size", 0, "--out_dir", tmp_path / "o", "--audit")
    assert ended.code == 0
    train, test = (
        [letters("".join(s.tokens)) for s in read_split(tmp_path / "o", split).sentences]
        for split in ("train", "test")
    )
    joined, known = "\n".join(train), set(train)
    inside = [i for i, text in enumerate(test) if text in known or (len(text) >= 10 and text in joined)]
    n_whole = sum(test[i] in known for i in inside)
    assert len(inside) > 0.98 * len(test)
    percent = f"{100 * len(inside) / len(test):.1f}%"
    assert (
        f"audit: {len(inside):,} of 4,636 test texts lie in train ({percent}): {n_whole:,} as a whole text, "
        f"{len(inside) - n_whole} as part of one"
    ) in ended.out.splitlines()
    values = json.loads((tmp_path / "o/audit.json").read_text(encoding="utf-8"))
    found = [f for f in values["findings"]["shared_texts"] if f["split"] == "test"]
    assert len(found) == len(inside)
    train_at = dict(zip(first_lines(files["train"]), train, strict=True))
    test_at = dict(zip(first_lines(files["test"]), test, strict=True))
    for f in found:
        assert test_at[line_of(f["places"][0])] in train_at[line_of(f["other_place"])]


def letters(text: str) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", text).casefold())


def first_lines(path: Path) -> list[int]:
    """The line numbers, from 1, of the lines that follow an empty line or begin the file."""
    lines = ["", *path.read_text(encoding="utf-8").split("\n")]
    return [i for i in range(1, len(lines)) if lines[i].strip() and not lines[i - 1].strip()]


def line_of(place: str) -> int:
    return int(place.rpartition(":")[2])
