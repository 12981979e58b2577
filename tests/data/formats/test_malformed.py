"""Damaged files of every format are read, or refused in one line that names the file."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.formats import FORMATS, Reading, read
from ner.data.formats.document import DEFAULTS
from ner.errors import DataError

TASK = {"start": 1, "end": 3, "text": "京😀", "labels": ["LOC"]}
SAMPLES = {
    "bio": "北\tB-LOC\n京\tI-LOC\n\n我\tO\n",
    "conll": "-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n",
    "cluener": '{"text": "北京😀", "label": {"LOC": {"北京": [[0, 1]]}}}\n{"text": "a b", "label": {}}\n',
    "jsonl": '{"text": "北京😀", "entities": [{"start_offset": 0, "end_offset": 2, "label": "LOC"}]}\n'
    '{"text": "a b", "labels": [[0, 1, "X"], [2, 3, "Y"]]}\n',
    "tokens": '{"tokens": ["北", "京"], "ner_tags": ["B-LOC", "I-LOC"]}\n'
    '{"tokens": ["a"], "ner_tags": ["O"]}\n',
    "labelstudio": json.dumps(
        [{"data": {"text": "北京😀"}, "annotations": [{"result": [{"type": "labels", "value": TASK}]}]}]
    ),
    "csv": 'Sentence #,Word,POS,Tag\nSentence: 1,New,NNP,B-LOC\n,"York, ""NY""",NNP,I-LOC\n'
    "Sentence: 2,it,PRP,O\n",
    "text": "Mia went to Oslo.\n\nIt was cold there.\n",
    "brat": "T1\tLOC 0 2\t北京\nT2\tX 2 3;4 5\t😀 a\n#1\tnote T1\tb\n",
}
LENIENT = Reading(overlaps="keep_longest", drop_invalid=True, split_lines=True)
PIECES = [
    "",
    "0",
    "-1",
    "null",
    "[]",
    "{}",
    '"',
    "[",
    "]",
    "{",
    "}",
    ",",
    "\t",
    "\n",
    "\r\n",
    " ",
    "\ufeff",
    "9" * 20,
]


def write_sample(folder: Path, name: str, data: bytes | None = None) -> Path:
    """Writes the sample of a format, or other content in its place, and the text of brat."""
    path = folder / ("x.ann" if name == "brat" else "x")
    path.write_bytes(SAMPLES[name].encode() if data is None else data)
    if name == "brat":
        path.with_suffix(".txt").write_bytes("北京😀\na b".encode())
    return path


@st.composite
def damaged(draw, sample: str) -> bytes:
    """The sample with a few parts replaced, sometimes in another encoding or with bytes invalid in any."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(sample)))
        end = draw(st.integers(start, min(start + 12, len(sample))))
        sample = sample[:start] + draw(st.sampled_from(PIECES)) + sample[end:]
    data = sample.encode(draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "gb18030", "utf-16"])))
    cut = draw(st.integers(0, len(data)))
    return data[:cut] + draw(st.sampled_from([b"", b"", b"\xff", b"\x00", b"\xed\xa0\x80"])) + data[cut:]


def outcome(path, name, reading=DEFAULTS) -> str:
    try:
        document = read(path, name, reading=reading)
    except DataError as error:
        return str(error)
    for sentence in document.sentences:
        assert all(sentence.tokens)
        assert all(0 <= s.start < s.end <= len(sentence.tokens) for s in sentence.spans or ())
    return ""


@pytest.mark.parametrize("name", FORMATS)
@given(st.data(), st.booleans())
@settings(deadline=None, max_examples=100)
def test_a_damaged_file_is_read_or_refused_in_one_line(tmp_path_factory, name, data, lenient):
    path = write_sample(tmp_path_factory.mktemp("damaged"), name, data.draw(damaged(SAMPLES[name])))
    for stated in (name, None):
        message = outcome(path, stated, LENIENT if lenient else DEFAULTS)
        assert "\n" not in message
        assert not message or message.startswith(str(path))


@pytest.mark.parametrize("name", FORMATS)
def test_the_undamaged_samples_are_read(tmp_path, name):
    assert outcome(write_sample(tmp_path, name), name) == ""
