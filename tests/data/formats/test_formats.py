"""Every format of the registry: its sample is guessed, read, and read back after writing."""

from functools import partial

import pytest

from ner.data.folder import write_split
from ner.data.formats import FORMATS, WRITABLE, Document, Reading, Texts, guess_format, load, read
from ner.data.sentence import Sentence
from ner.errors import DataError
from ner.tags import Span
from tests.data.formats.test_malformed import write_sample


@pytest.mark.parametrize("name", FORMATS)
def test_a_sample_is_guessed_and_read(tmp_path, name):
    path = write_sample(tmp_path, name)
    assert guess_format(path) == name
    kind = {"tokens": Document, "texts": Texts}[FORMATS[name].holds]
    assert isinstance(load(path, name), kind)
    document = read(path)
    assert (document.format, document.annotated) == (name, name != "text")
    assert name == "text" or any(sentence.spans for sentence in document.sentences)


def as_values(source):
    """The tokens and spans of a document, or the texts and marks of texts, as plain values."""
    if isinstance(source, Document):
        return [(sentence.tokens, sentence.spans) for sentence in source.sentences]
    return [(text.text, [mark[:3] for mark in text.marks or ()]) for text in source.texts]


@pytest.mark.parametrize("target", WRITABLE)
@pytest.mark.parametrize("name", FORMATS)
def test_a_sample_is_read_back_after_writing(tmp_path, name, target):
    """Writes it in every format that holds the same, tokens or texts."""
    if WRITABLE[target].holds != FORMATS[name].holds:
        return
    source = load(write_sample(tmp_path, name), name)
    path = tmp_path / "written"
    WRITABLE[target].writer(path, source)
    if target == "brat" and name == "text":  # a folder of texts alone is not taken for annotated text
        assert as_values(load(path, "brat")) == as_values(source)
        return
    assert guess_format(path) == {"bioes": "bio", "bilou": "bio"}.get(target, target)
    assert as_values(load(path, guess_format(path))) == as_values(source)


def test_a_format_with_a_writer_can_be_written():
    assert {name for name, format in FORMATS.items() if format.writer} == set(WRITABLE) - {"bioes", "bilou"}


@pytest.mark.parametrize("nested", [False, True])
def test_a_built_set_is_refused_by_name(tmp_path, nested):
    spans = [Span(0, 2, "X"), Span(1, 2, "Y")] if nested else [Span(0, 2, "X")]
    write_split(tmp_path / "set" / "train", [Sentence.with_spans(("a", "b"), spans)])
    paths = [tmp_path / "set", tmp_path / "set" / "train", *(tmp_path / "set" / "train").iterdir()]
    assert len(paths) == 4
    for path in paths:
        for attempt in (guess_format, *(partial(load, name=name) for name in FORMATS)):
            with pytest.raises(DataError, match=r"of a data set that build_dataset\.py made"):
                attempt(path)


def test_a_folder_of_texts_without_annotation_is_no_brat(tmp_path):
    (tmp_path / "a.txt").write_text("ab")
    with pytest.raises(DataError, match=r"a folder of .txt without any .ann, expected pairs"):
        read(tmp_path)
    assert not read(tmp_path, "brat").annotated


def test_stated_columns_mean_conll(tmp_path):
    assert guess_format(write_sample(tmp_path, "bio"), Reading(columns=(1, 2))) == "conll"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ("北\tB-LOC\n", "bio"),
        ("北 B-LOC\n京 I-LOC\n", "bio"),
        ("\n北\n京\n", "bio"),
        ("{ O\n", "bio"),
        ("[\tB-X\n", "bio"),
        ("EU NNP I-NP B-ORG\n", "conll"),
        ("-DOCSTART- O\n\nEU B-ORG\n", "conll"),
        ("-DOCSTART-\n\nEU B-ORG\n", "conll"),
        ('{"text": "a", "label": {}}', "cluener"),
        ('{"id": 0, "text": "a"}', "jsonl"),
        ('{"text": "a", "label": []}\n{"text": "a", "label": [[0, 1, "X"]]}', "jsonl"),
        ('\n [\n{"text": "a", "entities": []}]', "jsonl"),
    ],
)
def test_the_format_is_guessed_from_the_content(tmp_path, content, name):
    for start in ("", "\ufeff"):
        (tmp_path / "x").write_text(start + content, encoding="utf-8")
        assert guess_format(tmp_path / "x") == name


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("msra/msra_train_bio", "bio"),
        ("conll2003/eng.train", "conll"),
        ("cluener/train.json", "cluener"),
        ("cluener/test.json", "jsonl"),
        ("boson/boson.txt", "jsonl"),
        ("tianchi_tcm/train.txt", "jsonl"),
        ("btc/a.conll", "bio"),
        ("bc5cdr/train.tsv", "bio"),
        ("youku/train.txt", "bio"),
    ],
)
def test_published_files_are_guessed(ner_data, file, name):
    assert guess_format(ner_data / file) == name
