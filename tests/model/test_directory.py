"""Model directories: what transformers writes opens here, what we save opens there; errors are one line."""

import json
import logging
import os
import shutil
import subprocess
import sys

import pytest
import torch

from ner.data.words import guess_unit_of_vocabulary
from ner.encoders import ENCODERS
from ner.errors import DataError
from ner.heads import HEADS
from ner.heads.crf import CrfHead
from ner.model import directory
from ner.model.directory import MAX_SPARE_ROWS, ModelDirectory, load, resolve_model_dir, restore_weights, save
from ner.tensors import read_weights, save_weights
from tests.model.conftest import (
    EVERY_ENCODER,
    EVERY_HEAD,
    PUBLISHED_ENCODERS,
    SIZES,
    TYPES,
    VOCABULARY,
    edit_config,
    logits_of,
    make_batch,
    make_model,
    randomise,
    scores_of,
    write_published,
)


@pytest.mark.usefixtures("float64")
@PUBLISHED_ENCODERS
@pytest.mark.parametrize("container", ["model.safetensors", "pytorch_model.bin"])
def test_a_model_of_transformers_opens_here(tmp_path, encoder, container):
    oracle = write_published(tmp_path, encoder, container=container)
    model = load(tmp_path)
    assert model.tag_set.tags == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    assert (model.unit, model.max_len, model.tag_set.scheme) == ("char", 40, "BIO")
    batch = make_batch(model)
    torch.testing.assert_close(scores_of(model, batch), logits_of(oracle, batch))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("encoder", "task", "unused"),
    [
        ("electra", "ForPreTraining", "discriminator_predictions.dense (2)"),
        ("electra", "ForMaskedLM", "generator_predictions.LayerNorm (2)"),
        ("albert", "ForPreTraining", "predictions.LayerNorm (2)"),
        ("distilbert", "ForMaskedLM", "vocab_transform (2)"),
    ],
)
@pytest.mark.parametrize("container", ["model.safetensors", "pytorch_model.bin"])
def test_what_was_published_for_further_training_opens(tmp_path, encoder, task, unused, container):
    oracle = write_published(tmp_path, encoder, task, container=container)
    opened = ModelDirectory(tmp_path)
    ours, report = opened.encoder, opened.log_lines()
    assert report[0] == f"{len(ours.state_dict())} tensors loaded from {tmp_path}"
    assert unused in report[1]
    piece_ids = torch.randint(len(VOCABULARY), (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor([[9], [4], [7]])
    with torch.no_grad():
        theirs = oracle.base_model(piece_ids, attention_mask=mask.long()).last_hidden_state
        torch.testing.assert_close(ours.eval()(piece_ids, mask)[mask], theirs[mask])


@pytest.mark.usefixtures("float64")
def test_spare_rows_of_a_published_embedding_are_accepted(tmp_path):
    transformers = pytest.importorskip("transformers")
    oracle = write_published(tmp_path)
    oracle.resize_token_embeddings(len(VOCABULARY) + 5, mean_resizing=False)
    oracle.save_pretrained(tmp_path)
    model = load(tmp_path)
    assert f"the vocabulary has {len(VOCABULARY)} pieces, 5 rows of the embedding are spare" in model.report
    batch = make_batch(model)
    torch.testing.assert_close(scores_of(model, batch), logits_of(oracle, batch))
    (tmp_path / "again").mkdir()
    save(tmp_path / "again", model)
    again = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "again").eval()
    torch.testing.assert_close(logits_of(again, batch), logits_of(oracle, batch))


def test_another_programs_bert_with_pytorch_crf_opens_with_its_crf(tmp_path):
    """BERT, a classifier and `torchcrf.CRF`, saved with a config that knows nothing of us."""
    model = make_model("bert", "crf")
    torch.nn.init.normal_(model.tagger.head.crf.transitions)
    save(tmp_path, model)
    edit_config(tmp_path, ner=None)
    opened = load(tmp_path, unit=model.unit)
    assert isinstance(opened.tagger.head, CrfHead)
    for name, tensor in model.tagger.state_dict().items():
        assert torch.equal(opened.tagger.state_dict()[name], tensor), name
    assert not [line for line in opened.report if line.startswith("not used")]


@pytest.mark.usefixtures("float64")
def test_an_ancestors_directory_opens_as_an_encoder(tmp_path):
    transformers = pytest.importorskip("transformers")
    oracle = randomise(
        transformers.BertForPreTraining(transformers.BertConfig(vocab_size=len(VOCABULARY), **SIZES))
    )
    old_names = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for name, t in oracle.state_dict().items()
    }
    torch.save(old_names, tmp_path / "pytorch_model.bin")
    config = {"attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "type_vocab_size": 2, **SIZES}
    (tmp_path / "bert_config.json").write_text(json.dumps(config | {"vocab_size": len(VOCABULARY)}))
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY), encoding="utf-8")
    opened = ModelDirectory(tmp_path)
    encoder, tokenizer, report = opened.encoder, opened.tokenizer, opened.log_lines()
    assert tokenizer.vocabulary == tuple(VOCABULARY)
    piece_ids = torch.randint(len(VOCABULARY), (3, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(9) < torch.tensor([[9], [4], [7]])
    with torch.no_grad():
        ours = encoder.eval()(piece_ids, mask)
        theirs = oracle.bert(piece_ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(ours[mask], theirs[mask])
    assert report[0] == f"{len(encoder.state_dict())} tensors loaded from {tmp_path}"
    assert report[1].startswith("not used: ")
    assert "cls.predictions" in report[1]
    assert "pooler.dense (2)" in report[1]
    with pytest.raises(DataError, match="no id2label, expected a model trained for tagging"):
        load(tmp_path)


def test_the_report_says_what_was_loaded_and_what_not(tmp_path):
    write_published(tmp_path)
    opened = ModelDirectory(tmp_path)
    encoder, report = opened.encoder, opened.log_lines()
    n_tensors = len(encoder.state_dict())
    assert report[0] == f"{n_tensors} tensors loaded from {tmp_path}"
    assert report[1].startswith("not used: classifier")
    assert load(tmp_path).report == (f"{n_tensors + 2} tensors loaded from {tmp_path}",)


def test_a_tagger_serves_as_an_encoder_for_another_task(saved):
    opened = ModelDirectory(saved)
    encoder, report = opened.encoder, opened.log_lines()
    source = make_model().tagger.encoder.state_dict()
    assert all(torch.equal(tensor, source[name]) for name, tensor in encoder.state_dict().items())
    assert "classifier" in report[-1]


@pytest.mark.parametrize("change", [-1, MAX_SPARE_ROWS + 1])
def test_a_vocabulary_that_does_not_fit_the_config(saved, change):
    edit_config(saved, vocab_size=len(VOCABULARY) + change)
    expected = f"the vocabulary has {len(VOCABULARY)} pieces, expected {len(VOCABULARY) + change} as its"
    with pytest.raises(DataError, match=expected):
        load(saved)


@pytest.mark.parametrize("extra", [-2, 3])
def test_a_vocabulary_that_does_not_fit_the_weights(saved, extra):
    pieces = [*VOCABULARY, *"零一二三四"][: len(VOCABULARY) + extra]
    (saved / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    edit_config(saved, vocab_size=len(pieces))
    with pytest.raises(DataError, match=f"has {len(pieces)} pieces and the embedding {len(VOCABULARY)} rows"):
        load(saved)


def remove(name):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (shutil.rmtree, "no such directory; models are not downloaded by name"),
        (remove("config.json"), "no config, expected one of config.json, bert_config.json"),
        (remove("vocab.txt"), "no vocab.txt and no tokenizer.json, expected a BERT model directory"),
        (remove("model.safetensors"), "no weights, expected one of model.safetensors"),
        (lambda d: edit_config(d, id2label=None), "no id2label, expected a model trained for tagging"),
        (lambda d: edit_config(d, id2label={"0": "LABEL_0"}), "id2label: .*LABEL_0"),
        (lambda d: edit_config(d, id2label={"1": "O"}), "id2label"),
        (lambda d: edit_config(d, model_type="roberta"), "model_type: got 'roberta', expected one of bert"),
        (lambda d: edit_config(d, num_hidden_layers=3), "of 53 tensors are missing"),
        (lambda d: edit_config(d, hidden_size=18), "expected"),
        (lambda d: edit_config(d, hidden_act="silu"), "hidden_act: got 'silu', expected one of gelu"),
        (lambda d: edit_config(d, ner={"head": "spam"}), "head: got 'spam', expected one of softmax, crf"),
        (lambda d: edit_config(d, ner={"unit": "byte"}), "unit 'byte', expected char or word"),
        (lambda d: edit_config(d, ner={"scheme": "IOB3"}), "id2label: scheme 'IOB3'"),
        (lambda d: edit_config(d, ner={"scheme": ["BIO"]}), "id2label: "),
        (lambda d: edit_config(d, ner={"head": "crf"}), "crf.* only a directory trained for tagging"),
        (lambda d: (d / "config.json").write_text("{"), "config.json:1: not JSON, .*"),
        (lambda d: (d / "model.safetensors").write_bytes(b"x" * 20), "expected a whole safetensors file"),
        (lambda d: (d / "vocab.txt").write_text("[PAD]\n[UNK]\n"), "vocab.txt: vocabulary without"),
    ],
)
def test_a_wrong_directory_is_one_line(saved, spoil, expected):
    spoil(saved)
    with pytest.raises(DataError, match=expected) as caught:
        load(saved)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value) or "head" in expected


@pytest.mark.parametrize("encoder", ["electra", "albert", "distilbert"])
def test_a_relative_with_a_wrong_file_is_one_line(tmp_path, encoder):
    write_published(tmp_path, encoder)
    whole = read_weights(tmp_path)
    name = next(name for name in whole if name.startswith(encoder) and "word_embeddings" not in name)
    short = name.partition(".")[2]
    for weights, expected in (
        ({key: tensor for key, tensor in whole.items() if key != name}, f"are missing: {short}"),
        (whole | {name: torch.zeros(3, 5)}, rf"{short}: got shape \(3, 5\), expected"),
        (
            {f"bert.{key}": tensor for key, tensor in whole.items()},
            r"tensors are missing: .*, \.\.\.",
        ),
    ):
        save_weights(tmp_path / "model.safetensors", weights)
        for opened in (ModelDirectory, load):
            with pytest.raises(DataError, match=rf"\A{tmp_path}: .*{expected}.*\Z"):
                opened(tmp_path)
    with pytest.raises(DataError, match=r"tensors are missing: .*; the file has bert\..*, \.\.\."):
        opened(tmp_path)
    extra = {f"{encoder}.extra.weight": torch.zeros(2)}
    save_weights(tmp_path / "model.safetensors", whole | extra)
    assert any("extra (1)" in line for line in ModelDirectory(tmp_path).log_lines())
    with pytest.raises(DataError, match=r"got tensors of other parts, extra \(1\); expected"):
        load(tmp_path)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "wrapped", ["module.{}", "_orig_mod.{}", "module._orig_mod.{}", "_orig_mod.module.{}"]
)
def test_the_names_of_a_wrapped_model_open(tmp_path, wrapped):
    oracle = write_published(tmp_path, container="pytorch_model.bin")
    torch.save({wrapped.format(k): t for k, t in oracle.state_dict().items()}, tmp_path / "pytorch_model.bin")
    model = load(tmp_path)
    parts = [f"`{part}.`" for part in ("module", "_orig_mod") if part in wrapped]
    assert f"taken off the names of tensors: {', '.join(parts)}" in model.notes
    batch = make_batch(model)
    torch.testing.assert_close(scores_of(model, batch), logits_of(oracle, batch))


def test_a_wrapped_encoder_opens_and_names_that_meet_are_refused(tmp_path):
    weights = write_published(tmp_path).state_dict()
    inside = {name.replace("bert.", "bert.module."): tensor for name, tensor in weights.items()}
    save_weights(tmp_path / "model.safetensors", inside)
    assert load(tmp_path).notes == ("taken off the names of tensors: `module.`",)
    save_weights(tmp_path / "model.safetensors", inside | {"module.classifier.bias": torch.zeros(5)})
    with pytest.raises(DataError, match=r"got classifier\.bias twice"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("lstm.weight_ih_l0", r"lstm \(1\)"),
        ("dense.weight", r"dense \(1\)"),
        ("crf.trans_matrix", r"crf \(1\)"),
        ("bert.encoder.layer.0.attention.adapter.down.weight", r"encoder\.layer \(1\)"),
        ("classifier.2.weight", r"classifier\.2 \(1\)"),
    ],
)
def test_a_part_of_another_program_is_refused_by_name(tmp_path, name, part):
    weights = write_published(tmp_path).state_dict()
    save_weights(tmp_path / "model.safetensors", weights | {name: torch.zeros(2, 2)})
    with pytest.raises(DataError, match=rf"^{tmp_path}: got tensors of other parts, {part}; expected"):
        load(tmp_path)


def test_known_parts_that_a_tagger_may_lack_are_named_and_not_used(tmp_path):
    weights = write_published(tmp_path).state_dict()
    others = {"bert.pooler.dense.weight": torch.zeros(2), "cls.predictions.bias": torch.zeros(2)}
    others |= {"bert.encoder.layer.2.output.dense.bias": torch.zeros(2), "loss_fct.weight": torch.zeros(5)}
    save_weights(tmp_path / "model.safetensors", weights | others)
    (tmp_path / "optimizer.pt").touch(), (tmp_path / "old_head.pt").touch()
    tensors, files = load(tmp_path).notes
    parts = ("cls.predictions (1)", "pooler.dense (1)", "encoder.layer (1)", "loss_fct (1)")
    assert set(tensors.removeprefix("not used: ").split(", ")) == set(parts)
    assert files == "not used: old_head.pt"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("name", ["BertJapaneseTokenizer", "AlbertTokenizer", "RoFormerTokenizer", 3])
def test_a_tokenizer_that_cuts_otherwise_is_refused_by_name(saved, file, name):
    values = json.loads((saved / file).read_text())
    (saved / file).write_text(json.dumps(values | {"tokenizer_class": name}))
    with pytest.raises(DataError, match=rf"{file}: tokenizer_class: got {name!r}, expected BertTokenizer or"):
        load(saved)


@pytest.mark.usefixtures("float64")
def test_added_pieces_and_their_embeddings_are_kept(tmp_path):
    transformers = pytest.importorskip("transformers")
    oracle = write_published(tmp_path)
    theirs = transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt"))
    theirs.add_tokens(["[NUM]", "王小明"])
    oracle.resize_token_embeddings(len(theirs), mean_resizing=False)
    oracle.save_pretrained(tmp_path), theirs.save_pretrained(tmp_path)
    model = load(tmp_path)
    assert model.tokenizer.pieces("[NUM]") == (len(VOCABULARY),)
    assert "added to the vocabulary: '[NUM]', '王小明'" in model.notes
    assert not any("spare" in line for line in model.report)
    (tmp_path / "again").mkdir()
    save(tmp_path / "again", model)
    again = load(tmp_path / "again")
    assert torch.equal(
        again.tagger.encoder.word_embeddings.weight, oracle.bert.embeddings.word_embeddings.weight
    )
    opened = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    for text in ("[NUM]", "[num]", "3[NUM]b", "在王小明北京", "王小", "[SEP]x"):
        ids = tuple(theirs(text, add_special_tokens=False)["input_ids"])
        assert ids == tuple(opened(text, add_special_tokens=False)["input_ids"]), text
        if "[SEP]" not in text:  # here that is ordinary text
            assert ids == model.tokenizer.pieces(text) == again.tokenizer.pieces(text), text


def test_another_architecture_is_refused_by_name_before_its_vocabulary_is_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}}}')
    with pytest.raises(DataError, match=r"config\.json: model_type: got 'roberta', expected one of bert"):
        ModelDirectory(tmp_path)


def test_where_a_name_leads(tmp_path, saved):
    assert resolve_model_dir(saved, "last") == saved
    experiment = tmp_path / "experiment"
    (experiment / "last").mkdir(parents=True)
    assert resolve_model_dir(experiment, "last") == experiment / "last"
    with pytest.raises(DataError, match=r"no config\.json and no best/, expected a trained experiment"):
        resolve_model_dir(experiment)
    with pytest.raises(DataError, match="no such directory"):
        resolve_model_dir(tmp_path / "nowhere")


def test_the_unit_is_stated_or_guessed_or_overruled(saved):
    assert load(saved, unit="word").unit == "word"
    edit_config(saved, ner=None)
    assert load(saved).unit == "char"
    assert guess_unit_of_vocabulary([*VOCABULARY[:6], *(f"word{i}" for i in range(90)), "上"]) == "word"


def test_placeholders_are_no_tags(saved):
    edit_config(saved, id2label={str(i): f"LABEL_{i}" for i in range(7)})
    with pytest.raises(
        DataError, match=r"config\.json: id2label: got the placeholder LABEL_0, expected tags"
    ):
        load(saved)


def test_a_directory_is_read_once(saved, monkeypatch):
    """Each file is parsed once, for all parts of the model."""
    parsed = []
    for module in ("ner.encoders.published", "ner.data.tokenizer_files", "ner.tensors"):
        read = sys.modules[module].read_json
        monkeypatch.setattr(
            f"{module}.read_json", lambda path, read=read: parsed.append(path.name) or read(path)
        )
    read_all = directory.read_weights
    monkeypatch.setattr(directory, "read_weights", lambda path: parsed.append("weights") or read_all(path))
    load(saved)
    assert sorted(parsed) == ["config.json", "tokenizer_config.json", "weights"]


def test_opening_does_not_import_the_compiler(saved):
    """torch._dynamo takes two seconds to import."""
    code = f"import sys; from ner.model.directory import load; load({str(saved)!r}); " + (
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_more_layers_or_numbers_than_the_weights_hold_are_refused_before_anything_is_built(saved):
    edit_config(saved, num_hidden_layers=10**9)
    with pytest.raises(DataError, match=r"config\.json: num_hidden_layers: got 1000000000, the weights have"):
        load(saved)
    edit_config(saved, num_hidden_layers=2, hidden_size=1 << 30)
    with pytest.raises(DataError, match=r"config\.json: an encoder of [0-9,]{20,} numbers, the weights have"):
        load(saved)
    edit_config(saved, hidden_size=1 << 40)
    with pytest.raises(
        DataError, match=r"config\.json: hidden_size: got 1099511627776, expected 2147483647 or"
    ):
        load(saved)


@pytest.fixture
def warnings_of_transformers():
    """What transformers warns of, as it does it."""
    pytest.importorskip("transformers")
    heard, listener = [], logging.Handler(logging.WARNING)
    listener.emit = lambda record: heard.append(record.getMessage())
    logging.getLogger("transformers").addHandler(listener)
    yield heard
    logging.getLogger("transformers").removeHandler(listener)


@pytest.mark.usefixtures("float64")
@PUBLISHED_ENCODERS
@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_a_softmax_model_opens_in_transformers(tmp_path, warnings_of_transformers, encoder, scheme):
    transformers = pytest.importorskip("transformers")
    model = make_model(encoder, scheme=scheme)
    save(tmp_path, model)
    oracle, info = transformers.AutoModelForTokenClassification.from_pretrained(
        tmp_path, output_loading_info=True
    )
    assert warnings_of_transformers == []
    assert all(not info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert type(oracle).__name__ == f"{TYPES[encoder]}ForTokenClassification"
    assert tuple(oracle.config.id2label[i] for i in range(len(model.tag_set))) == model.tag_set.tags
    batch = make_batch(model)
    assert (batch.piece_ids.shape[1], bool(batch.piece_mask.all())) == (1, False)
    torch.testing.assert_close(scores_of(model, batch), logits_of(oracle.eval(), batch))


def test_the_tokenizer_of_a_saved_model_opens_in_transformers(saved):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(saved)
    text = "王小明 在北京 AbC"
    ours = load(saved).tokenizer
    assert theirs(text)["input_ids"][1:-1] == [i for word in text.split() for i in ours.pieces(word)]


@pytest.mark.usefixtures("float64")
@PUBLISHED_ENCODERS
def test_an_encoder_saved_here_is_the_same_in_transformers(tmp_path, encoder):
    transformers = pytest.importorskip("transformers")
    model = make_model(encoder)
    save(tmp_path, model)
    oracle = transformers.AutoModel.from_pretrained(tmp_path).eval()
    batch = make_batch(model)
    ids, mask = batch.piece_ids[:, 0], batch.piece_mask[:, 0]
    with torch.no_grad():
        theirs = oracle(ids, attention_mask=mask.long()).last_hidden_state
        ours = model.tagger.encoder(ids, mask)
    torch.testing.assert_close(ours[mask], theirs[mask])


@EVERY_ENCODER
@pytest.mark.parametrize(
    ("head", "scheme"), [(h, s) for h in HEADS for s in ("BIO", "BIOES") if s in HEADS[h].schemes]
)
def test_round_trip_under_another_seed(tmp_path, encoder, head, scheme):
    model = make_model(encoder, head, scheme=scheme, dropout=0.0)
    save(tmp_path, model)
    torch.manual_seed(77)
    again = load(tmp_path)
    assert again.tagger.state_dict().keys() == model.tagger.state_dict().keys()
    for name, tensor in model.tagger.state_dict().items():
        assert torch.equal(again.tagger.state_dict()[name], tensor), name
    batch = make_batch(model)
    assert torch.equal(scores_of(model, batch), scores_of(again, batch))
    random = 5 * torch.randn_like(model.tagger(batch)[0])
    decoded = [m.tagger.head.decode(random, batch) for m in (model, again)]
    assert decoded[0] == decoded[1]
    assert any(decoded[0])
    assert (again.unit, again.max_len, again.tag_set.tags) == ("char", 40, model.tag_set.tags)
    assert again.tagger.encoder.config == model.tagger.encoder.config
    assert again.tagger.head.dropout.p == 0.0
    assert again.tokenizer.vocabulary == model.tokenizer.vocabulary
    assert not again.tagger.training


@EVERY_ENCODER
@EVERY_HEAD
def test_saving_what_was_loaded_gives_the_same_bytes(tmp_path, snapshot, encoder, head):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(), second.mkdir()
    save(first, make_model(encoder, head))
    save(second, load(first))
    assert snapshot(first) == snapshot(second)


@pytest.mark.parametrize(
    ("encoder", "head"), [*((encoder, "crf") for encoder in ENCODERS), ("lstm", "softmax")]
)
def test_what_transformers_lacks_names_an_architecture_of_its_own(tmp_path, encoder, head):
    transformers = pytest.importorskip("transformers")
    save(tmp_path, make_model(encoder, head))
    (name,) = json.loads((tmp_path / "config.json").read_text())["architectures"]
    assert not hasattr(transformers, name)


@pytest.mark.parametrize("encoder", ["electra", "albert", "distilbert"])
def test_a_tagger_is_restored_from_its_own_directory_alone(tmp_path, encoder):
    model, other = make_model(encoder), make_model(encoder, seed=1)
    save(tmp_path, model)
    restore_weights(tmp_path, other.tagger)
    for name, tensor in model.tagger.state_dict().items():
        assert torch.equal(other.tagger.state_dict()[name], tensor), name
    with pytest.raises(DataError, match=r"tensors are missing: bert\.embeddings"):
        restore_weights(tmp_path, make_model("bert").tagger)


@pytest.mark.parametrize(
    ("encoder", "key"), [("electra", "classifier_dropout"), ("albert", "classifier_dropout_prob")]
)
def test_the_dropout_before_the_classifier_has_its_published_name(tmp_path, encoder, key):
    write_published(tmp_path, encoder, **{key: 0.25})
    model = load(tmp_path)
    assert model.tagger.head.dropout.p == 0.25
    save(tmp_path, model)
    assert json.loads((tmp_path / "config.json").read_text())[key] == 0.25


def test_others_may_read_the_weights(saved):
    umask = os.umask(0)
    os.umask(umask)
    assert (saved / "model.safetensors").stat().st_mode & 0o777 == 0o666 & ~umask
