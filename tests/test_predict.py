"""predict.py: every line in gives one JSON line out, and every entity is where it says it is."""

import io
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluate
import predict
from ner.data.batch import Batch
from ner.data.folder import read_split, write_split
from ner.data.sentence import Sentence
from ner.data.tokenizer import learn_vocabulary
from ner.data.word_rules import learn_rules
from ner.errors import DataError
from ner.heads import HEADS
from ner.inference.predict import split_texts
from ner.model.build import build_encoder, build_head
from ner.model.directory import load, save
from ner.model.tagger import Model, Tagger
from ner.tags import Span, TagSet
from tests.factories import make_inventories
from tools import fill_mask, vectors

CHARACTERS = "王小明在北京。中国银行上海市长访问"
WORDS = "John Smith lives in New York , said the U.S. bank ; it 's a test of Chinese words Ltd. no"
ODD_LINES = [
    "王小明在北京访问中国银行上海市长。",
    "",
    "   ",
    "\t",
    " 王小明\u3000在 北京 ",
    "在\r北京",
    "\t",
    "中国\u2028银行\u2029上海\x85市长\x0b王\x0c明",
    "王😀小明👩‍👩‍👧在𠮷北京🇨🇳",
    "e\u0301 王\u200b小\ufeff明\ue000\ufffd\x00在",
    "[SEP] [CLS] [PAD] [UNK] 王明",
    'a "quoted" \\ back\\u0041slash {"json": 1}',
    "JOHN Smith lives in New York, said the U.S. bank; it's a test.",
    "北" * 70,
    "",
]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
}
ENCODERS = {
    "bert": {"name": "bert", **SIZES},
    "electra": {"name": "electra", **SIZES, "embedding_size": 12},
    "albert": {"name": "albert", **SIZES, "embedding_size": 12, "num_hidden_layers": 2},
    "distilbert": {
        "name": "distilbert",
        "dim": 16,
        "n_layers": 1,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 64,
    },
    "lstm": {"name": "lstm", "hidden_size": 16, "embedding_size": 12, "bigram_size": 4, "max_bigrams": 9},
}


def write_model(folder, *, unit="char", encoder="bert", head="softmax", max_len=24, **options):
    """A model with random weights, drawn wide enough that it is sure of many entities."""
    torch.manual_seed(3)
    tokenizer = learn_vocabulary([*(CHARACTERS * 3 + "😀e[]"), *(WORDS.split() * 3)])
    built = build_encoder(ENCODERS[encoder], vocab_size=len(tokenizer))
    head = build_head(
        head,
        built.width,
        make_inventories(TagSet.from_labels(["LOC", "ORG", "PER"], "BIO")),
        {"dropout": 0.1},
    )
    tagger = Tagger(built, head)
    with torch.no_grad():
        for name, parameter in tagger.named_parameters():
            if name.endswith(("word_embeddings.weight", "characters.weight", "classifier.weight")):
                parameter.normal_(std=2.0)
    folder.mkdir()
    save(folder, Model(tagger, tokenizer, unit, max_len, **options))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {unit: write_model(folder / unit, unit=unit) for unit in ("char", "word")}


@pytest.fixture
def sizes(monkeypatch) -> list[torch.Size]:
    """Shapes of every encoder call of the programs that run."""
    seen = []
    encode = Tagger.encode

    def watched(tagger: Tagger, batch: Batch):
        hook = tagger.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
        try:
            return encode(tagger, batch)
        finally:
            hook.remove()

    monkeypatch.setattr(Tagger, "encode", watched)
    return seen


def lines_of(ended) -> list[dict]:
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("\n") or not ended.out
    return [json.loads(line) for line in ended.out.split("\n")[:-1]]


def give_stdin(monkeypatch, data: bytes):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


def test_truncated_text_is_reported(models, tmp_path, run_main):
    short = write_model(tmp_path / "short", long_text="head")
    text = "王小明在北京访问中国银行上海市长" * 3
    warning = "long_text head: texts of more than 22 pieces are truncated; "
    ended = run_main(predict, "--model_dir", short, "--text", text)
    assert (ended.code, ended.err) == (0, warning + "--long_text windows reads all\n")
    assert max(entity["end"] for entity in json.loads(ended.out)["entities"]) <= 22
    whole = lines_of(run_main(predict, "--model_dir", models["char"], "--text", text))
    options = ("--text", text, "--long_text", "windows")
    assert lines_of(run_main(predict, "--model_dir", short, *options)) == whole
    assert max(entity["end"] for entity in whole[0]["entities"]) > 22


def check_entities(line: dict):
    assert list(line) == ["text", "entities"]
    end_before = 0
    for entity in line["entities"]:
        assert list(entity) == ["start", "end", "label", "text", "score"]
        assert end_before <= entity["start"] < entity["end"] <= len(line["text"])
        assert line["text"][entity["start"] : entity["end"]] == entity["text"]
        assert entity["label"] in ("LOC", "ORG", "PER")
        assert 0 < entity["score"] <= 1
        end_before = entity["end"]


def without_scores(line: dict) -> list[tuple]:
    return [(e["start"], e["end"], e["label"]) for e in line["entities"]]


@pytest.mark.parametrize("unit", ["char", "word"])
@pytest.mark.parametrize("ending", ["\n", ""], ids=["last newline", "no last newline"])
def test_lines_in_are_json_lines_out(models, tmp_path, run_main, unit, ending):
    lines = [*ODD_LINES[:-1], "王"]
    path = tmp_path / "texts.txt"
    path.write_bytes(("\n".join(lines) + ending).encode())
    found = lines_of(run_main(predict, path, "--model_dir", models[unit]))
    assert [line["text"] for line in found] == lines
    for line in found:
        check_entities(line)
    assert sum(len(line["entities"]) for line in found) > len(lines)
    if unit == "word":
        assert [found[i]["entities"] for i in (1, 2, 3)] == [[], [], []]


@pytest.mark.parametrize("unit", ["char", "word"])
def test_a_file_stdin_and_text_say_the_same(models, tmp_path, run_main, monkeypatch, unit):
    data = "".join(f"{line}\n" for line in ODD_LINES).encode()
    (tmp_path / "texts.txt").write_bytes(data)
    options = ["--model_dir", models[unit]]
    from_file = run_main(predict, tmp_path / "texts.txt", *options)
    give_stdin(monkeypatch, data)
    assert run_main(predict, *options) == from_file
    texts = [item for line in ODD_LINES for item in ("--text", line)]
    assert run_main(predict, *texts, *options) == from_file
    ended = run_main(predict, *texts, *options, "--output", tmp_path / "out.jsonl")
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"written to {tmp_path / 'out.jsonl'}\n"
    assert (tmp_path / "out.jsonl").read_bytes().decode() == from_file.out


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("head", ["softmax", "crf"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_one_by_one_equals_all_together(tmp_path, run_main, encoder, head):
    model_dir = write_model(tmp_path / "model", encoder=encoder, head=head)
    options = ["--model_dir", model_dir]
    texts = [item for line in ODD_LINES for item in ("--text", line)]
    together = lines_of(run_main(predict, *texts, *options, "--batch_tokens", 100))
    assert sum(len(line["entities"]) for line in together) > 10
    for text, line in zip(ODD_LINES, together, strict=True):
        (alone,) = lines_of(run_main(predict, "--text", text, *options))
        assert alone["text"] == line["text"] == text
        assert without_scores(alone) == without_scores(line)
        scores = [[entity["score"] for entity in each["entities"]] for each in (alone, line)]
        assert scores[0] == pytest.approx(scores[1])


BLANK = [" ", "\t", "\u3000", "\xa0", "\u2028", "\x85", "\u200b", "\ufeff", "\u200d", "\x00", "\u3164"]


@pytest.mark.parametrize("head", HEADS)
def test_no_entity_begins_or_ends_with_what_is_not_visible(tmp_path, run_main, head):
    model_dir = write_model(tmp_path / "model", head=head)
    random = np.random.default_rng(0)
    texts = ["".join(random.choice([*CHARACTERS[:6], *BLANK], size=30)) for _ in range(12)]
    argv = [item for text in [*texts, "".join(BLANK)] for item in ("--text", text)]
    *found, nothing = lines_of(run_main(predict, "--model_dir", model_dir, *argv))
    assert nothing["entities"] == []
    entities = [entity for line in found for entity in line["entities"]]
    assert entities
    for entity in entities:
        assert entity["text"][0] not in BLANK
        assert entity["text"][-1] not in BLANK


def test_gold_at_white_space_is_counted_and_missed(models, tmp_path, run_main):
    tokens = tuple("王 小明　在")
    write_split(tmp_path / "test", [Sentence.with_spans(tokens, (Span(0, 2, "PER"), Span(4, 5, "PER")))])
    ended = run_main(
        *(evaluate, "--data_dir", tmp_path, "--model_dir", models["char"], "--split", "test"),
        *("--out_dir", tmp_path),
    )
    assert ended.code == 0
    assert "2 gold entities begin or end with white space: never predicted, counted as missed" in ended.err
    scores = json.loads((tmp_path / "metrics_test.json").read_text())
    assert (scores["n_gold"], scores["n_correct"]) == (2, 0)


def test_raw_text_is_cut_by_the_rules_that_the_model_keeps(models, tmp_path, run_main):
    rules = learn_rules([["She", "did", "n't", "see", "O'Hara", "."]] * 5)
    model_dir = write_model(tmp_path / "model", unit="word", words=rules)
    assert load(model_dir).words == rules
    assert load(models["word"]).words is None
    text = "John O'Neil didn't go."
    cuts = {}
    for folder in (model_dir, models["word"]):
        ((_, tokens),) = split_texts(load(folder), [text])
        cuts[folder] = [text[i:j] for i, j in tokens]
    assert cuts[model_dir] == ["John", "O'Neil", "did", "n't", "go", "."]
    assert cuts[models["word"]] == ["John", "O", "'", "Neil", "didn", "'t", "go", "."]
    config = json.loads((model_dir / "config.json").read_text())
    config["ner"]["words"] = {"joins": "a"}
    (model_dir / "config.json").write_text(json.dumps(config))
    ended = run_main(predict, "--model_dir", model_dir, "--text", text)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "config.json: words: got" in ended.err


def test_nothing_in_nothing_out(models, run_main, monkeypatch, tmp_path):
    give_stdin(monkeypatch, b"")
    assert lines_of(run_main(predict, "--model_dir", models["char"])) == []
    (tmp_path / "empty.txt").write_bytes(b"\n")
    assert lines_of(run_main(predict, tmp_path / "empty.txt", "--model_dir", models["char"])) == [
        {"text": "", "entities": []}
    ]


def test_lines_come_in_order_across_chunks(models, run_main):
    texts = [item for line in ODD_LINES for item in ("--text", line)]
    in_chunks = lines_of(run_main(predict, *texts, "--model_dir", models["char"], "--chunk", 3))
    at_once = lines_of(run_main(predict, *texts, "--model_dir", models["char"]))
    assert [line["text"] for line in in_chunks] == ODD_LINES
    assert [*map(without_scores, in_chunks)] == [*map(without_scores, at_once)]


def test_a_chunk_is_answered_before_the_next_is_read(models):
    read = []

    def texts():
        for number in range(6):
            read.append(number)
            yield "王小明"

    model = predict.load(models["char"])
    answers = predict.tag_texts(model, texts(), device=torch.device("cpu"), batch_tokens=100, chunk_texts=2)
    next(answers)
    assert read == [0, 1]


@pytest.mark.parametrize("unit", ["char", "word"])
def test_a_built_split_without_annotation(models, tmp_path, run_main, unit):
    rows = {
        "char": [tuple("王小明在北京"), ("王", " ", "\u3000", "明", "\\"), tuple("中国银行" * 30)],
        "word": [("John", "Smith", "lives"), ("in", "New", "York", ",", "U.S.")],
    }[unit]
    write_split(tmp_path / "data" / "test", [Sentence.with_spans(row, None) for row in rows])
    options = ["--data_dir", tmp_path / "data", "--split", "test", "--model_dir", models[unit]]
    found = lines_of(run_main(predict, *options))
    gap = "" if unit == "char" else " "
    assert [line["text"] for line in found] == [gap.join(row) for row in rows]
    for line, row in zip(found, rows, strict=True):
        check_entities(line)
        starts = [len(gap.join(row[:i])) + (len(gap) if i else 0) for i in range(len(row))]
        ends = [start + len(token) for start, token in zip(starts, row, strict=True)]
        assert all(e["start"] in starts and e["end"] in ends for e in line["entities"])
    ended = run_main(evaluate, *options)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "no tags.txt or entities.jsonl, expected an annotated split; predict.py tags it" in ended.err


def test_it_finds_what_evaluate_scores(models, tmp_path, run_main):
    sentences = [
        Sentence.with_spans(tuple(text), (Span(0, 2, "PER"),)) for text in ODD_LINES if len(text) > 1
    ]
    data = tmp_path / "data"
    write_split(data / "test", sentences)
    assert [s.tokens for s in read_split(data, "test").sentences] == [s.tokens for s in sentences]
    options = ["--data_dir", data, "--split", "test", "--model_dir", models["char"]]
    tagged = lines_of(run_main(predict, *options))
    assert run_main(evaluate, *options, "--out_dir", tmp_path).code == 0
    scored = (tmp_path / "predictions_test.jsonl").read_text().split("\n")[:-1]
    for line, other in zip(tagged, scored, strict=True):
        assert without_scores(line) == [tuple(span) for span in json.loads(other)["predicted"]]


@pytest.mark.parametrize("place", ["file", "standard input"])
def test_a_line_that_is_not_utf8(models, tmp_path, run_main, monkeypatch, place):
    data = "王小明\n在北京\n".encode() + b"\xb1\xb1\xbe\xa9\n" + "上海\n".encode()
    (tmp_path / "texts.txt").write_bytes(data)
    give_stdin(monkeypatch, data)
    argv = [tmp_path / "texts.txt"] if place == "file" else []
    ended = run_main(predict, *argv, "--model_dir", models["char"])
    where = tmp_path / "texts.txt" if place == "file" else place
    assert ended.code == 2
    assert ended.err == f"error: {where}:3: not utf-8, got byte b1\n"


@pytest.mark.parametrize("line_length", [20_000, pytest.param(100_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("batch_tokens", [8192, 10])
def test_a_very_long_line(models, tmp_path, run_main, sizes, line_length, batch_tokens):
    text = (CHARACTERS * (line_length // len(CHARACTERS) + 1))[:line_length]
    path = tmp_path / "texts.txt"
    path.write_text(f"王\n{text}\n明\n", encoding="utf-8")
    options = ["--model_dir", models["char"], "--batch_tokens", batch_tokens]
    found = lines_of(run_main(predict, path, *options))
    assert [len(line["text"]) for line in found] == [1, line_length, 1]
    for line in found:
        check_entities(line)
    assert len(found[1]["entities"]) > line_length / 100
    assert found[1]["entities"][-1]["end"] > line_length - 100
    assert max(shape.numel() for shape in sizes) <= max(batch_tokens, 24)
    assert sum(shape.numel() for shape in sizes) > line_length


def test_a_pipe_is_a_file(models, tmp_path, run_main):
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=("王小明\n".encode(),))
    writer.start()
    (line,) = lines_of(run_main(predict, tmp_path / "pipe", "--model_dir", models["char"]))
    writer.join()
    assert line["text"] == "王小明"


@pytest.mark.parametrize("precision", ["--bf16", "--fp16"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_half_precision_tags_too(tmp_path, run_main, encoder, precision):
    model_dir = write_model(tmp_path / "model", encoder=encoder)
    (line,) = lines_of(run_main(predict, "--text", ODD_LINES[0], "--model_dir", model_dir, precision))
    check_entities(line)
    assert line["entities"]


def test_options_overrule_the_model(models, run_main, sizes):
    text = "John Smith lives in New York , said the U.S. bank ; it 's a test of Chinese words"
    (as_words,) = lines_of(run_main(predict, "--text", text, "--model_dir", models["char"], "--unit", "word"))
    check_entities(as_words)
    inside = {i for i, character in enumerate(text) if i and " " not in text[i - 1 : i + 1]}
    assert as_words["entities"]
    assert not any(entity["start"] in inside for entity in as_words["entities"])
    sizes.clear()
    lines_of(run_main(predict, "--text", text, "--model_dir", models["char"], "--max_len", 12))
    assert {shape[1] for shape in sizes} == {12}


@pytest.mark.parametrize(
    "argv",
    [
        ["texts.txt", "--text", "王"],
        ["--text", "王", "--data_dir", "data", "--split", "test"],
        ["--split", "test"],
        ["--data_dir", "data"],
        ["--bf16", "--fp16"],
        ["--unit", "byte"],
    ],
)
def test_usage(argv):
    with pytest.raises(DataError, match="--help lists the options"):
        predict.parse_args(argv)


@pytest.mark.parametrize("link", ["itself", "symbolic", "hard", "other way", "folder"])
def test_the_output_is_never_the_input(tmp_path, run_main, link):
    path, output = tmp_path / "lines", tmp_path / "out"
    path.write_bytes("王\n\n".encode())
    if link == "itself":
        output = path
    elif link == "symbolic":
        output.symlink_to(path)
    elif link == "hard":
        output.hardlink_to(path)
    elif link == "other way":
        path, output = output, path
        path.symlink_to(output)
    else:
        (tmp_path / "linked").symlink_to(tmp_path)
        output = tmp_path / "linked" / "lines"
    # refused before the model is looked for
    for program in (predict, vectors, fill_mask):
        ended = run_main(program, path, "--output", output, "--model_dir", tmp_path / "none")
        assert (ended.code, ended.err) == (
            2,
            f"error: {output}: is the input, expected another file to write to\n",
        )
    assert path.read_bytes() == "王\n\n".encode()


def test_the_output_is_no_file_of_the_split_that_is_read(models, tmp_path, run_main):
    write_split(tmp_path / "test", [Sentence.with_spans(("王",), None)])
    options = ["--data_dir", tmp_path, "--split", "test", "--model_dir", models["char"], "--output"]
    assert run_main(predict, *options, tmp_path / "test" / "sentences.txt").code == 2
    assert run_main(predict, *options, tmp_path / "tagged.jsonl").code == 0
    assert run_main(predict, *options, tmp_path / "tagged.jsonl").code == 0


def test_the_output_stays_whole_on_an_error(models, tmp_path, run_main):
    path = tmp_path / "lines"
    path.write_text("before")
    (tmp_path / "bad").write_bytes(b"\xe7\x8e\x8b\n\xff\n")
    assert run_main(predict, "--model_dir", models["char"], tmp_path / "bad", "--output", path).code == 2
    assert path.read_text() == "before"
    assert not list(tmp_path.glob("*.unfinished"))


def test_a_bar_on_a_terminal_alone(models, tmp_path, run_main, monkeypatch):
    path = tmp_path / "texts.txt"
    path.write_text("".join(f"{line}\n" for line in ODD_LINES), encoding="utf-8")
    options = ["--model_dir", models["char"], path, "--chunk", 1]
    quiet = run_main(predict, *options)
    assert "B/s" not in quiet.err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    shown = run_main(predict, *options)
    assert shown.out == quiet.out
    assert "B/s" in shown.err


def test_byte_order_marks_of_joined_files_are_skipped_and_said(models, tmp_path, run_main):
    path = tmp_path / "texts.txt"
    lines = "\ufeff王小明在北京\r\n\n\ufeff王小明在北京\nx\ufeff明\n"
    path.write_text(lines, encoding="utf-8", newline="")
    ended = run_main(predict, path, "--model_dir", models["char"])
    found = [json.loads(line) for line in ended.out.splitlines()]
    assert ended.err == f"{path}:1: a byte order mark at the beginning of a line is skipped\n"
    assert found[0] == found[2] == tagged(run_main, models, "王小明在北京")
    assert found[3]["text"] == "x\ufeff明"


def tagged(run_main, models, text):
    (line,) = lines_of(run_main(predict, "--text", text, "--model_dir", models["char"]))
    return line


def test_line_ends_of_either_kind(models, tmp_path, run_main):
    path = tmp_path / "texts.txt"
    path.write_bytes("王在北京\r\n\r\n在\r\r\n北\n京".encode())
    found = lines_of(run_main(predict, path, "--model_dir", models["char"]))
    assert [line["text"] for line in found] == ["王在北京", "", "在\r", "北", "京"]


def test_words_without_spaces_are_reported_once(models, run_main):
    texts = [item for line in ("John", "ฉันชอบเชียงใหม่", "ຂ້ອຍ") for item in ("--text", line)]
    ended = run_main(predict, *texts, "--model_dir", models["word"])
    assert ended.code == 0
    assert ended.err.startswith("text 2 is in Thai, Lao,")
    assert ended.err.count("\n") == 1
    assert "--unit char" in ended.err
    assert run_main(predict, *texts, "--model_dir", models["char"]).err == ""
