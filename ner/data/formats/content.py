"""The decoded content of a file, with notes about its oddities; for wrong encodings, a likely one."""

import codecs
import hashlib
import re
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

from ner.data.wording import count_noun, note_lines
from ner.errors import DataError
from ner.files import read_bytes, undecodable

BYTE_ORDER_MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
# encoding -> the most frequent characters of the languages that use it
_KANA = (
    "のにはをたがでてとしれさいるなかもらっすりまこあそうくきょんだどよえけおせつちや"
    "みめろスントルイラアクリドシーマ"
)
_WIDE = {
    "gb18030": (
        "的一是了不在有人这上大来和我个中地为他生要们以到国时就出说会也子学发着对作能可于成用过动主下"
        "而年分得家种里多经自现同后产方工行面那小所起去之都然理进么心如本前开但因只从想实日者意无力它"
        "与长把机十民第公此"
    ),
    "big5": (
        "的一是了不在有人這上大來和我個中地為他生要們以到國時就出說會也子學發著對作能可於成用過動主下"
        "而年分得家種裡多經自現同後產方工行面那小所起去之都然理進麼心如本前開但因只從想實日者意無力它"
        "與長把機十民第公此"
    ),
    "shift_jis": _KANA,
    "euc_jp": _KANA,
    "euc_kr": (
        "이다의는에을를가하고은한지로서도기사자인어대으들리수그해시아나라있과부제일정게것만여상전주원"
        "보장구성면비공와스"
    ),
}
_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
_LATIN = "àáâãäåæçèéêëìíîïñòóôõöøùúûüýßœÀÁÂÄÅÇÈÉÊËÍÎÑÓÔÖØÚÜŒ‘’“”–—…€£°«»·©"
_NARROW = {"cp1251": _CYRILLIC, "koi8-r": _CYRILLIC, "cp1252": _LATIN}
_MARK_OF_FILE = re.compile(r"\A\ufeff|^\ufeff(?![\t ])", re.MULTILINE)
_PUNCTUATION = "，。、；：？！“”‘’（）《》「」『』・…—"


class Content(NamedTuple):
    """The text of a file; notes and sha256 as in `Document`."""

    text: str
    notes: list[str]
    sha256: str


def read_content(path: str | Path, encoding: str = "utf-8", *, exact: bool = False) -> Content:
    """Decodes a whole file.

    DataError if the file is empty or not in this encoding; the message suggests a likely encoding.
    `exact` allows an empty file and keeps a byte order mark as a character.
    """
    data, notes = read_bytes(path), []
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        likely = likely_encoding(data)
        remedy = f"; --encoding {likely} may be right" if likely else "; --encoding names another"
        raise DataError(undecodable(path, error) + remedy) from None
    except (LookupError, UnicodeError):
        raise DataError(f"--encoding {encoding}: no such encoding, expected one such as gb18030") from None
    is_utf8 = data.isascii() or codecs.lookup(encoding).name in ("utf-8", "utf-8-sig")
    if not is_utf8 and _decode(data, "utf-8", final=True):
        notes.append(f"read as {encoding}, though the bytes are UTF-8 too")
    if not text and not exact:
        raise DataError(f"{path}: empty, expected annotated text")
    if not exact:
        text, skipped = skip_marks(text)
        notes += skipped
    return Content(text, notes, hashlib.sha256(data).hexdigest())


def skip_marks(text: str) -> tuple[str, list[str]]:
    """The text without byte order marks, also those of files that were joined into one; notes on all marks.

    A mark that begins a line is skipped, unless white space follows: then it is a token of its own.
    """
    if "\ufeff" not in text:
        return text, []
    inside = [match.start() for match in _MARK_OF_FILE.finditer(text) if match.start()]
    notes = ["a byte order mark was skipped"] if text[0] == "\ufeff" else []
    notes += note_lines(_lines_of(text, inside), "inside skipped", "byte order mark")
    text = _MARK_OF_FILE.sub("", text)
    others = [i for i, character in enumerate(text) if character == "\ufeff"]
    return text, [*notes, *note_lines(_lines_of(text, others), "inside a line", "byte order mark")]


def _lines_of(text: str, positions: list[int]) -> list[int]:
    """The line, from 1, of each of some ascending positions."""
    steps = pairwise([0, *positions])
    return list(accumulate((text.count("\n", before, after) for before, after in steps), initial=1))[1:]


def read_content_lines(path: str | Path, encoding: str = "utf-8") -> tuple[list[str], Content]:
    r"""Decodes a file and splits it at `\n` and `\r\n` only; DataError as in `read_content`."""
    content = read_content(path, encoding)
    text, notes = content.text, content.notes
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    elif text:
        notes.append("no newline at the end")
    n_crlf = text.count("\r\n") + text.endswith("\r")
    if n_crlf:
        lines = [line.removesuffix("\r") for line in lines]
        notes.append(f"CRLF line ends in {n_crlf:,} of {count_noun(len(lines), 'line')}")
    return lines, content


def likely_encoding(data: bytes) -> str | None:
    """The name of an encoding in which the data look like text, or None.

    Compares the multi-byte encodings by their share of frequent characters, then the single-byte ones.
    """
    for name, marks in BYTE_ORDER_MARKS.items():
        if data.startswith(marks):
            return name
    first = next((i for i, byte in enumerate(data) if byte > 127), 0)
    data = data[data.rfind(b"\n", 0, first) + 1 :][: 1 << 16]  # from the first such line, at most 64 KiB
    for share, names, enough in ((_wide_share, _WIDE, 0.12), (_narrow_share, _NARROW, 0.6)):
        shares = {name: share(_decode(data, name), names[name]) for name in names}
        best = max(shares, key=shares.get)
        if shares[best] > enough:
            return best
    return "gb18030" if _decode(data, "gb2312") else None


def _decode(data: bytes, name: str, *, final: bool = False) -> str:
    """The decoded text, or "" if that fails; not `final`: without an incomplete character at the end."""
    try:
        return codecs.getincrementaldecoder(name)().decode(data, final)
    except UnicodeDecodeError:
        return ""


def _wide_share(text: str, common: str) -> float:
    """The share of frequent characters and punctuation among the characters beyond ASCII."""
    beyond = [character for character in text if character > "\x7f"]
    return sum(character in common or character in _PUNCTUATION for character in beyond) / max(len(beyond), 1)


def _narrow_share(text: str, common: str) -> float:
    """The share of characters beyond ASCII that are frequent and have the neighbours they have in words.

    An accented letter has ASCII neighbours; a Cyrillic letter has Cyrillic ones.
    """
    beyond = [i for i, character in enumerate(text) if character > "\x7f"]
    n_plausible = 0
    for i in beyond:
        near = text[max(i - 1, 0) : i] + text[i + 1 : i + 2]
        fits = near.isascii() if common is _LATIN else any(character in common for character in near)
        n_plausible += text[i] in common and fits
    return n_plausible / max(len(beyond), 1)
