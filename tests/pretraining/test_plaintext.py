import gzip
import lzma
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from ner.corpus import DataError, Sentence, write_split
from ner.pretraining import plaintext
from ner.pretraining.plaintext import PieceTable, guess_unit, open_text, read_lines, read_tokens
from ner.tokenizer import Normalisation, Tokenizer

TEXT = "外交部发言人\n\n  playing the a.b \r\n中国 1 2\nplayed"
LINES = ["外交部发言人", "playing the a.b", "中国 1 2", "played"]


def write(path, text=TEXT):
    data = text.encode() if isinstance(text, str) else text
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "wb") as file:
        file.write(data)
    return path


def lines_of(text):
    return [text.pieces[a:b].tolist() for a, b in zip(text.line_ends, text.line_ends[1:], strict=False)]


@pytest.mark.parametrize("name", ["t.txt", "t.txt.gz", "t.xz"])
def test_reads_every_kind_of_file_alike(tmp_path, name):
    assert list(read_lines(write(tmp_path / name))) == LINES
    assert list(read_lines(write(tmp_path / name, "\ufeff" + TEXT + "\n"))) == LINES


@pytest.mark.parametrize("unit", ["char", "word"])
def test_opens_every_kind_of_file_alike(tmp_path, tokenizer, unit):
    opened = [
        open_text([write(tmp_path / name)], tokenizer, unit, tmp_path / name.replace(".", "-"))
        for name in ("t.txt", "t.txt.gz", "t.xz")
    ]
    for text in opened:
        assert np.array_equal(text.pieces, opened[0].pieces)
        assert np.array_equal(text.line_ends, opened[0].line_ends)
    assert opened[0].n_lines == 4
    assert opened[0].pieces.dtype == np.uint16


def test_characters_are_tokens_and_lines_end_in_sep(tmp_path, tokenizer):
    text = open_text([write(tmp_path / "t.txt")], tokenizer, "char", tmp_path / "cache")
    for pieces, line in zip(lines_of(text), LINES, strict=True):
        expected = [piece for character in line for piece in tokenizer.pieces(character)]
        assert pieces == [*expected, tokenizer.sep_id]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text("外交部中，。 abceplayingtheÀé12.,-_\t́", min_size=1), min_size=1, max_size=5))
def test_words_have_the_pieces_of_the_whole_line(tokenizer, lines):
    oracle = BertWordPieceTokenizer(vocab=dict(tokenizer.index), lowercase=True)
    table = PieceTable(tokenizer)
    pieces, ends = table.tokenise([plaintext._WORDS.findall(line) for line in lines])
    for line, start, end in zip(lines, [0, *ends], ends, strict=False):
        # a word that vanishes in normalisation is [UNK] here, as for a tagger, and nothing there
        vanishing = [word for word in plaintext._WORDS.findall(line) if not word.strip("\u0301")]
        if not vanishing:
            expected = oracle.encode(line, add_special_tokens=False).ids
            assert pieces[start:end].tolist() == [*expected, tokenizer.sep_id]


def test_a_vocabulary_with_chinese_words_keeps_them_whole(tmp_path, tokenizer):
    whole = Tokenizer([*tokenizer.vocabulary, "##部", "##交"], Normalisation(tokenize_chinese_chars=False))
    text = open_text([write(tmp_path / "t.txt", "外交部 中国\n")], whole, "word", tmp_path / "cache")
    expected = [*whole.pieces("外交部"), *whole.pieces("中国"), whole.sep_id]
    assert text.pieces.tolist() == expected
    assert whole.index["##交"] in expected


@pytest.mark.parametrize("size", [1, 3, 10])
def test_chunks_make_no_difference(tmp_path, tokenizer, monkeypatch, size):
    path = write(tmp_path / "t.txt", TEXT * 5)
    whole = open_text([path], tokenizer, "char", tmp_path / "whole")
    monkeypatch.setattr(plaintext, "CHUNK_CHARACTERS", size)
    cut = open_text([path], tokenizer, "char", tmp_path / "cut")
    assert np.array_equal(whole.pieces, cut.pieces)
    assert np.array_equal(whole.line_ends, cut.line_ends)


def test_a_large_vocabulary_needs_wider_numbers(tmp_path, tokenizer):
    large = Tokenizer([*tokenizer.vocabulary, *(f"x{i}" for i in range(1 << 16)), "龍"])
    text = open_text([write(tmp_path / "t.txt", "中龍\n")], large, "char", tmp_path / "cache")
    assert text.pieces.dtype == np.int32
    assert text.pieces[1] == len(large) - 1


class TestCache:
    @pytest.fixture
    def path(self, tmp_path):
        return write(tmp_path / "t.txt")

    @pytest.fixture
    def opened(self, path, tokenizer, tmp_path, monkeypatch):
        """`opened(...)` says whether the text was tokenised again."""
        calls = []
        tokenise = PieceTable.tokenise
        monkeypatch.setattr(PieceTable, "tokenise", lambda *a: calls.append(1) or tokenise(*a))

        def open_it(tokenizer=tokenizer, unit="char"):
            calls.clear()
            text = open_text([path], tokenizer, unit, tmp_path / "cache")
            assert lines_of(text)[0][0] == tokenizer.index["外"]
            return bool(calls)

        assert open_it()
        return open_it

    def test_is_used_again(self, opened):
        assert not opened()

    def test_knows_the_text(self, opened, path, tmp_path):
        write(path, TEXT + "\n中")
        assert opened()
        os.utime(path, ns=(1, 1))
        assert opened()
        assert not opened()
        assert len(list((tmp_path / "cache").iterdir())) == 2

    def test_knows_vocabulary_and_unit(self, opened, tokenizer):
        assert opened(unit="word")
        assert opened(tokenizer=Tokenizer(tokenizer.vocabulary[:-1]), unit="word")
        assert opened(tokenizer=Tokenizer(tokenizer.vocabulary, Normalisation(False)), unit="word")

    def test_what_was_cut_off_is_made_anew(self, opened, tmp_path):
        (ends,) = (tmp_path / "cache").glob("*.line_ends.npy")
        ends.unlink()
        assert opened()


def test_a_built_set_gives_its_train_split(tmp_path, tokenizer):
    for split, word in (("train", "playing"), ("val", "中"), ("test", "国")):
        write_split(tmp_path / split, [Sentence((word, "a b"), ())])
    assert list(read_tokens(tmp_path, "char")) == [("playing", "a b")]
    text = open_text([tmp_path], tokenizer, "char", tmp_path / "cache")
    assert text.pieces.tolist() == [
        *tokenizer.pieces("playing"),
        *tokenizer.pieces("a b"),
        tokenizer.sep_id,
    ]
    assert guess_unit(tmp_path) == "word"


def test_guesses_the_unit(tmp_path):
    assert guess_unit(write(tmp_path / "zh.txt", "外交部 in 2024\n")) == "word"
    assert guess_unit(write(tmp_path / "zh.txt", "外交部发言人说 in\n")) == "char"


def test_names_what_is_wrong(tmp_path, tokenizer):
    def refused(path, match):
        with pytest.raises(DataError, match=match):
            open_text([path], tokenizer, "char", tmp_path / "cache")

    refused(tmp_path / "none.txt", "none.txt: no such file")
    refused(tmp_path, "sentences.txt: no such file")
    refused(write(tmp_path / "a.csv"), r"a.csv: got '.csv', expected .txt, .gz, .xz")
    refused(write(tmp_path / "b.txt", b"ok\nno\xff\n"), "b.txt:2: not utf-8, got byte ff")
    refused(write(tmp_path / "c.txt", " \n\n"), "no text")
    plain = write(tmp_path / "plain.txt").read_bytes()
    for name in ("d.gz", "d.xz"):
        (tmp_path / name).write_bytes(plain)
        refused(tmp_path / name, f"{name}: not whole")
        whole = write(tmp_path / name, TEXT * 50).read_bytes()
        (tmp_path / name).write_bytes(whole[:-10])
        refused(tmp_path / name, f"{name}: not whole")
    assert not list((tmp_path / "cache").glob("*.npy"))
