"""Runs a few trials of each kind in `python -m tests.faults`; the command without --quick runs all."""

import subprocess
import sys
from pathlib import Path

KINDS = [
    *("SIGKILL", "bit", "full disk", "NaN", "fp16", "malformed data, made", "sentences", "bytes"),
    *("pickle", "mutations"),
]


def test_every_trial_ends_as_promised():
    """Runs in a new process, because the trials fork one that has computed nothing.

    The columns of the table are fault, passed, of, remark.
    """
    command = [sys.executable, "-m", "tests.faults", "--quick"]
    ended = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert ended.returncode in (0, 1), ended.stderr
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in ended.stdout.splitlines()][2:]
    assert len(table) == 14 + 5 + 4 + 3
    assert [row for row in table if row[1] != row[2]] == [], ended.stderr
    faults = [row[0] for row in table if "left out" not in row[3] and int(row[2]) > 0]
    assert [kind for kind in KINDS if not any(kind in fault for fault in faults)] == []
