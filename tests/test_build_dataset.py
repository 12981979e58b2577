"""build_dataset.py from the command line to the folder: splits, findings, errors, no partial output."""

import json
from pathlib import Path

import pytest

import build_dataset
from ner.annotations.spans import read_labels
from ner.data.folder import read_split, read_unit

LEMONHU_ROWS_THAT_DIFFER = [937, 994, 1734]


def bio(*sentences: str) -> str:
    """`bio("北/B-LOC 京/I-LOC")`: each argument is a sentence, each item a token with its tag."""
    return "\n".join(
        "".join(item.replace("/", "\t") + "\n" for item in sentence.split()) for sentence in sentences
    )


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """An empty working directory with train.txt (20 sentences) and test.txt (2)."""
    monkeypatch.chdir(tmp_path)
    rows = [f"{chr(0x4E00 + i)}/B-LOC 京/I-LOC 。/O" for i in range(20)]
    (tmp_path / "train.txt").write_text(bio(*rows), encoding="utf-8")
    (tmp_path / "test.txt").write_text(bio("上/B-LOC 海/I-LOC", "王/B-PER 。/O"), encoding="utf-8")
    return tmp_path


def test_from_files_to_folder(place, run_main):
    ended = run_main(
        build_dataset, "--train", "train.txt", "--test", "test.txt", "--out_dir", "data/x", "--val_size", 3
    )
    assert (ended.code, ended.err) == (0, "")
    assert [len(read_split("data/x", split).sentences) for split in ("train", "val", "test")] == [17, 3, 2]
    assert read_labels("data/x") == ["LOC"]
    assert Path("data/x/tags.txt").read_text() == "O\nB-LOC\nI-LOC\n"
    facts = json.loads(Path("data/x/dataset.json").read_text())
    assert facts["unit"] == read_unit("data/x", []) == "char"
    assert facts["sources"]["test"]["file"] == "test.txt"
    assert facts["labels_missing_in_train"] == {"test": {"PER": 1}}
    assert facts["splits"]["test"]["entities"] == {"LOC": 1, "PER": 1}
    assert str(place) not in Path("data/x/dataset.json").read_text()
    assert "test: label PER is not in train; 1 of its entities count as missed gold" in ended.out
    lines = ended.out.splitlines()
    assert "                         train  val  test" in lines
    assert "sentences                   17    3     2" in lines
    assert "  PER                        0    0     1" in lines
    assert lines[-1] == "written to data/x"


def test_counts(place, run_main):
    Path("train.txt").write_text(bio("a/B-X b/O", "a/B-Y b/I-Y", "c/O", "d/O " * 20), encoding="utf-8")
    Path("test.txt").write_text("a\nb\n\nc\n")
    ended = run_main(
        build_dataset, "--train", "train.txt", "--test", "test.txt", "--out_dir", "o", "--val_size", 0
    )
    assert ended.code == 0
    facts = json.loads(Path("o/dataset.json").read_text())
    assert facts["splits"]["train"] == {
        "sentences": 4,
        "tokens": 25,
        "entities": {"X": 1, "Y": 1},
        "overlapping": 0,
        "without_entity": 2,
        "length": {"p50": 2, "p95": 20, "max": 20},
        "duplicate_texts": 1,
        "illegal_gold": 0,
    }
    assert facts["splits"]["test"]["entities"] is None
    assert facts["shared_texts"] == {"train & test": 2}
    assert "test: not annotated; predict.py tags it, evaluate.py refuses it" in ended.out
    assert not Path("o/test/tags.txt").exists()


def test_illegal_gold_is_counted_by_split_and_listed_in_full(place, run_main):
    rows = [f"t{i}/O u/I-X" if i % 2 else f"t{i}/B-X u/I-X" for i in range(24)]
    Path("train.txt").write_text(bio(*rows), encoding="utf-8")
    options = ["--train", "train.txt", "--out_dir", "o", "--val_size", 6]
    ended = run_main(build_dataset, *options)
    assert ended.code == 0
    facts = json.loads(Path("o/dataset.json").read_text())
    assert facts["illegal_gold"]["train"] == [f"train.txt:{3 * i + 2}: I-X" for i in range(1, 24, 2)]
    by_split = {
        name: sum(
            s.tokens[0][1:] in {str(i) for i in range(1, 24, 2)} for s in read_split("o", name).sentences
        )
        for name in ("train", "val")
    }
    assert {name: split["illegal_gold"] for name, split in facts["splits"].items()} == by_split
    assert read_split("o", "train").illegal == []
    assert "train.txt: 12 illegal tags, read leniently (--strict refuses)\n  train.txt:5: I-X\n" in ended.out
    assert "  and 2 more, listed in dataset.json" in ended.out

    strict = run_main(build_dataset, *options, "--strict")
    assert strict.code == 2
    assert "train.txt:5: tag 'I-X' is not legal BIO here" in strict.err


def test_cluener_is_built_and_dropped_entities_are_listed(place, run_main):
    text = '{"text": "招商书", "label": {"book": {"招商书": [[0, 2]]}, "company": {"招商": [[0, 1]]}}}'
    Path("train.json").write_text("\n".join([text, text.replace("招商", "中国")]), encoding="utf-8")
    Path("test.json").write_text('{"text": "A B"}', encoding="utf-8")
    options = ["--train", "train.json", "--test", "test.json", "--out_dir", "o", "--format", "cluener"]
    refused = run_main(build_dataset, *options, "--nested", "refuse")
    assert refused.code == 2
    assert "train.json:1: company 0-2 '招商' overlaps book 0-3" in refused.err
    assert run_main(build_dataset, *options, "--scheme", "BIO").code == 2
    ended = run_main(build_dataset, *options, "--nested", "keep_longest", "--val_size", 0)
    assert ended.code == 0
    assert "unit: char, guessed from the text of train" in ended.out
    assert "train.json: 2 entities left out, as asked\n  train.json:1: company 0-2 '招商' over" in ended.out
    assert read_split("o", "test").sentences[0].tokens == ("A", " ", "B")  # the unit of train
    assert sum(len(sentence.spans) for sentence in read_split("o", "train").sentences) == 2
    assert len(json.loads(Path("o/dataset.json").read_text())["left_out"]["train"]) == 2


def test_a_split_without_an_entity_is_reported(place, run_main):
    Path("test.txt").write_text("a\tO\n")
    ended = run_main(build_dataset, "--train", "train.txt", "--test", "test.txt", "--out_dir", "o")
    assert ended.code == 0
    assert "test: annotated, but without a single entity" in ended.out


def _missing(place):
    Path("train.txt").unlink()


def _folder(place):
    Path("train.txt").unlink()
    Path("train.txt").mkdir()


def _out_is_a_file(place):
    Path("out").write_text("mine")


def _parent_is_a_file(place):
    Path("deep").write_text("mine")


def _split_has_a_foreign_file(place):
    Path("out/train").mkdir(parents=True)
    Path("out/train/photo.png").touch()


def _split_is_a_file(place):
    Path("out").mkdir()
    Path("out/train").write_text("mine")


def _input_in_out_dir(place):
    Path("out/train").mkdir(parents=True)
    Path("train.txt").rename("out/train/sentences.txt")


def _text(content: str | bytes):
    data = content if isinstance(content, bytes) else content.encode()
    return lambda place: Path("train.txt").write_bytes(data)


TRAIN = ["--train", "train.txt"]
ERRORS = [
    (_missing, TRAIN, "train.txt: no such file"),
    (_folder, TRAIN, "train.txt: a folder without .txt, expected a file or pairs x.txt and x.ann"),
    (_text(""), TRAIN, "train.txt: empty, expected annotated text"),
    (_text("\n\n"), TRAIN, "train.txt: no sentence"),
    (_text("a\tO\nb\n"), TRAIN, "train.txt:2: 2 columns expected, got 1"),
    (
        _text("a b c O\n"),
        [*TRAIN, "--format", "bio"],
        "train.txt:1: 2 columns expected, got 4 in every row; --format conll",
    ),
    (_text("a\tO\nb\tB_PER\n"), TRAIN, "train.txt:2: tag 'B_PER', expected O or B-"),
    (
        _text("a\tO\nb\tE-X\nc\tI-X\nd\tM-X\n"),
        TRAIN,
        "train.txt:4: tag prefixes E, I, M, expected",
    ),
    (_text(b"a\tO\n\xff\xfeb\tO\n"), TRAIN, "train.txt:2: not utf-8, got bytes ff fe 62 09"),
    (_text("a\n\nb\n"), TRAIN, "train.txt:1: 2 columns expected in train, got 1: no tags"),
    (_text("{\n"), TRAIN, "train.txt:1: not JSON at column 2, Expecting property name"),
    (
        _text("北\tO\n".encode("gb18030")),
        TRAIN,
        "train.txt:1: not utf-8, got bytes b1 b1 09 4f; --encoding gb1",
    ),
    (None, [*TRAIN, "--encoding", "hex"], "--encoding hex: no such encoding, expected one such as gb18030"),
    (None, [*TRAIN, "--columns", "1", "3"], "train.txt: no column 3, expected 1 to 2 or -1 to -2"),
    (None, [*TRAIN, "--columns", "0", "1"], "train.txt: no column 0, expected 1 to 2 or -1 to -2"),
    (None, [*TRAIN, "--columns", "1", "2", "--format", "bio"], "train.txt: --columns with --format bio, exp"),
    (_text('{"text": "a"}'), [*TRAIN, "--scheme", "BIO"], "train.txt: --scheme BIO with --format jsonl, wh"),
    (_text('{"text": "a"}'), TRAIN, "train.txt:1: not annotated, expected entities in train"),
    (
        _text('{"text": "a", "label": []}\n' * 9),
        TRAIN,
        "train.txt: no entity in train, expected at least one",
    ),
    (_text("a\tO\n\nb\tO\n"), TRAIN, "train.txt: no entity in train"),
    (None, [*TRAIN, "--scheme", "BMES"], "train.txt:2: tag 'I-LOC', expected a tag of scheme BMES"),
    (None, [*TRAIN, "--val_size", "20"], "train.txt: 20 sentences, expected more than --val_size 20"),
    (None, [*TRAIN, "--val_size", "9", "--test_size", "11"], "more than --val_size 9 and --test_size 11"),
    (None, [*TRAIN, "--val_size", "5", "--train_size", "16"], "--train_size 16, expected 1 to 15"),
    (None, [*TRAIN, "--train_size", "0"], "--train_size 0, expected 1 to "),
    (None, [*TRAIN, "--val_size", "-1"], "--val_size -1, expected 0 or more"),
    (None, [*TRAIN, "--test", "test.txt", "--test_size", "3"], "--test_size 3 and --test test.txt"),
    (None, [*TRAIN, "--test", "nowhere.txt"], "nowhere.txt: no such file"),
    (None, [], "no --train, expected --train FILE or --download msra"),
    (None, [*TRAIN, "--download", "msra"], "--download msra replaces --train and --test"),
    (None, [*TRAIN, "--download_url", "http://x"], "--download_url without --download"),
    (_out_is_a_file, TRAIN, "out: is a file, expected a folder for --out_dir out"),
    (_parent_is_a_file, [*TRAIN, "--out_dir", "deep/er/out"], "deep: is a file, expected a folder"),
    (_split_has_a_foreign_file, TRAIN, "out/train: holds 'photo.png', expected only"),
    (_split_is_a_file, TRAIN, "out/train: is a file, expected the folder of a split"),
    (
        _input_in_out_dir,
        ["--train", "out/train/sentences.txt"],
        "would be overwritten by the build",
    ),
]


@pytest.mark.parametrize(("prepare", "argv", "message"), ERRORS, ids=[message for _, _, message in ERRORS])
def test_an_error_is_one_line_and_leaves_nothing(place, run_main, snapshot, prepare, argv, message):
    if prepare:
        prepare(place)
    before = snapshot(place)
    ended = run_main(build_dataset, "--out_dir", "out", *argv)
    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert ended.out == ""
    assert snapshot(place) == before


def test_odd_tokens_reach_the_folder_exactly(place, run_main):
    tokens = [" ", "\u3000", "\u200b", "\ufeff", "\\", "\\u0020", "a b", "\u2028", "\x85", "\r"]
    Path("train.txt").write_bytes("".join(f"{t}\tB-X\n" for t in ["first", *tokens]).encode())
    assert run_main(build_dataset, "--train", "train.txt", "--out_dir", "o").code == 0
    assert read_split("o", "train").sentences[0].tokens == ("first", *tokens)


@pytest.fixture(scope="session")
def msra(ner_data, tmp_path_factory) -> Path:
    """MSRA built as in the README."""
    out_dir = tmp_path_factory.mktemp("built") / "msra"
    files = {split: str(ner_data / "msra" / f"msra_{split}_bio") for split in ("train", "test")}
    sizes = ["--val_size", "3000", "--seed", "2019"]
    build_dataset.main(
        build_dataset.parse_args(
            ["--train", files["train"], "--test", files["test"], "--out_dir", str(out_dir), *sizes]
        )
    )
    return out_dir


def test_msra_has_the_published_counts(msra):
    facts = json.loads((msra / "dataset.json").read_text())
    splits = facts["splits"]
    assert {name: split["sentences"] for name, split in splits.items()} == {
        "train": 42000,
        "val": 3000,
        "test": 3442,
    }
    assert splits["test"]["entities"] == {"LOC": 2886, "ORG": 1331, "PER": 1973}
    assert splits["test"]["tokens"] == 172601
    assert splits["test"]["length"]["max"] == 2427
    assert splits["test"]["duplicate_texts"] == 5
    assert set(facts["shared_texts"].values()) == {0}
    assert facts["illegal_gold"] == facts["notes"] == {}
    assert facts["unit"] == "char"
    assert sum(len(sentence.spans) for sentence in read_split(msra, "test").sentences) == 6190


@pytest.mark.parametrize("file", ["sentences.txt", "tags.txt"])
def test_msra_val_and_test_equal_lemonhu_except_three_rows(ner_data, msra, file):
    def lines(path: Path) -> list[str]:
        return [line.rstrip(" ") for line in path.read_text(encoding="utf-8").split("\n")]

    for split, expected in (("val", LEMONHU_ROWS_THAT_DIFFER), ("test", [])):
        ours, theirs = lines(msra / split / file), lines(ner_data / "msra" / f"lemonhu_{split}_{file}")
        assert [i for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b] == expected


def test_msra_built_twice_gives_the_same_bytes(ner_data, run_main, snapshot, tmp_path):
    path = ner_data / "msra" / "msra_test_bio"
    for name in ("one", "two"):
        ended = run_main(build_dataset, "--train", path, "--out_dir", tmp_path / name, "--test_size", 300)
        assert ended.code == 0, ended.err
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
