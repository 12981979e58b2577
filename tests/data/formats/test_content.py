"""Guesses of the encoding of bytes that are not UTF-8; byte order marks."""

import pytest

from ner.data.formats.content import likely_encoding, skip_marks

RUSSIAN = "В Москве прошла встреча министров иностранных дел, сообщил представитель ведомства."
JAPANESE = "東京都で今日会議が開かれ、首相はアメリカの大統領と会談した。"
TAIWAN = "臺灣的總統今天在臺北出席會議，說明國家經濟的發展。"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("中国队昨天抵达巴黎，出席了法国教育部的会议。", "gb18030"),
        ("北京", "gb18030"),
        (TAIWAN, "big5"),
        (TAIWAN, "gb18030"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        ("대통령은 오늘 서울에서 열린 회의에 참석했다고 밝혔다.", "euc_kr"),
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp1251"),
        ("Le président a été reçu à l’hôtel de ville, où il a prononcé un discours.", "cp1252"),
        ("Die Städte München und Köln erhöhen die Gebühren für Müll.", "cp1252"),
        (JAPANESE, "utf-16"),
        (RUSSIAN, "utf-32"),
    ],
)
def test_the_encoding_is_guessed(text, encoding):
    rows = "".join(f"{character}\tO\n" for character in text if not character.isspace())
    assert likely_encoding(text.encode(encoding)) == encoding
    if encoding not in ("koi8-r", "cp1251", "cp1252"):  # a row of only such letters does not show which
        assert likely_encoding(rows.encode(encoding)) == encoding


def test_marks_of_joined_files_are_skipped_and_counted():
    text, notes = skip_marks("\ufeffa\n\ufeffb\n\ufeff\tO\nc\ufeffd\r\n\ufeff")
    assert text == "a\nb\n\ufeff\tO\nc\ufeffd\r\n"
    assert notes == [
        "a byte order mark was skipped",
        "2 byte order marks inside skipped: lines 2, 5",
        "2 byte order marks inside a line: lines 3, 4",
    ]
    assert skip_marks("a\nb") == ("a\nb", [])


def test_noise_is_no_encoding():
    assert likely_encoding(bytes(range(128, 256))) is None


@pytest.mark.parametrize("folder", ["military_gbk/train"])
def test_encodings_of_published_files_are_guessed(ner_data, folder):
    paths = sorted((ner_data / folder).iterdir())
    assert {likely_encoding(path.read_bytes()) for path in paths} == {"gb18030"}
