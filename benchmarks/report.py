"""The output of a benchmark: markdown tables, and JSON with every measured second."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.timing import Measured
from ner import files
from ner.config import to_json
from ner.runtime import devices


def markdown(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """A table whose columns are the keys of the first row; the title heads the first column."""
    columns = list(rows[0])
    lines = [[title, *columns[1:]], ["---"] * len(columns)]
    lines += [[str(row[column]) for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def machine() -> dict[str, Any]:
    """Facts about the machine.  `busy_before` is the load by other work, which spoils every figure."""
    return devices.environment() | {"busy_before": busy()}


def busy(seconds: float = 0.5) -> float | None:
    """Number of busy processors while this process sleeps, such as 0.5; None without /proc/stat."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None

    def working() -> int:
        ticks = list(map(int, stat.read_text().split()[1:8]))  # user nice system idle iowait irq softirq
        return sum(ticks) - ticks[3] - ticks[4]

    start = working()
    time.sleep(seconds)
    return (working() - start) / os.sysconf("SC_CLK_TCK") / seconds


def seconds(measured: Mapping[str, Measured]) -> dict[str, dict]:
    """Every measured second, by arm."""
    return {name: {"first": m.first, "counted": m.seconds} for name, m in measured.items()}


def finish(args: argparse.Namespace, before: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]) -> None:
    """Prints the tables, each {"title", "rows", ...}, and writes them to --out.

    `before` is the result of `machine` before the measurements.
    """
    for table in tables:
        print(markdown(table["title"], table["rows"]))
        if ceiling := table.get("ceiling_flop_per_second"):
            print(f"bf16 ceiling: {ceiling / 1e9:,.0f} GFLOP/s\n")
    facts = [f"{before['processor']}", f"{before['threads']} threads", f"torch {before['torch']}"]
    if before["gpu"] != "none":
        facts.append(before["gpu"])
    how = f"medians of {args.rounds} rounds, interleaved" if args.rounds > 1 else "one round"
    print(f"{', '.join(facts)}; {how}.")
    if before["busy_before"] is not None and before["busy_before"] > 0.1:
        print(f"The machine was not quiet: {before['busy_before']:.1f} processors at work before the start.")
    if args.out:
        command = shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
        values = {"command": command, "machine": before, "tables": list(tables)}
        with files.whole_file(args.out) as file:
            file.write(to_json(values))


def times(ratio: float) -> str:
    """1.234 -> `1.23x`, 12.34 -> `12.3x`."""
    return f"{ratio:.2f}x" if ratio < 10 else f"{ratio:.1f}x" if ratio < 100 else f"{ratio:,.0f}x"


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}%"
