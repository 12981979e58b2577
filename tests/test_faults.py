"""The trials of `python -m tests.faults`, a few each; the command alone does them all."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def table() -> list[list[str]]:
    """Its rows: fault, passed, of, remark.  In a process of its own, which nothing was computed in before."""
    command = [sys.executable, "-m", "tests.faults", "--quick"]
    ended = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert ended.returncode in (0, 1), ended.stderr
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in ended.stdout.splitlines()]
    print(ended.stderr)
    return rows[2:]


def test_every_trial_ends_as_promised(table):
    assert len(table) == 14 + 5 + 4 + 3
    assert [row for row in table if row[1] != row[2]] == []


@pytest.mark.parametrize(
    "fault",
    [
        *("SIGKILL", "bit", "full disk", "NaN", "fp16", "malformed data, made", "sentences", "bytes"),
        *("pickle", "mutations"),
    ],
)
def test_every_kind_of_fault_is_tried(table, fault):
    assert any(fault in row[0] and int(row[2]) > 0 for row in table if "left out" not in row[3])
