"""Reads a text that a test writes down, and shows what was read."""

import pytest

from ner.data.formats import FORMATS, Reading


@pytest.fixture
def read(tmp_path):
    def reader(content: str | bytes, name: str = "bio", **options):
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "x.txt").write_bytes(data)
        return FORMATS[name].reader(tmp_path / "x.txt", Reading(**options))

    return reader
