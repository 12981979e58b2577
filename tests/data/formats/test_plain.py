"""Raw text: every line is a text, and what may be annotation is not taken for it."""

import pytest

from ner.data.formats import guess_format, load, read
from ner.errors import DataError


def test_every_line_is_a_text_without_annotation(tmp_path):
    (tmp_path / "x").write_text("李明在北京工作。\n \nMia went to Oslo.\n", encoding="utf-8")
    source = load(tmp_path / "x", guess_format(tmp_path / "x"))
    assert [(text.text, text.marks, text.line) for text in source.texts] == [
        ("李明在北京工作。", None, 1),
        ("Mia went to Oslo.", None, 3),
    ]
    assert read(tmp_path / "x").sentences[1].spans is None


@pytest.mark.parametrize(
    "text",
    [
        "a|||b|||0    3    x|||\nc|||d|||\n",
        "Mia/PER went/O to/O Oslo/LOC\nshe/O is/O there/O\n",
        "<PER>Mia</PER> went to Oslo\nshe is\n",
        "O O B-LOC I-LOC O\nO O O\nO O\nO\n",
        "如 何 解 决 这 个 问 题\n近 日\n",
        "好\t坏\t关系\t一句话\n",
    ],
)
def test_what_may_be_annotation_is_not_recognised(tmp_path, text):
    (tmp_path / "x").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as error:
        read(tmp_path / "x")
    message = str(error.value)
    assert message.startswith(
        f"{tmp_path / 'x'}:1: format not recognised, got {text.splitlines()[0]!r}; tried brat"
    )
    assert "conll: line " in message
    assert "bio: line " in message
