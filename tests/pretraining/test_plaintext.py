import gzip
import lzma
import os
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import BertWordPieceTokenizer

from ner.data.folder import write_split
from ner.data.sentence import Sentence
from ner.data.tokenizer import Normalisation, WordPiece
from ner.errors import DataError
from ner.pretraining import plaintext
from ner.pretraining.plaintext import (
    Line,
    PieceTable,
    guess_unit_of_file,
    open_text,
    read_tagged,
    read_tokens,
)

TEXT = "外交部发言人\n\n  playing the a.b \r\n中国 1 2\nplayed"
LINES = ["外交部发言人", "playing the a.b", "中国 1 2", "played"]
WORDS = ["外交部", "发言人", "中", "playing", "played", "a.b", "bce", "a/b", "//", "12", "龍"]
FLAGS = ["n", "v", "nt"]


def write(path, text=TEXT):
    data = text.encode() if isinstance(text, str) else text
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "wb") as file:
        file.write(data)
    return path


def lines_of(text):
    return [text.pieces[a:b].tolist() for a, b in zip(text.line_ends, text.line_ends[1:], strict=False)]


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
    words = [plaintext._WORDS.findall(line) for line in lines]
    pieces, lengths, ends = table.tokenise(words)
    assert lengths.tolist() == [n for line in words for n in (*(len(tokenizer.pieces(w)) for w in line), 1)]
    for line, start, end in zip(lines, [0, *ends], ends, strict=False):
        # a word that vanishes in normalisation is [UNK] here, as for a tagger, and nothing there
        vanishing = [word for word in plaintext._WORDS.findall(line) if not word.strip("\u0301")]
        if not vanishing:
            expected = oracle.encode(line, add_special_tokens=False).ids
            assert pieces[start:end].tolist() == [*expected, tokenizer.sep_id]


def test_a_vocabulary_with_chinese_words_keeps_them_whole(tmp_path, tokenizer):
    whole = WordPiece([*tokenizer.vocabulary, "##部", "##交"], Normalisation(tokenize_chinese_chars=False))
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
    large = WordPiece([*tokenizer.vocabulary, *(f"x{i}" for i in range(1 << 16)), "龍"])
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
        names = sorted(path.name.partition(".")[2] for path in (tmp_path / "cache").iterdir())
        assert names == ["json", "line_ends.npy", "pieces.npy"]

    def test_knows_vocabulary_and_unit(self, opened, tokenizer):
        assert opened(unit="word")
        assert opened(tokenizer=WordPiece(tokenizer.vocabulary[:-1]), unit="word")
        assert opened(tokenizer=WordPiece(tokenizer.vocabulary, Normalisation(False)), unit="word")

    def test_what_was_cut_off_is_made_anew(self, opened, tmp_path):
        (whole,) = (tmp_path / "cache").glob("*.json")
        whole.unlink()
        for path in (tmp_path / "cache").glob("*.npy"):
            path.write_bytes(path.read_bytes()[:-3])
        assert opened()
        assert whole.exists()


def test_a_built_set_gives_its_train_split(tmp_path, tokenizer):
    for split, word in (("train", "playing"), ("val", "中"), ("test", "国")):
        write_split(tmp_path / split, [Sentence.with_spans((word, "a b"), ())])
    assert list(read_tokens(tmp_path, "char")) == [("playing", "a b")]
    text = open_text([tmp_path], tokenizer, "char", tmp_path / "cache")
    assert text.pieces.tolist() == [
        *tokenizer.pieces("playing"),
        *tokenizer.pieces("a b"),
        tokenizer.sep_id,
    ]
    assert guess_unit_of_file(tmp_path) == "word"


def test_guesses_the_unit(tmp_path):
    assert guess_unit_of_file(write(tmp_path / "zh.txt", "外交部 in 2024\n")) == "word"
    assert guess_unit_of_file(write(tmp_path / "zh.txt", "外交部发言人说 in\n")) == "char"
    assert (
        guess_unit_of_file(write(tmp_path / "zh.txt", "中国/country 愿/verb in/preposition 。/mark\n"))
        == "char"
    )
    assert guess_unit_of_file(write(tmp_path / "en.txt", "中国/ns in/p 2024/m\n")) == "word"


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
    assert not list((tmp_path / "cache").glob("*.json"))  # without it the arrays count for nothing


class TestTagged:
    """Lines of `word/flag`, as lists of pairs [(word, flag), ...]."""

    @pytest.fixture
    def make_lines(self):
        def make(seed, n_lines=60):
            r = random.Random(seed)
            sizes = (r.randint(1, 8) for _ in range(n_lines))
            return [[(r.choice(WORDS), r.choice(FLAGS)) for _ in range(size)] for size in sizes]

        return make

    @staticmethod
    def write(path, lines):
        rendered = ("  ".join(f"{word}/{flag}" for word, flag in line) for line in lines)
        return write(path, "".join(f"{line} \n\n" for line in rendered))

    @staticmethod
    def expected(line, tokenizer, unit):
        """The pieces of a line and the name of the tag of each, [SEP] with None."""
        pieces, tags = [], []
        for word, flag in line:
            for i, token in enumerate(word if unit == "char" else [word]):
                ids = tokenizer.pieces(token)
                pieces += ids
                tags += ["I-" + flag if i else "B-" + flag] * len(ids)
        return [*pieces, tokenizer.sep_id], [*tags, None]

    @staticmethod
    def tags_of(text):
        names = [None, *text.tag_names]
        return [names[number] for number in text.tags.tolist()]

    def test_reads_characters(self, tmp_path):
        path = write(tmp_path / "t.txt", "\ufeff中国/ns 愿/v \n\n a/b/x\u3000//w\r\n")
        assert list(read_tagged(path, "char")) == [
            Line(["中", "国", "愿"], ["B-ns", "I-ns", "B-v"]),
            Line(["a", "/", "b", "/"], ["B-x", "I-x", "I-x", "B-w"]),
        ]

    def test_reads_words(self, tmp_path):
        path = write(tmp_path / "t.xz", "中国/ns 愿/v\na/b/x //w\n")
        assert list(read_tagged(path, "word")) == [
            Line(["中国", "愿"], ["B-ns", "B-v"]),
            Line(["a/b", "/"], ["B-x", "B-w"]),
        ]

    @pytest.mark.parametrize("item", ["国", "国/", "/n", "/"])
    def test_names_the_line_of_a_word_without_flag(self, tmp_path, tokenizer, item):
        path = write(tmp_path / "t.txt", f"中/n\n\n中/n {item} 中/n\n")
        for unit in ("char", "word"):
            with pytest.raises(DataError, match=rf"t\.txt:3: got '{item}', expected word/flag"):
                open_text([], tokenizer, unit, tmp_path / "cache", [path])
        with pytest.raises(DataError, match=r"b\.txt:2: not utf-8, got byte ff"):
            list(read_tagged(write(tmp_path / "b.txt", "中/n\n".encode() + b"\xff/n\n"), "char"))

    @pytest.mark.parametrize("unit", ["char", "word"])
    @pytest.mark.parametrize("size", [7, 1 << 20])
    def test_plain_and_tagged_files_together(self, tmp_path, tokenizer, make_lines, monkeypatch, unit, size):
        monkeypatch.setattr(plaintext, "CHUNK_CHARACTERS", size)
        first, second = make_lines(1), make_lines(2)
        paths = [self.write(tmp_path / "1.gz", first), self.write(tmp_path / "2.txt", second)]
        text = open_text([write(tmp_path / "t.txt")], tokenizer, unit, tmp_path / "cache", paths)
        plain = open_text([tmp_path / "t.txt"], tokenizer, unit, tmp_path / "plain")
        pieces, tags, ends = plain.pieces.tolist(), [None] * len(plain.pieces), plain.line_ends.tolist()
        for line in (*first, *second):
            more, names = self.expected(line, tokenizer, unit)
            pieces, tags = pieces + more, tags + names
            ends.append(len(pieces))
        assert text.pieces.tolist() == pieces
        assert text.line_ends.tolist() == ends
        assert text.tags.dtype == np.uint16
        assert self.tags_of(text) == tags
        assert set(text.tag_names) == set(tags) - {None}
        assert len(set(text.tag_names)) == len(text.tag_names)
        assert (plain.tags, plain.tag_names) == (None, ())

    def test_a_tag_covers_all_pieces_of_its_token(self, tmp_path, tokenizer):
        path = self.write(tmp_path / "t.txt", [[("playing", "v"), ("外交部", "nt")]])
        text = open_text([], tokenizer, "word", tmp_path / "cache", [path])
        assert self.tags_of(text) == ["B-v", "B-v", "B-nt", "B-nt", "B-nt", None]

    def test_the_cache_is_used_again(self, tmp_path, tokenizer, make_lines, monkeypatch):
        path = self.write(tmp_path / "t.txt", make_lines(1))
        text = open_text([], tokenizer, "char", tmp_path / "cache", [path])
        names = sorted(path.name.partition(".")[2] for path in (tmp_path / "cache").iterdir())
        assert names == ["json", "line_ends.npy", "pieces.npy", "tags.npy"]
        calls, tokenise = [], PieceTable.tokenise
        monkeypatch.setattr(PieceTable, "tokenise", lambda *a: calls.append(1) or tokenise(*a))
        again = open_text([], tokenizer, "char", tmp_path / "cache", [path])
        assert not calls
        assert again.tag_names == text.tag_names
        for a, b in zip(again[:3], text[:3], strict=True):
            assert np.array_equal(a, b)
        plain = open_text([path], tokenizer, "char", tmp_path / "cache")
        assert calls
        assert plain.tags is None
        assert len(plain.pieces) > len(text.pieces)

    def test_what_was_cut_off_is_made_anew(self, tmp_path, tokenizer, make_lines, monkeypatch):
        path = self.write(tmp_path / "t.txt", make_lines(1))
        whole = open_text([], tokenizer, "char", tmp_path / "whole", [path])
        monkeypatch.setattr(plaintext, "CHUNK_CHARACTERS", 50)
        calls, tokenise = [], PieceTable.tokenise

        def cut_off(*args):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return tokenise(*args)

        monkeypatch.setattr(PieceTable, "tokenise", cut_off)
        with pytest.raises(KeyboardInterrupt):
            open_text([], tokenizer, "char", tmp_path / "cache", [path])
        text = open_text([], tokenizer, "char", tmp_path / "cache", [path])
        assert text.tag_names == whole.tag_names
        for a, b in zip(text[:3], whole[:3], strict=True):
            assert np.array_equal(a, b)

    def test_a_tagged_file_without_text_leaves_the_text_untagged(self, tmp_path, tokenizer):
        empty = write(tmp_path / "empty.txt", "\n")
        text = open_text([write(tmp_path / "t.txt")], tokenizer, "char", tmp_path / "cache", [empty])
        assert text.n_lines == 4
        assert (text.tags, text.tag_names) == (None, ())
        with pytest.raises(DataError, match=r"empty\.txt: no text"):
            open_text([], tokenizer, "char", tmp_path / "cache", [empty])
