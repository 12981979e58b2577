import copy
import json
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from ner.data.tokenizer import WordPiece
from ner.encoders import ENCODERS
from ner.errors import DataError
from ner.model.directory import ModelDirectory
from ner.pretraining.mlm import Pretrained, fill_mask, load_mlm, restore_mlm, save_mlm, set_dropout
from tests.factories import make_encoder

N_ROWS, N_PIECES = 4, 18
TAGS = ["B-n", "I-n", "B-v"]


def make_batch(n_pieces_of_vocabulary, *, seed=0):
    """Rows of random lengths with junk under the padding, and places among what is real."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(n_pieces_of_vocabulary, (N_ROWS, N_PIECES), generator=generator)
    n_real = torch.tensor([N_PIECES, 5, 9, 12])
    mask = torch.arange(N_PIECES) < n_real[:, None]
    places = mask.flatten().nonzero().flatten()[::4]
    labels = torch.randint(n_pieces_of_vocabulary, places.shape, generator=generator)
    return ids, mask, places, labels


def make_tags(mask, *, seed=0, share=0.7):
    """A tag for most of the real pieces, for none that is padding."""
    generator = torch.Generator().manual_seed(seed)
    tags = 1 + torch.randint(len(TAGS), mask.shape, generator=generator)
    return tags.where(mask & (torch.rand(mask.shape, generator=generator) < share), 0)


@pytest.fixture
def make_tagger(make_model):
    """`make_tagger(names=TAGS, seed=0)`: a model that guesses tags, from weights that are not near 0."""

    def make(names=TAGS, *, seed=0, **options):
        model = make_model(seed=seed, initializer_range=0.2, **options)
        model.lm.guess_tags(names)
        torch.nn.init.normal_(model.lm.tag_head.bias)
        return model

    return make


def make_oracle(model, **options):
    """transformers' model with the same weights, none of them 0 or 1 as when fresh."""
    transformers = pytest.importorskip("transformers")
    with torch.no_grad():
        for name, parameter in model.lm.named_parameters():
            if name.endswith("bias") or "LayerNorm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    encoder = model.lm.encoder
    sizes = {k: getattr(encoder.config, k) for k in encoder.config.__dataclass_fields__}
    oracle = transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=encoder.vocab_size, **sizes))
    state = {f"bert.{k}": v for k, v in encoder.state_dict().items()}
    state |= {f"cls.predictions.{k}": v for k, v in model.lm.predictions.state_dict().items()}
    missing, unexpected = oracle.load_state_dict(state, strict=False)
    tied = {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "bert.embeddings.position_ids"}
    assert set(missing) <= tied
    assert not unexpected
    oracle.tie_weights()
    return oracle.eval()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("options", [{}, {"hidden_act": "relu", "layer_norm_eps": 1e-5}])
def test_loss_and_gradients_are_those_of_transformers(make_model, tokenizer, options):
    model = make_model(**options)
    oracle = make_oracle(model)
    ids, mask, places, labels = make_batch(len(tokenizer))
    theirs_labels = torch.full((N_ROWS * N_PIECES,), -100).scatter(0, places, labels).view(N_ROWS, N_PIECES)
    theirs = oracle(input_ids=ids, attention_mask=mask.long(), labels=theirs_labels)
    theirs.loss.backward()
    guesses = model.lm(ids, mask, places, labels)
    (guesses.loss / len(labels)).backward()
    assert guesses.loss.item() / len(labels) == pytest.approx(theirs.loss.item())
    expected = theirs.logits.flatten(0, 1)[places]
    assert guesses.n_correct == (expected.argmax(-1) == labels).sum()
    gradients = {f"bert.{n}": p.grad for n, p in model.lm.encoder.named_parameters()}
    gradients |= {f"cls.predictions.{n}": p.grad for n, p in model.lm.predictions.named_parameters()}
    compared = 0
    for name, parameter in oracle.named_parameters():
        torch.testing.assert_close(gradients[name], parameter.grad, msg=name)
        compared += 1
    assert compared == len(gradients)


def test_transformers_opens_what_is_saved(make_model, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = make_model()
    make_oracle(model)  # changes every weight that is 0
    save_mlm(tmp_path, model)
    theirs, loading = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == "BertForMaskedLM"
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    ids, mask, places, _ = make_batch(len(tokenizer))
    with torch.no_grad():
        theirs = theirs.double().eval()(input_ids=ids, attention_mask=mask.long())
        torch.testing.assert_close(
            model.lm.double().scores(ids, mask, places), theirs.logits.flatten(0, 1)[places]
        )
    written = transformers.AutoTokenizer.from_pretrained(tmp_path)
    pieces = ["[MASK]", "中"]
    assert written.convert_tokens_to_ids(pieces) == [tokenizer.index[piece] for piece in pieces]


def test_writes_the_shared_matrix_once(make_model, tmp_path):
    save_mlm(tmp_path, make_model())
    names = set(load_file(tmp_path / "model.safetensors"))
    head = {name for name in names if not name.startswith("bert.")}
    assert head == {
        "cls.predictions.bias",
        *(f"cls.predictions.transform.{n}.{k}" for n in ("dense", "LayerNorm") for k in ("weight", "bias")),
    }
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["BertForMaskedLM"]
    assert (config["model_type"], config["tie_word_embeddings"], config["vocab_size"]) == ("bert", True, 56)


def test_train_opens_the_encoder(make_model, tokenizer, tmp_path):
    model = make_model()
    save_mlm(tmp_path, model)
    opened = ModelDirectory(tmp_path)
    assert opened.tokenizer.vocabulary == tokenizer.vocabulary
    for name, tensor in model.lm.encoder.state_dict().items():
        assert torch.equal(opened.encoder.state_dict()[name], tensor)


def test_loads_what_it_saved(make_model, tmp_path):
    model = make_model(seed=1)
    make_oracle(model)
    save_mlm(tmp_path, Pretrained(model.lm, model.tokenizer, "word"))
    torch.manual_seed(99)
    loaded = load_mlm(tmp_path)
    assert loaded.unit == "word"
    assert not loaded.lm.training
    assert "not used" not in " ".join(loaded.report)
    other = make_model(seed=2)
    restore_mlm(tmp_path, other.lm)
    for name, tensor in model.lm.state_dict().items():
        assert torch.equal(loaded.lm.state_dict()[name], tensor)
        assert torch.equal(other.lm.state_dict()[name], tensor)
    assert load_mlm(tmp_path, unit="char").unit == "char"


def test_opens_a_published_file_with_its_copies(make_model, tmp_path):
    model = make_model()
    oracle = make_oracle(model)
    save_mlm(tmp_path, model)
    (tmp_path / "model.safetensors").unlink()
    state = {**oracle.state_dict(), "cls.seq_relationship.weight": torch.zeros(2, 16)}
    state["cls.predictions.decoder.bias"] = state.pop("cls.predictions.bias")
    torch.save(state, tmp_path / "pytorch_model.bin")
    loaded = load_mlm(tmp_path)
    assert torch.equal(loaded.lm.predictions.bias, model.lm.predictions.bias)
    assert "not used: cls.seq_relationship (1)" in loaded.report
    state["cls.predictions.decoder.weight"] = state["cls.predictions.decoder.weight"] + 1
    torch.save(state, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"decoder.weight differs from the word vectors, expected tied"):
        load_mlm(tmp_path)


def test_a_directory_without_head(make_model, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = make_model()
    save_mlm(tmp_path, model)
    transformers.BertModel.from_pretrained(tmp_path, add_pooling_layer=False).save_pretrained(tmp_path)
    with pytest.raises(DataError, match="only a masked language model has a prediction head"):
        load_mlm(tmp_path)
    loaded = load_mlm(tmp_path, new_head=True)
    assert "new, random until trained" in loaded.report[-1]
    assert torch.equal(
        loaded.lm.encoder.embeddings.word_embeddings.weight,
        model.lm.encoder.embeddings.word_embeddings.weight,
    )


@pytest.mark.parametrize("name", sorted(ENCODERS.keys() - {"bert"}))
def test_refuses_another_encoder(tmp_path, tokenizer, monkeypatch, name):
    encoder = make_encoder(name, vocab_size=len(tokenizer))
    opened = SimpleNamespace(encoder=encoder, tokenizer=tokenizer, weights={})
    monkeypatch.setattr("ner.pretraining.mlm.ModelDirectory", lambda model_dir: opened)
    with pytest.raises(DataError, match=f"an encoder of type '{name}', expected 'bert'"):
        load_mlm(tmp_path, new_head=True)


@pytest.mark.usefixtures("float64")
def test_the_last_layer_at_the_places_is_the_last_layer(make_model, tokenizer):
    model = make_model()
    ids, mask, places, _ = make_batch(len(tokenizer))
    with torch.no_grad():
        whole = model.lm.encoder(ids, mask).flatten(0, 1)[places]
        torch.testing.assert_close(model.lm.encoder.states_at(ids, mask, places), whole)


def test_layers_are_computed_again_also_where_the_places_are_few(make_model, tokenizer):
    lm, batch = make_model().lm.train(), make_batch(len(tokenizer))
    calls = []
    lm.encoder.encoder.layer[0].intermediate.register_forward_pre_hook(lambda *_: calls.append(1))
    losses = []
    for begin in (lambda: None, lm.encoder.recompute):
        begin()
        torch.manual_seed(1)
        losses.append(lm(*batch).loss)
        losses[-1].backward()
    assert losses[0] == losses[1]
    assert len(calls) == 1 + 2


@pytest.mark.usefixtures("float64")
def test_padding_has_no_power(make_model, tokenizer):
    model = make_model()
    ids, mask, places, labels = make_batch(len(tokenizer))
    other = torch.where(mask, ids, 9)
    with torch.no_grad():
        torch.testing.assert_close(
            model.lm(ids, mask, places, labels).loss, model.lm(other, mask, places, labels).loss
        )


def test_dropout_of_the_run_is_not_the_models(make_model, tokenizer, tmp_path):
    model, batch = make_model(), make_batch(len(tokenizer))
    model.lm.train()
    with torch.no_grad():
        assert model.lm(*batch).loss != model.lm(*batch).loss
        set_dropout(model.lm, 0.0)
        assert model.lm(*batch).loss == model.lm(*batch).loss
    assert model.lm(*batch).n_correct is None
    save_mlm(tmp_path, model)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["hidden_dropout_prob"] == config["attention_probs_dropout_prob"] == 0.1


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_near(make_model, tokenizer, precision):
    model = make_model()
    batch = make_batch(len(tokenizer))
    exact = model.lm(*batch).loss
    model.lm.precision = precision
    guesses = model.lm(*batch)
    guesses.loss.backward()
    assert guesses.loss.dtype == torch.float32
    assert guesses.loss.item() == pytest.approx(exact.item(), rel=0.02)
    for name, parameter in model.lm.named_parameters():
        assert parameter.grad.isfinite().all(), name
        # the bias of the keys adds a constant to each row, which softmax ignores
        assert parameter.grad.any() or name.endswith("key.bias"), name


class TestTags:
    @pytest.mark.usefixtures("float64")
    @pytest.mark.parametrize("share", [0.7, 1.0])
    def test_losses_and_gradients_by_hand(self, make_tagger, tokenizer, share):
        lm = make_tagger().lm
        batch = make_batch(len(tokenizer))
        ids, mask, *_ = batch
        tags = make_tags(mask, share=share)
        guesses = lm(*batch, tags)
        (guesses.loss + 2 * guesses.tag_loss).backward()
        found = {name: p.grad.clone() for name, p in lm.named_parameters()}
        lm.zero_grad()

        alone = lm(*batch)
        assert (alone.tag_loss, alone.n_correct_tags) == (0, 0)
        torch.testing.assert_close(guesses.loss, alone.loss)
        assert guesses.n_correct == alone.n_correct
        scores = F.linear(lm.encoder(ids, mask), lm.tag_head.weight, lm.tag_head.bias).flatten(0, 1)
        tag_loss = F.cross_entropy(scores, tags.flatten() - 1, ignore_index=-1, reduction="sum")
        torch.testing.assert_close(guesses.tag_loss, tag_loss)
        right = scores.argmax(-1).view_as(tags) == tags - 1
        assert guesses.n_correct_tags == right.sum()
        assert 0 < right.sum() < (tags > 0).sum()
        (alone.loss + 2 * tag_loss).backward()
        for name, parameter in lm.named_parameters():
            torch.testing.assert_close(found[name], parameter.grad, msg=name)

    def test_a_batch_without_a_tag(self, make_tagger, tokenizer):
        lm, batch = make_tagger().lm, make_batch(len(tokenizer))
        guesses = lm(*batch, torch.zeros_like(batch[0]))
        assert (guesses.tag_loss.item(), guesses.n_correct_tags.item()) == (0.0, 0)
        torch.testing.assert_close(guesses.loss, lm(*batch).loss)
        (guesses.loss + guesses.tag_loss).backward()
        assert not lm.tag_head.weight.grad.any()
        assert all(p.grad.isfinite().all() for p in lm.parameters())

    def test_nobody_counts_in_training(self, make_tagger, tokenizer):
        lm, batch = make_tagger().lm.train(), make_batch(len(tokenizer))
        guesses = lm(*batch, make_tags(batch[1]))
        assert (guesses.n_correct, guesses.n_correct_tags) == (None, None)
        assert guesses.tag_loss > 0

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    def test_lower_precision_is_near(self, make_tagger, tokenizer, precision):
        lm, batch = make_tagger().lm, make_batch(len(tokenizer))
        tags = make_tags(batch[1])
        exact = lm(*batch, tags)
        lm.precision = precision
        guesses = lm(*batch, tags)
        assert guesses.tag_loss.dtype == torch.float32
        assert guesses.tag_loss.item() == pytest.approx(exact.tag_loss.item(), rel=0.02)
        assert guesses.loss.item() == pytest.approx(exact.loss.item(), rel=0.02)

    def test_known_tags_keep_their_weights(self, make_tagger):
        lm = make_tagger().lm
        weight, bias = lm.tag_head.weight.clone(), lm.tag_head.bias.clone()
        head = lm.tag_head
        lm.guess_tags(list(TAGS))
        assert lm.tag_head is head
        lm.guess_tags(["B-x", "B-v", "I-x", "B-n"])
        assert lm.tag_names == ("B-x", "B-v", "I-x", "B-n")
        assert lm.tag_head.weight.shape == (4, 16)
        assert torch.equal(lm.tag_head.weight[[1, 3]], weight[[2, 0]])
        assert torch.equal(
            lm.tag_head.bias, torch.stack([torch.tensor(0.0), bias[2], torch.tensor(0.0), bias[0]])
        )
        assert lm.tag_head.weight[[0, 2]].ne(0).all()
        assert all(p.requires_grad for p in lm.tag_head.parameters())
        lm.guess_tags([])
        assert (lm.tag_head, lm.tag_names) == (None, ())
        assert not [name for name, _ in lm.named_parameters() if "tag" in name]

    def test_loads_what_it_saved(self, make_tagger, tmp_path):
        model = make_tagger(seed=1)
        save_mlm(tmp_path, model)
        names = load_file(tmp_path / "model.safetensors")
        assert not [name for name in names if "tag" in name]
        torch.manual_seed(99)
        loaded, other = load_mlm(tmp_path), make_tagger(seed=2)
        restore_mlm(tmp_path, other.lm)
        assert loaded.lm.tag_names == tuple(TAGS)
        state = model.lm.state_dict()
        assert {"tag_head.weight", "tag_head.bias"} < state.keys()
        for lm in (loaded.lm, other.lm):
            assert lm.state_dict().keys() == state.keys()
            for name, tensor in state.items():
                assert torch.equal(lm.state_dict()[name], tensor)
        encoder = ModelDirectory(tmp_path).encoder
        assert torch.equal(
            encoder.state_dict()["embeddings.word_embeddings.weight"],
            names["bert.embeddings.word_embeddings.weight"],
        )

    def test_no_file_without_tags(self, make_model, tmp_path):
        save_mlm(tmp_path, make_model())
        assert not (tmp_path / "tags.safetensors").exists()
        assert load_mlm(tmp_path).lm.tag_head is None

    def test_names_what_is_wrong_with_the_file(self, make_tagger, tmp_path):
        save_mlm(tmp_path, make_tagger())
        path = tmp_path / "tags.safetensors"
        save_file({"weight": torch.zeros(2, 16), "bias": torch.zeros(2)}, path)
        with pytest.raises(
            DataError, match=r"tags\.safetensors: .*weight: got shape \(2, 16\), expected \(3, 16\)"
        ):
            load_mlm(tmp_path)
        path.unlink()
        with pytest.raises(DataError, match=r"tags\.safetensors: "):
            load_mlm(tmp_path)


def test_saves_half_as_large(make_tagger, tokenizer, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = make_tagger()
    make_oracle(model)  # changes every weight that is 0
    folders = {dtype: tmp_path / str(dtype) for dtype in (torch.float32, torch.float16)}
    for dtype, folder in folders.items():
        folder.mkdir()
        save_mlm(folder, model, dtype)
        for name in ("model.safetensors", "tags.safetensors"):
            assert {tensor.dtype for tensor in load_file(folder / name).values()} == {dtype}
        assert json.loads((folder / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    # the model itself stays as it is
    assert {p.dtype for p in model.lm.parameters()} == {torch.float32}
    ids, mask, places, _ = make_batch(len(tokenizer))
    exact = copy.deepcopy(model.lm).double().scores(ids, mask, places)
    for dtype, folder in folders.items():
        loaded = load_mlm(folder).lm
        rounded = {name: tensor.to(dtype).float() for name, tensor in model.lm.state_dict().items()}
        assert loaded.state_dict().keys() == rounded.keys()
        for name, tensor in loaded.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, rounded[name])
        theirs, loading = transformers.AutoModelForMaskedLM.from_pretrained(folder, output_loading_info=True)
        assert not loading["missing_keys"]
        assert not loading["unexpected_keys"]
        with torch.no_grad():
            expected = theirs.double().eval()(input_ids=ids, attention_mask=mask.long()).logits
        expected = expected.flatten(0, 1)[places]
        torch.testing.assert_close(loaded.double().scores(ids, mask, places), expected)
        torch.testing.assert_close(exact, expected, atol=1e-2 if dtype == torch.float16 else 1e-7, rtol=0)


@pytest.mark.parametrize("unit", ["char", "word"])
def test_five_likeliest_pieces_of_each_mask(make_model, tokenizer, unit):
    model = Pretrained(make_model().lm, tokenizer, unit)
    masks = fill_mask(model, "中[MASK]外交[MASK]playing")
    assert len(masks) == 2
    middle = {
        "char": list("外交") + ["[MASK]"] + [p for c in "playing" for p in tokenizer.pieces(c)],
        "word": [*"外交", "[MASK]", "play", "##ing"],
    }[unit]
    number = tokenizer.index
    ids = torch.tensor(
        [[number[p] if isinstance(p, str) else p for p in ["[CLS]", "中", "[MASK]", *middle, "[SEP]"]]]
    )
    places = (ids[0] == number["[MASK]"]).nonzero().flatten()
    with torch.no_grad():
        expected = model.lm.scores(ids, ids >= 0, places).softmax(-1)
    for row, probabilities in zip(masks, expected, strict=True):
        assert len(row) == 5
        scores = [guess["score"] for guess in row]
        assert scores == sorted(scores, reverse=True)
        for guess in row:
            assert guess["score"] == pytest.approx(probabilities[number[guess["piece"]]].item(), abs=1e-6)
        lowest = scores[-1]
        better = {tokenizer.vocabulary[i] for i in (probabilities > lowest + 1e-6).nonzero().flatten()}
        assert better <= {guess["piece"] for guess in row} | {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}


def test_the_head_decides(make_model, tokenizer):
    model = make_model()
    with torch.no_grad():
        model.lm.predictions.bias[tokenizer.index["国"]] = 20.0
        model.lm.predictions.bias[tokenizer.index["[UNK]"]] = 30.0  # never a guess
    best = fill_mask(model, "中[MASK]")[0][0]
    assert best["piece"] == "国"
    assert best["score"] < 1e-3


def test_nothing_to_fill(make_model):
    assert fill_mask(make_model(), "中国") == []
    assert fill_mask(make_model(), "") == []
    assert len(fill_mask(make_model(), "[MASK][MASK]")) == 2


def test_errors(make_model):
    model = make_model()
    with pytest.raises(DataError, match="got 102 pieces, expected at most 40"):
        fill_mask(model, "中" * 99 + "[MASK]")
    without = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a"])
    with pytest.raises(DataError, match=r"vocabulary without \[MASK\]"):
        fill_mask(Pretrained(model.lm, without, "char"), "a")
