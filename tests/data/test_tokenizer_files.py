"""What published tokenizers' files add, repeat or do otherwise; transformers is the oracle."""

import json

import pytest

from ner.data.tokenizer_files import load_tokenizer
from ner.errors import DataError
from tests.data.test_tokenizer import make_fast, make_model_dir, make_oracle, make_vocabulary


@pytest.mark.parametrize("repeated", ["a", "", "##b"])
def test_the_last_of_equal_pieces_counts_as_in_transformers(tmp_path, repeated):
    vocabulary = make_vocabulary("a", "", "##b", "c", repeated, "d")
    oracle = make_oracle(vocabulary, tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.index[repeated] == len(vocabulary) - 2
    for token in ("a", "ab", "d", "c"):
        assert tokenizer.pieces(token) == tuple(oracle(token, add_special_tokens=False)["input_ids"]), token
    assert tokenizer.notes == [
        f"pieces on several lines of the vocabulary: {repeated!r}; the last line counts"
    ]
    folder = tmp_path / "again"
    folder.mkdir()
    tokenizer.save(folder)
    assert load_tokenizer(folder).vocabulary == tuple(vocabulary)


def test_added_pieces_are_numbered_after_all_lines(tmp_path):
    make_model_dir(tmp_path, vocabulary=make_vocabulary("a", "b", "a"))
    (tmp_path / "added_tokens.json").write_text('{"[NUM]": 9}')
    tokenizer = load_tokenizer(tmp_path)
    assert [tokenizer.pieces(token) for token in ("a", "b", "[NUM]")] == [(8,), (7,), (9,)]


def test_blank_lines_at_the_end_are_no_pieces(tmp_path):
    vocabulary = make_vocabulary("a")
    make_model_dir(tmp_path, vocabulary=[*vocabulary, "", ""])
    assert load_tokenizer(tmp_path).vocabulary == tuple(vocabulary)


def test_a_byte_order_mark_is_no_part_of_the_first_piece(tmp_path):
    vocabulary = make_vocabulary("a")
    make_model_dir(tmp_path, vocabulary=["\ufeff" + vocabulary[0], *vocabulary[1:]])
    assert load_tokenizer(tmp_path).vocabulary == tuple(vocabulary)


@pytest.mark.parametrize(
    "files",
    [
        {"added_tokens.json": {"[NUM]": 8, "[E]": 9}, "special_tokens_map.json": {}},
        {"added_tokens.json": {"[NUM]": 8}, "tokenizer_config.json": {"additional_special_tokens": ["[E]"]}},
        {
            "tokenizer_config.json": {
                "added_tokens_decoder": {n: {"content": c} for n, c in ((9, "[E]"), (8, "[NUM]"))}
            }
        },
        {"special_tokens_map.json": {"additional_special_tokens": ["[NUM]", {"content": "[E]"}]}},
        {"tokenizer_config.json": {"extra_special_tokens": {"number": "[NUM]", "e": "[E]"}}},
    ],
)
def test_added_pieces_are_found_where_they_are_listed(tmp_path, files):
    make_model_dir(tmp_path, vocabulary=make_vocabulary("a", "b"))
    for name, values in files.items():
        (tmp_path / name).write_text(json.dumps(values))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.vocabulary[8:] == ("[NUM]", "[E]")
    assert tokenizer.pieces("a[NUM]b") == (6, 8, 7)
    assert tokenizer.pieces("[E]") == (9,)
    assert load_tokenizer(tmp_path).sha256 == tokenizer.sha256


def test_added_pieces_of_tokenizer_json_may_stand_in_the_vocabulary(tmp_path):
    pieces = make_vocabulary("a", "[E]")
    fast = make_fast(pieces) | {"added_tokens": [{"id": 0, "content": "[PAD]"}, {"id": 7, "content": "[E]"}]}
    tokenizer = load_tokenizer(make_model_dir(tmp_path, fast=fast))
    assert (tokenizer.vocabulary, tokenizer.pieces("[E]")) == (tuple(pieces), (7,))
    assert tokenizer.pieces("[PAD]") == (1, 1, 1)


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        ({"[NUM]": 9}, r"'\[NUM\]' has number 9, expected 7"),
        ({"a": 7}, "'a' has number 7, expected 6"),
        ({"[NUM]": 3}, r"'\[NUM\]' has number 3, expected 7"),
        ({"[NUM]": "x"}, ""),
        ({"[NUM]": None}, ""),
    ],
)
def test_added_pieces_with_other_numbers_are_refused(tmp_path, added, problem):
    make_model_dir(tmp_path, vocabulary=make_vocabulary("a"))
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    with pytest.raises(DataError, match=f"^{tmp_path}: added tokens: .*{problem}"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"normalizer": {"type": "Sequence"}}, "normalizer: got 'Sequence', expected BertNormalizer"),
        (
            {"pre_tokenizer": {"type": "Whitespace"}},
            "pre_tokenizer: got 'Whitespace', expected BertPreTokenizer",
        ),
        ({"normalizer": 3}, "normalizer: got 3, expected"),
    ],
)
def test_a_tokenizer_json_that_cuts_otherwise_is_refused(tmp_path, change, problem):
    make_model_dir(tmp_path, fast=make_fast(make_vocabulary("a")) | change)
    with pytest.raises(DataError, match=rf"tokenizer\.json: {problem}"):
        load_tokenizer(tmp_path)
