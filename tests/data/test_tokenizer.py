"""Pieces, compared with transformers on real text; vocabularies read, learned and written."""

import json
import string
import unicodedata
from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats import FORMATS
from ner.data.tokenizer import SPACE, Normalisation, WordPiece, learn_vocabulary
from ner.data.tokenizer_files import load_tokenizer
from ner.errors import DataError

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", SPACE]
ODD = [
    *("é", "É", "e\u0301", "Ａ１", "ﬁne", "Straße", "İ", "한국어", "日本x語", "\U00020000", "don't", "U.S."),
    *("...", "“x”", "a\u200bb", "x\ufffdy", "x\u00a0y", "😀", "a" * 100, "a" * 101, "a\tb", "¿", "$1,000.50"),
]
VANISHING = ["\u200b", "\ufeff", "\ue000", "\ufffd", "\x00", "\x7f", "\u0301"]
SPACES = [" ", "\t", "\u3000", "\xa0", "\u2028", "\n"]


def make_vocabulary(*pieces):
    return [*SPECIALS, *pieces]


def make_model_dir(folder, *, vocabulary=None, fast=None, config=None):
    if vocabulary is not None:
        text = "".join(f"{piece}\n" for piece in vocabulary)
        (folder / "vocab.txt").write_text(text, encoding="utf-8", newline="\n")
    for name, values in (("tokenizer.json", fast), ("tokenizer_config.json", config)):
        if values is not None:
            (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder


def make_fast(pieces, *, lowercase=True, model="WordPiece"):
    """The parts of a published tokenizer.json that these tests need."""
    return {
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": lowercase,
        },
        "model": {"type": model, "unk_token": "[UNK]", "vocab": {p: i for i, p in enumerate(pieces)}},
    }


compose = partial(unicodedata.normalize, "NFC")


def make_oracle(vocabulary, folder, **switches):
    transformers = pytest.importorskip("transformers")
    make_model_dir(folder, vocabulary=vocabulary)
    return transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"), **switches)


def oracle_pieces(oracle, tokens):
    """Piece ids of each token, composed; [] if transformers drops it."""
    encoded = oracle([compose(token) for token in tokens], is_split_into_words=True, add_special_tokens=False)
    pieces = [[] for _ in tokens]
    for number, piece in zip(encoded.word_ids(), encoded["input_ids"], strict=True):
        pieces[number].append(piece)
    return [tuple(row) for row in pieces]


def assert_as_transformers(tokenizer, oracle, tokens):
    """Expects the pieces of transformers, or one piece if transformers drops the token."""
    space = tokenizer.index.get(SPACE, tokenizer.unk_id)
    n_dropped = 0
    for token, expected in zip(tokens, oracle_pieces(oracle, tokens), strict=True):
        if not expected:
            n_dropped += 1
            expected = (space if token.isspace() else tokenizer.unk_id,)
        assert tokenizer.pieces(token) == expected, token
    return n_dropped


def test_pieces_of_chinese_characters_equal_transformers(ner_data, tmp_path):
    sentences = FORMATS["bio"].reader(ner_data / "msra" / "msra_test_bio").sentences
    tokens = sorted({token for sentence in sentences for token in sentence.tokens})
    assert len(tokens) > 3000
    tokenizer = load_tokenizer(ner_data / "bert_base_chinese")
    assert len(tokenizer) == 21128
    oracle = make_oracle(tokenizer.vocabulary, tmp_path)
    assert_as_transformers(tokenizer, oracle, tokens)
    assert assert_as_transformers(tokenizer, oracle, [*ODD, *VANISHING, *SPACES]) >= len(VANISHING)


@pytest.mark.parametrize("cased", [False, True])
def test_pieces_of_english_words_equal_transformers(ner_data, tmp_path, cased):
    sentences = FORMATS["conll"].reader(ner_data / "conll2003" / "eng.testa").sentences
    words = [word for sentence in sentences for word in sentence.tokens]
    tokenizer = learn_vocabulary(words, 3000, Normalisation(do_lower_case=not cased))
    oracle = make_oracle(tokenizer.vocabulary, tmp_path, do_lower_case=not cased)
    distinct = sorted(set(words))
    assert assert_as_transformers(tokenizer, oracle, distinct) == 0
    assert assert_as_transformers(tokenizer, oracle, [*ODD, *VANISHING, *SPACES]) >= len(VANISHING)
    assert sum(len(tokenizer.pieces(word)) > 1 for word in distinct) > 1000
    assert any(tokenizer.pieces(word) != tokenizer.pieces(word.lower()) for word in distinct) == cased


@pytest.mark.parametrize(
    "switches",
    [
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": False, "strip_accents": True},
        {"do_lower_case": True, "tokenize_chinese_chars": False},
        {"do_lower_case": False, "strip_accents": None, "tokenize_chinese_chars": True},
    ],
)
def test_every_switch_works_as_in_transformers(tmp_path, switches):
    letters = [*string.ascii_letters, *string.digits, *string.punctuation, *"éÉİßＡ１日本語"]
    vocabulary = make_vocabulary(*letters, *(f"##{letter}" for letter in letters))
    tokenizer = WordPiece(vocabulary, Normalisation(**switches))
    oracle = make_oracle(vocabulary, tmp_path, **switches)
    assert_as_transformers(tokenizer, oracle, [*ODD, *VANISHING, *SPACES])


@pytest.mark.parametrize("cased", [False, True])
@pytest.mark.parametrize("word", ["Nguyễn", "Ёлка", "한국어", "カガミ", "क़लम", "வணக்கம்", "ỗǖ"])
def test_composed_and_decomposed_words_have_the_same_pieces(cased, word):
    tokenizer = learn_vocabulary([word] * 2, normalisation=Normalisation(do_lower_case=not cased))
    pieces = [tokenizer.pieces(unicodedata.normalize(form, word)) for form in ("NFC", "NFD")]
    assert pieces[0] == pieces[1] == tokenizer.pieces(word)
    assert tokenizer.unk_id not in pieces[0]
    other = learn_vocabulary([unicodedata.normalize("NFD", word)] * 2, normalisation=tokenizer.normalisation)
    assert other.vocabulary == tokenizer.vocabulary


def test_a_compatibility_ideograph_stays_the_piece_that_it_is():
    tokenizer = WordPiece(make_vocabulary("\uf900", "\u8c48"), Normalisation(do_lower_case=False))
    assert tokenizer.pieces("\uf900") != tokenizer.pieces("\u8c48")


@pytest.mark.parametrize("token", VANISHING)
def test_a_token_that_normalisation_removes_is_unknown(token):
    tokenizer = WordPiece(make_vocabulary("a"))
    assert tokenizer.pieces(token) == (tokenizer.unk_id,)


@pytest.mark.parametrize("token", [*SPACES, " \t "])
def test_white_space_has_its_own_piece_if_the_vocabulary_has_one(token):
    tokenizer = WordPiece(make_vocabulary("a"))
    assert tokenizer.pieces(token) == (tokenizer.index[SPACE],)
    without = WordPiece(SPECIALS[:-1])
    assert without.pieces(token) == (without.unk_id,)


@pytest.mark.parametrize("token", ["[SEP]", "[CLS]", "[PAD]", "[MASK]", "a[SEP]", SPACE])
def test_text_that_spells_a_special_piece_is_ordinary_text(token):
    letters = string.ascii_letters + "[]1"
    tokenizer = WordPiece(make_vocabulary(*letters, *(f"##{letter}" for letter in letters)))
    spelled = "".join(tokenizer.vocabulary[piece].removeprefix("##") for piece in tokenizer.pieces(token))
    assert spelled == token.lower()
    assert not set(tokenizer.pieces(token)) & {tokenizer.index[special] for special in SPECIALS}


@pytest.mark.parametrize("missing", ["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
def test_a_vocabulary_needs_its_special_pieces(tmp_path, missing):
    pieces = [piece for piece in SPECIALS if piece != missing]
    make_model_dir(tmp_path, vocabulary=pieces)
    with pytest.raises(DataError, match=rf"^{tmp_path}/vocab.txt: vocabulary without \[{missing[1:-1]}\]"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("normalisation", [Normalisation(), Normalisation(False, True, False)])
def test_save_and_load(tmp_path, normalisation):
    vocabulary = make_vocabulary("É", "e", "##b", "日", "##本", "\u2028", "a b", "\x85", "#")
    tokenizer = WordPiece(vocabulary, normalisation)
    tokenizer.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.vocabulary == tokenizer.vocabulary
    assert [again.pieces(t) for t in ODD] == [tokenizer.pieces(t) for t in ODD]
    if normalisation.strip_accents is not None:
        assert again.normalisation == normalisation
    other = pytest.importorskip("transformers").BertTokenizerFast.from_pretrained(tmp_path)
    assert_as_transformers(tokenizer, other, ODD)


def test_a_vocabulary_with_windows_line_ends_or_no_last_newline(tmp_path):
    (tmp_path / "vocab.txt").write_bytes("\r\n".join(make_vocabulary("a", "日")).encode())
    assert load_tokenizer(tmp_path).vocabulary == tuple(make_vocabulary("a", "日"))


def test_a_directory_with_only_tokenizer_json(tmp_path):
    pieces = make_vocabulary("A", "##b", "a")
    tokenizer = load_tokenizer(make_model_dir(tmp_path, fast=make_fast(pieces, lowercase=False)))
    assert tokenizer.vocabulary == tuple(pieces)
    assert tokenizer.normalisation == Normalisation(do_lower_case=False)
    assert tokenizer.pieces("Ab") == (pieces.index("A"), pieces.index("##b"))


def test_tokenizer_json_as_transformers_writes_it(tmp_path):
    words = [w for w in ODD if w.isalpha()] * 2
    learned = learn_vocabulary(words, 200, Normalisation(do_lower_case=False))
    oracle = make_oracle(learned.vocabulary, tmp_path, do_lower_case=False)
    published = tmp_path / "published"
    oracle.save_pretrained(published)
    (published / "vocab.txt").unlink(missing_ok=True)
    tokenizer = load_tokenizer(published)
    assert tokenizer.vocabulary == learned.vocabulary
    assert not tokenizer.normalisation.do_lower_case
    assert_as_transformers(tokenizer, oracle, ODD)


@pytest.mark.parametrize("lowercase", [True, False])
def test_do_lower_case_of_the_config_overrules_tokenizer_json_and_the_default(tmp_path, lowercase):
    pieces = make_vocabulary("A", "a")
    fast, config = make_fast(pieces, lowercase=not lowercase), {"do_lower_case": lowercase}
    expected = pieces.index("a" if lowercase else "A")
    for number, files in enumerate(({"vocabulary": pieces}, {"fast": fast})):
        folder = tmp_path / str(number)
        folder.mkdir()
        tokenizer = load_tokenizer(make_model_dir(folder, config=config, **files))
        assert tokenizer.pieces("A") == (expected,)


def test_letters_are_lowered_by_default(tmp_path):
    pieces = make_vocabulary("A", "a")
    tokenizer = load_tokenizer(make_model_dir(tmp_path, vocabulary=pieces, config={}))
    assert tokenizer.pieces("A") == (pieces.index("a"),)


def test_an_empty_folder_is_no_model_directory(tmp_path):
    with pytest.raises(DataError, match=r"no vocab.txt and no tokenizer.json, expected a BERT model"):
        load_tokenizer(tmp_path)


def test_a_sentencepiece_vocabulary_is_refused_by_name(tmp_path):
    (tmp_path / "spiece.model").write_bytes(b"")
    expected = "no vocab.txt and no tokenizer.json, expected a WordPiece vocabulary: spiece.model is not read"
    with pytest.raises(DataError, match=rf"^{tmp_path}: {expected}$"):
        load_tokenizer(tmp_path)
    make_model_dir(tmp_path, fast={"model": {"type": "Unigram", "vocab": [["<pad>", 0.0]]}})
    with pytest.raises(DataError, match="model type 'Unigram', expected a WordPiece vocabulary"):
        load_tokenizer(tmp_path)
    make_model_dir(tmp_path, vocabulary=make_vocabulary("a"))
    assert load_tokenizer(tmp_path).vocabulary == tuple(make_vocabulary("a"))


def test_piece_numbers_with_gaps_are_refused(tmp_path):
    fast = make_fast(make_vocabulary("a"))
    fast["model"]["vocab"]["b"] = 8
    make_model_dir(tmp_path, fast=fast)
    with pytest.raises(DataError, match=rf"^{tmp_path}/tokenizer.json: piece numbers with gaps"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "fast", [make_fast(SPECIALS, model="BPE"), {"model": None}, {"model": {"vocab": []}}]
)
def test_another_model_than_wordpiece_is_refused(tmp_path, fast):
    make_model_dir(tmp_path, fast=fast)
    with pytest.raises(DataError, match=rf"^{tmp_path}/tokenizer.json: .*expected a WordPiece vocabulary"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_that_is_not_utf8_is_refused_with_its_line(tmp_path):
    (tmp_path / "vocab.txt").write_bytes(b"[PAD]\n[UNK]\n\xff\n")
    with pytest.raises(DataError, match=r"vocab.txt:3: not utf-8"):
        load_tokenizer(tmp_path)


def test_learning_is_deterministic_and_independent_of_order():
    tokens = ["banana", "bandana", "cabana", "abba", "日本", "日", "本", "ANA"] * 3
    learned = [
        learn_vocabulary(order, 60).vocabulary for order in (tokens, tokens, sorted(tokens), tokens[::-1])
    ]
    assert len(set(learned)) == 1
    assert set(SPECIALS) <= set(learned[0])
    assert any(len(piece.removeprefix("##")) > 2 for piece in set(learned[0]) - set(SPECIALS))


def test_characters_seen_once_are_unknown():
    tokens = ["ab", "ba", "c", "日本", "日"]
    tokenizer = learn_vocabulary(tokens)
    for token in ("c", "本", "z"):
        assert tokenizer.pieces(token) == (tokenizer.unk_id,)
    for token in ("a", "b", "日"):
        assert tokenizer.pieces(token) != (tokenizer.unk_id,)
    assert tokenizer.vocabulary[tokenizer.pieces("日本")[0]] == "日"
    letters = Counter(
        "".join(piece.removeprefix("##") for piece in set(tokenizer.vocabulary) - set(SPECIALS))
    )
    assert set(letters) == {"a", "b", "日"}


def test_a_vocabulary_has_at_most_the_requested_size():
    words = [a + b + c for a in "abcdefgh" for b in "abcdefgh" for c in "abcdefgh"] * 2
    for size in (10, 30, 100):
        tokenizer = learn_vocabulary(words, size)
        assert len(tokenizer) <= size
    assert len(learn_vocabulary(words, 100)) == 100


@given(tokens=st.lists(st.text(min_size=1, max_size=6), max_size=8), token=st.text(min_size=1, max_size=8))
@settings(deadline=None, max_examples=60)
def test_no_token_becomes_a_padding_or_frame_piece(tokens, token):
    tokenizer = learn_vocabulary([*tokens, *tokens], 50)
    for one in [*tokens, token]:
        pieces = tokenizer.pieces(one)
        assert pieces
        assert all(0 <= piece < len(tokenizer) for piece in pieces)
        assert not set(pieces) & {tokenizer.pad_id, tokenizer.cls_id, tokenizer.sep_id}
