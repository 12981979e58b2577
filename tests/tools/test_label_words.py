"""tools/label_words.py: words and flags of every line, in order, and errors of one line."""

import multiprocessing
import sys
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.folder import write_split
from ner.data.sentence import Sentence
from ner.files import OPENERS
from ner.pretraining.plaintext import read_tagged
from tools import label_words

LINES = [
    "林晓梅昨天从北京飞往巴黎，出席法国教育部的会议。",
    "  a/b 和　c//d\t/ 占 3.5% 😀 ​ é",
    "（完）",
    "HTTP://x.cn/y?z=1 是 C++ 的 [MASK] 主页",
]


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(LINES), encoding="utf-8")
    return path


def read(path):
    with OPENERS[path.suffix](path, "rt", encoding="utf-8") as file:
        return file.read()


@pytest.fixture
def threads(monkeypatch):
    """Labels in threads: each new process loads the dictionary of jieba again, which takes seconds."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda method: SimpleNamespace(Pool=ThreadPool))


def test_the_output_is_never_the_input(run_main, text):
    before = text.read_bytes()
    ended = run_main(label_words, "--text", text, "--out_file", text)
    assert (ended.code, ended.err.count("is the input")) == (2, 1)
    assert text.read_bytes() == before


@pytest.mark.parametrize("ending", [".txt", ".gz", ".xz"])
def test_words_and_flags_of_every_line(run_main, text, tmp_path, ending, request):
    if ending != ".txt":
        request.getfixturevalue("threads")
    posseg = pytest.importorskip("jieba.posseg")
    out = tmp_path / f"words{ending}"
    ended = run_main(label_words, "--text", text, "--out_file", out)
    assert ended.code == 0, ended.err
    expected = [[(word, flag) for word, flag in posseg.cut(line.strip()) if word.strip()] for line in LINES]
    assert read(out).splitlines() == [" ".join(f"{w}/{f}" for w, f in line) for line in expected]
    assert ("北京", "ns") in expected[0]
    for line, tagged, words in zip(LINES, read_tagged(out, "char"), read_tagged(out, "word"), strict=True):
        assert "".join(tagged.tokens) == "".join(words.tokens) == "".join(line.split())
        assert [tag[2:] for tag in words.tags] == [tag[2:] for tag in tagged.tags if tag.startswith("B-")]
    assert next(read_tagged(out, "word")).tags == [f"B-{flag}" for _, flag in expected[0]]
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.usefixtures("threads")
def test_the_files_keep_their_order(run_main, text, tmp_path, monkeypatch):
    pytest.importorskip("jieba")
    monkeypatch.setattr(label_words, "LINES_PER_TASK", 2)
    for split in ("train", "val", "test"):
        lines = [Sentence.with_spans(tuple(f"{split}国家{i}"), ()) for i in range(7)]
        write_split(tmp_path / "set" / split, lines)
    out = tmp_path / "words.txt"
    assert run_main(label_words, "--text", text, tmp_path / "set", "--out_file", out).code == 0
    found = ["".join(line.tokens) for line in read_tagged(out, "word")]
    assert found == ["".join(line.split()) for line in LINES] + [f"train国家{i}" for i in range(7)]


def test_a_users_error_is_one_line_and_leaves_no_file(run_main, text, tmp_path, monkeypatch):
    def refused(*options, says, text=text, out="words.txt"):
        ended = run_main(label_words, "--text", text, "--out_file", tmp_path / out, *options)
        assert ended.code == 2
        assert ended.err.startswith("error: ")
        assert says in ended.err
        assert len(ended.err.splitlines()) == 1
        assert not list(tmp_path.glob("words*"))
        assert not multiprocessing.active_children()

    monkeypatch.setitem(sys.modules, "jieba", None)
    refused(says="jieba is not installed: pip install jieba")
    monkeypatch.undo()
    refused(out="words.csv", says="words.csv: expected an ending of .txt, .gz, .xz")
    refused("--processes", 0, says="--processes 0: expected 1 or more")
    pytest.importorskip("jieba")
    refused(out="none/words.txt", says="no such directory")
    refused(text=tmp_path / "none.txt", says="none.txt: cannot be read")


@settings(max_examples=200, deadline=None)
@given(st.text("北京大学的中国a/b/.+#3 \t\u3000\u200b\x1c😀龘é，C"))
def test_no_character_is_lost(line):
    pytest.importorskip("jieba")
    label_words.silence_jieba()
    (labelled,) = label_words.label_lines([line])
    items = [item.rpartition("/") for item in labelled.split()]
    assert all(word and flag for word, _, flag in items)
    assert "".join(word for word, _, _ in items) == "".join(line.split())
