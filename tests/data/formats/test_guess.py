"""The format is guessed from the content."""

import pytest

from ner.data.formats.guess import guess_format


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
