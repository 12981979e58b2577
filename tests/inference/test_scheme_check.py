"""Published taggers whose tags mean what they meant where they come from."""

import json

import pytest
import torch

import evaluate
import predict
from ner.errors import DataError
from ner.model.directory import load
from ner.tags import Span, spans_to_tags
from tests.model.conftest import VOCABULARY, edit_config, make_model

TEXT = "王小明在北京访问中国银行。"
SPANS = [Span(0, 3, "PER"), Span(4, 6, "LOC"), Span(8, 10, "ORG"), Span(10, 12, "ORG")]
SCHEMES = {
    "BIO": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC", "B-ORG", "I-ORG"],
    "IOB1": ["I-LOC", "B-LOC", "I-ORG", "B-ORG", "O", "I-PER", "B-PER"],
    "BILOU": ["O", *(f"{prefix}-{label}" for label in ("PER", "LOC", "ORG") for prefix in "LIBU")],
    "BIOES": ["O", *(f"{prefix}-{label}" for label in ("PER", "LOC", "ORG") for prefix in "ESIB")],
}


def publish(folder, names, tags):
    """A token classifier that gives each character of TEXT its tag: a table under BERT's names."""
    transformers = pytest.importorskip("transformers")
    size = 32
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=size,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=40,
        id2label=dict(enumerate(names)),
    )
    oracle = transformers.BertForTokenClassification(config).eval()
    with torch.no_grad():
        for name, weight in oracle.named_parameters():
            weight.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        oracle.bert.embeddings.word_embeddings.weight.copy_(torch.eye(size)[: len(VOCABULARY)])
        for character, tag in zip(TEXT, tags, strict=True):
            oracle.classifier.weight[names.index(tag), VOCABULARY.index(character)] = 5.0
    oracle.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in VOCABULARY), encoding="utf-8")


def tag(run_main, folder, *options):
    """Spans that predict.py finds in TEXT, and what it says on standard error."""
    ended = run_main(predict, "--text", TEXT, "--model_dir", folder, *options)
    assert ended.code == 0, ended
    line = json.loads(ended.out)
    return [Span(e["start"], e["end"], e["label"]) for e in line["entities"]], ended.err


@pytest.mark.parametrize("scheme", SCHEMES)
def test_entities_are_those_of_the_scheme(tmp_path, run_main, scheme):
    publish(tmp_path, SCHEMES[scheme], spans_to_tags(SPANS, len(TEXT), scheme))
    found, said = tag(run_main, tmp_path)
    assert found == SPANS
    line = "tags are illegal under BIO: decoded as IOB1, which fits; --scheme states another\n"
    assert said.partition("best ")[2] == (line if scheme == "IOB1" else "")


def test_a_stated_scheme_is_kept_and_the_one_that_fits_is_named(tmp_path, run_main):
    publish(tmp_path, SCHEMES["IOB1"], spans_to_tags(SPANS, len(TEXT), "IOB1"))
    found, said = tag(run_main, tmp_path, "--scheme", "IOB1")
    assert (found, said) == (SPANS, "")
    _, said = tag(run_main, tmp_path, "--scheme", "BIO")
    assert said == "3 of the model's 9 best tags are illegal under BIO; --scheme IOB1 fits\n"


def test_tags_that_no_scheme_allows(tmp_path, run_main):
    tags = ["I-PER", "B-PER", "O", "I-LOC", "O", "B-LOC", "O", "I-ORG", "B-ORG", "O", "B-ORG", "I-LOC", "O"]
    publish(tmp_path, SCHEMES["BIO"], tags)
    assert "and no other scheme fits: " in tag(run_main, tmp_path)[1]


@pytest.mark.parametrize(
    ("names", "options", "label"),
    [
        (["O", "B", "I"], [], "ENTITY"),
        (["B", "I", "O"], ["--label_names", "drug"], "drug"),
        (["LABEL_0", "LABEL_1", "LABEL_2"], ["--label_names", "O", "B-drug", "I-drug"], "drug"),
    ],
)
def test_one_class_without_a_name(tmp_path, run_main, names, options, label):
    bare = [tag[0] for tag in spans_to_tags(SPANS, len(TEXT))]
    order = names if "B" in names else ["O", "B", "I"]
    publish(tmp_path, order, bare)
    edit_config(tmp_path, id2label=dict(enumerate(names)))
    assert tag(run_main, tmp_path, *options) == ([span._replace(label=label) for span in SPANS], "")


def test_labels_without_prefix_join_neighbours_of_one_label(tmp_path, run_main):
    labels = [tag.partition("-")[2] or "O" for tag in spans_to_tags(SPANS, len(TEXT))]
    publish(tmp_path, ["PER", "O", "ORG", "LOC"], labels)
    assert tag(run_main, tmp_path) == ([*SPANS[:2], Span(8, 12, "ORG")], "")
    assert load(tmp_path).tag_set.tags == ("PER", "O", "ORG", "LOC")


def test_names_of_another_number_are_refused(tmp_path):
    publish(tmp_path, ["O", "B", "I"], ["O"] * len(TEXT))
    with pytest.raises(DataError, match="--label_names: got 2 names, expected 3, one for each class"):
        load(tmp_path, label_names=["O", "B"])
    edit_config(tmp_path, id2label={str(i): f"LABEL_{i}" for i in range(3)})
    with pytest.raises(DataError, match="LABEL_0, expected tags such as B-LOC; --label_names gives them"):
        load(tmp_path)


def test_evaluate_scores_what_it_decodes(tmp_path, run_main, monkeypatch):
    """IOB1 by a tagger, BIO by the data."""
    monkeypatch.chdir(tmp_path)
    folder, split = tmp_path / "model", tmp_path / "data" / "test"
    folder.mkdir(), split.mkdir(parents=True)
    publish(folder, SCHEMES["IOB1"], spans_to_tags(SPANS, len(TEXT), "IOB1"))
    (split / "sentences.txt").write_text(" ".join(TEXT) + "\n")
    (split / "tags.txt").write_text(" ".join(spans_to_tags(SPANS, len(TEXT))) + "\n")
    ended = run_main(evaluate, "--data_dir", "data", "--model_dir", "model", "--audit")
    assert ended.code == 0, ended
    assert ended.err.count("decoded as IOB1") == 1
    metrics = json.loads((folder / "metrics_test.json").read_text())
    assert (metrics["f1"], metrics["n_gold"]) == (1.0, len(SPANS))
    assert (folder / "suspicious_test.jsonl").read_text() == ""


def test_a_model_of_ours_is_not_checked(tmp_path):
    assert make_model().scheme_from == "config"


def test_classes_that_are_no_tags_count_among_the_best_tags(tmp_path, run_main):
    publish(tmp_path, ["O", "B-PER", "I-PER", "X"], ["X"] * len(TEXT))
    _, said = tag(run_main, tmp_path)
    assert said.startswith("13 of the model's 13 best tags are illegal under BIO, and no other scheme fits")
