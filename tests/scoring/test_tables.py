"""Tables are read back cell by cell, durations second by second."""

import re

import pytest

from ner.scoring.tables import duration, markdown_table


def test_a_table_is_read_back():
    rows = [("system", "F1", "p"), ("a|b", "90.00", "0.01"), ("", "1", "")]
    lines = markdown_table(rows).split("\n")
    cells = [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)] for line in lines]
    assert all(row[0] == row[-1] == "" for row in cells)
    assert cells.pop(1)[1:-1] == ["---", "---:", "---:"]
    assert [tuple(row[1:-1]) for row in cells] == rows


@pytest.mark.parametrize("seconds", [0, 1, 59, 60, 75, 3599, 3600, 3700, 86_400, 360_000])
def test_a_duration_names_every_minute(seconds):
    units = {"h": 3600, "m": 60, "s": 1}
    parts = re.findall(r"(\d+)([hms])", duration(seconds))
    shown = sum(int(number) * units[unit] for number, unit in parts)
    assert shown == (seconds if seconds < 3600 else seconds - seconds % 60)
    assert all(len(number) == 2 for number, _ in parts[1:])


def test_a_duration_is_rounded_before_it_is_split():
    assert [duration(59.6), duration(59.4), duration(3599.7)] == ["1m00s", "59s", "1h00m"]
