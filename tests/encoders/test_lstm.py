"""The BiLSTM, against torch's own over packed rows; bigrams against a dict; files of vectors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ner.data.tokenizer import learn_vocabulary
from ner.encoders.lstm import UNUSED, BigramEmbedding, Lstm, LstmConfig, SharedDropout, read_vectors
from ner.heads import HEADS
from ner.layers.bilstm import BiLstmLayer
from ner.model.directory import load, save
from ner.model.tagger import Model, Tagger
from ner.tags import TagSet
from tests.factories import make_inventories

SMALL = LstmConfig(hidden_size=12, num_hidden_layers=2, embedding_size=6, bigram_size=4, max_bigrams=40)
VOCAB_SIZE = 30


def make_lstm(*, seed=0, vocab_size=VOCAB_SIZE, config=SMALL, **options):
    torch.manual_seed(seed)
    return Lstm(replace(config, **options), vocab_size=vocab_size).eval()


def make_learned_lstm(**options):
    """With a list of bigrams, most of which are known."""
    lstm = make_lstm(max_bigrams=VOCAB_SIZE**2, **options)
    lstm.prepare(None, np.random.default_rng(0).integers(0, VOCAB_SIZE, size=20_000))
    assert (lstm.bigrams.keys != UNUSED).sum() > 800
    return lstm


def make_pieces(*, n_rows=5, n_pieces=9, seed=0):
    """Rows of random lengths; padding holds random pieces."""
    generator = torch.Generator().manual_seed(seed)
    piece_ids = torch.randint(VOCAB_SIZE, (n_rows, n_pieces), generator=generator)
    lengths = torch.randint(1, n_pieces + 1, (n_rows,), generator=generator)
    lengths[0] = n_pieces
    return piece_ids, torch.arange(n_pieces) < lengths[:, None]


def make_tokenizer():
    """`ab` and its like are two pieces, letters are one."""
    return learn_vocabulary(["a", "b", "c", "ab", "bc", "日", "本"] * 2, 13)


def make_vectors(path, vectors, *, header=False):
    size = len(next(iter(vectors.values())))
    lines = [f"{len(vectors)} {size}"] if header else []
    lines += [" ".join([token, *map(str, vector)]) for token, vector in vectors.items()]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return str(path)


def make_twin(layer, width_in):
    """torch's own bidirectional LSTM with the weights of our layer."""
    twin = nn.LSTM(width_in, layer.forwards.hidden_size, batch_first=True, bidirectional=True)
    weights = layer.forwards.state_dict()
    weights |= {f"{name}_reverse": tensor for name, tensor in layer.backwards.state_dict().items()}
    twin.load_state_dict(weights)
    return twin


@pytest.mark.usefixtures("float64")
def test_layers_are_those_of_torch_over_packed_rows():
    lstm, (piece_ids, mask) = make_learned_lstm(), make_pieces()
    states = lstm(piece_ids, mask, layers=True)
    assert len(states) == 3
    for layer, before, after in zip(lstm.layers, states, states[1:], strict=False):
        packed = nn.utils.rnn.pack_padded_sequence(
            before, mask.sum(dim=1), batch_first=True, enforce_sorted=False
        )
        expected, _ = make_twin(layer, before.shape[2])(packed)
        expected, _ = nn.utils.rnn.pad_packed_sequence(expected, batch_first=True)
        torch.testing.assert_close(after[mask], expected[mask])
    assert torch.equal(states[-1], lstm(piece_ids, mask))
    assert states[-1].shape == (*piece_ids.shape, lstm.width)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("max_bigrams", [0, VOCAB_SIZE**2])
def test_padding_has_no_power(max_bigrams):
    """Not even by the bigram of the last piece and the padding behind it."""
    lstm = make_learned_lstm() if max_bigrams else make_lstm(max_bigrams=0)
    piece_ids, mask = make_pieces()
    expected = lstm(piece_ids, mask)[mask]
    for seed in range(3):
        other, _ = make_pieces(seed=seed + 1)
        torch.testing.assert_close(lstm(torch.where(mask, piece_ids, other), mask)[mask], expected)
    longer = nn.functional.pad(piece_ids, (0, 4), value=7), nn.functional.pad(mask, (0, 4))
    torch.testing.assert_close(lstm(*longer)[longer[1]], expected)


@pytest.mark.usefixtures("float64")
def test_a_row_of_padding_alone_is_finite_and_changes_nothing():
    lstm, (piece_ids, mask) = make_learned_lstm(), make_pieces()
    with_empty = mask.clone()
    with_empty[2] = False
    hidden = lstm(piece_ids, with_empty)
    assert torch.isfinite(hidden).all()
    torch.testing.assert_close(hidden[with_empty], lstm(piece_ids, mask)[with_empty])


@pytest.mark.usefixtures("float64")
def test_a_row_of_one_piece():
    lstm = make_learned_lstm()
    hidden = lstm(torch.tensor([[3]]), torch.tensor([[True]]))
    longer = lstm(torch.tensor([[3, 4, 5]]), torch.tensor([[True, False, False]]))
    torch.testing.assert_close(longer[:, :1], hidden)


def test_every_bigram_is_found_exactly():
    """All pairs of the vocabulary against a dict, known and unknown ones."""
    random = np.random.default_rng(0)
    pairs = [(int(a), int(b)) for a, b in random.integers(0, VOCAB_SIZE, size=(200, 2))]
    table = BigramEmbedding(250, 3, VOCAB_SIZE)
    keys = sorted({a * VOCAB_SIZE + b for a, b in pairs})
    table.keys[: len(keys)] = torch.tensor(keys)
    row_of = {key: row for row, key in enumerate(keys, start=1)}
    first, second = (grid.reshape(1, -1) for grid in np.mgrid[:VOCAB_SIZE, :VOCAB_SIZE])
    found = table(torch.tensor(first), torch.tensor(second))[0]
    for vector, a, b in zip(found, first[0].tolist(), second[0].tolist(), strict=True):
        row = row_of.get(a * VOCAB_SIZE + b, 0)
        assert torch.equal(vector, table.vectors.weight[row])
        assert (row > 0) == ((a, b) in pairs)
    assert (table.vectors.weight[0] == 0).all()


def test_a_piece_stands_with_the_bigrams_on_either_side_of_it():
    lstm, (piece_ids, mask) = make_learned_lstm(), make_pieces()
    embedded, size = lstm(piece_ids, mask, layers=True)[0], SMALL.bigram_size
    for row, length in enumerate(mask.sum(dim=1).tolist()):
        ids = piece_ids[row, :length]
        between = lstm.bigrams(ids[None, :-1], ids[None, 1:])[0]
        edge = torch.zeros(1, size)
        expected = [lstm.characters(ids), torch.cat([edge, between]), torch.cat([between, edge])]
        assert torch.equal(embedded[row, :length], torch.cat(expected, dim=1))


def test_the_most_frequent_bigrams_are_learned_and_none_that_is_seen_once(messages):
    pieces = np.array([7, 8] * 5 + [9, 10] * 3 + [11, 12])
    lstm = make_lstm(max_bigrams=3)
    lstm.prepare(None, pieces)
    assert messages == ["3 bigrams"]
    assert lstm.bigrams.keys.tolist() == sorted(a * VOCAB_SIZE + b for a, b in ((7, 8), (8, 7), (9, 10)))
    lstm = make_lstm(max_bigrams=10)
    lstm.prepare(None, pieces)
    assert messages[1:] == ["4 bigrams"]
    known = {(7, 8), (8, 7), (9, 10), (10, 9)}
    assert {tuple(divmod(k, VOCAB_SIZE)) for k in lstm.bigrams.keys.tolist() if k != UNUSED} == known


def test_without_bigrams_there_is_nothing_to_prepare(messages):
    lstm = make_lstm(max_bigrams=0)
    lstm.prepare(None, np.arange(5))
    assert messages == []
    assert not any("bigrams" in name for name in lstm.state_dict())


@pytest.mark.parametrize("header", [False, True])
def test_character_vectors_go_where_a_token_is_one_known_piece(tmp_path, header, messages):
    tokenizer = make_tokenizer()
    vectors = {"a": [1.0] * 6, "日": [0.5, -1e-3, 3, 4, 5, 6], "ab": [9.0] * 6, "?": [8.0] * 6}
    path = make_vectors(tmp_path / "vectors.txt", vectors, header=header)
    lstm = make_lstm(vocab_size=len(tokenizer), character_vectors=path, max_bigrams=0)
    before = lstm.characters.weight.detach().clone()
    assert len(tokenizer.pieces("ab")) == 2
    assert tokenizer.pieces("?") == (tokenizer.unk_id,)
    lstm.prepare(tokenizer, np.arange(5))
    assert messages == [f"2 character vectors from {path}"]
    read = {tokenizer.pieces(token)[0]: vectors[token] for token in "a日"}
    for piece, vector in enumerate(lstm.characters.weight):
        torch.testing.assert_close(
            vector.detach(), torch.tensor(read[piece]) if piece in read else before[piece]
        )


def test_bigram_vectors_add_bigrams_as_far_as_there_is_room(tmp_path, messages):
    tokenizer = make_tokenizer()
    a, b = tokenizer.pieces("ab")
    key = a * len(tokenizer) + b
    other = tokenizer.pieces("bc")
    path = make_vectors(tmp_path / "bigrams.txt", {"ab": [1.0] * 4, "bc": [2.0] * 4, "a": [3.0] * 4})
    lstm = make_lstm(vocab_size=len(tokenizer), bigram_vectors=path, max_bigrams=2)
    text = np.array([a, b] * 3)
    lstm.prepare(tokenizer, text)  # (a, b) and (b, a) fill the room
    assert messages == [f"2 bigrams, 1 with vectors from {path}"]
    row = lstm.bigrams.keys.tolist().index(key) + 1
    assert lstm.bigrams.vectors.weight[row].tolist() == [1.0] * 4
    lstm = make_lstm(vocab_size=len(tokenizer), bigram_vectors=path, max_bigrams=5)
    lstm.prepare(tokenizer, text)
    assert messages[1:] == [f"3 bigrams, 2 with vectors from {path}"]
    vector = lstm.bigrams(*(torch.tensor([[piece]]) for piece in other))
    assert vector.flatten().tolist() == [2.0] * 4


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("end", ["\n", "\r\n", " \n"])
def test_vectors_are_read_exactly(tmp_path, header, end):
    """Tokens that other readers take for white space or line ends included."""
    expected = {"的": [0.25, -1.5], "\u3000": [1, 2], "\x85": [3, 4], "a\u2028": [1e-3, 2e5]}
    lines = [f"{token} {x} {y}" for token, (x, y) in expected.items()]
    text = "".join(line + end for line in ["4 2"] * header + lines)
    (tmp_path / "v.txt").write_text(text, encoding="utf-8", newline="")
    found = list(read_vectors(tmp_path / "v.txt", 2))
    assert [token for token, _ in found] == list(expected)
    for (_, vector), values in zip(found, expected.values(), strict=True):
        assert vector.dtype == np.float32
        np.testing.assert_array_equal(vector, np.float32(values))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a 1 2\nb 1\n", "v.txt:2: 1 numbers, expected 2"),
        (b"2 2\na 1 2\nb 1 2 3\n", "v.txt:3: 3 numbers, expected 2"),
        (b"a 1 x\n", "v.txt:1: not numbers, got 'a 1 x"),
        (b"a 1 2\n\n", "v.txt:2: 0 numbers, expected 2"),
        (b"a 1 2\n\xff\xfe 1 2\n", "v.txt:2: not utf-8, got byte ff"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_line(tmp_path, data, message):
    (tmp_path / "v.txt").write_bytes(data)
    with pytest.raises(ValueError, match=r"v\.txt") as caught:
        list(read_vectors(tmp_path / "v.txt", 2))
    assert str(caught.value).startswith(f"{tmp_path}/{message}")


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"v.txt: cannot be read, No such file"):
        list(read_vectors(tmp_path / "v.txt", 2))


def test_all_it_learned_survives_a_model_directory(tmp_path):
    tokenizer = make_tokenizer()
    lstm = make_lstm(vocab_size=len(tokenizer), max_bigrams=6)
    pieces = np.random.default_rng(0).integers(0, len(tokenizer), size=300)
    lstm.prepare(tokenizer, pieces)
    head = HEADS["crf"](
        lstm.width, make_inventories(TagSet.from_labels(["LOC"])), HEADS["crf"].Options(dropout=0.1)
    )
    save(tmp_path, Model(Tagger(lstm, head), tokenizer, "word", 20))
    torch.manual_seed(99)
    again = load(tmp_path).tagger.encoder
    assert again.config == lstm.config
    assert again.bigrams.keys.tolist() == lstm.bigrams.keys.tolist()
    piece_ids, mask = make_pieces()
    piece_ids = piece_ids % len(tokenizer)
    assert torch.equal(again(piece_ids, mask), lstm(piece_ids, mask))


def test_depths():
    lstm = make_lstm()
    depths = {name: lstm.depth_of(name) for name, _ in lstm.named_parameters()}
    assert {depth for name, depth in depths.items() if name.startswith("layers.1.")} == {2}
    assert {depth for name, depth in depths.items() if name.startswith("layers.0.")} == {1}
    assert {depth for name, depth in depths.items() if not name.startswith("layers.")} == {0}


def test_locked_dropout_drops_the_same_numbers_at_every_piece():
    dropout, ones = SharedDropout(0.5, along=1), torch.ones(4, 6, 50)
    torch.manual_seed(0)
    dropped = dropout(ones)
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped))
    assert set(dropped.flatten().tolist()) == {0.0, 2.0}
    assert not torch.equal(dropped[0], dropped[1])
    assert torch.equal(dropout.eval()(ones), ones)


def test_forget_gates_begin_open_and_recurrences_orthogonal():
    layer = make_lstm().layers[0]
    assert isinstance(layer, BiLstmLayer)
    for lstm in (layer.forwards, layer.backwards):
        n_units = lstm.hidden_size
        bias = lstm.bias_ih_l0 + lstm.bias_hh_l0
        assert bias.tolist() == [0.0] * n_units + [1.0] * n_units + [0.0] * 2 * n_units
        for gate in lstm.weight_hh_l0.chunk(4):
            torch.testing.assert_close(gate @ gate.T, torch.eye(n_units), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size: got 0, expected 1 or more"),
        ({"hidden_size": 7}, "hidden_size: got 7, expected an even number"),
        ({"max_bigrams": -1}, "max_bigrams: got -1, expected 0 or more"),
        ({"piece_dropout_prob": 1}, "piece_dropout_prob: got 1, expected a number below 1"),
        ({"embedding_dropout_prob": 1.0}, "embedding_dropout_prob: got 1.0, expected a number below 1"),
        ({"hidden_dropout_prob": -0.1}, "hidden_dropout_prob: got -0.1, expected 0 or more"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LstmConfig(**options)
