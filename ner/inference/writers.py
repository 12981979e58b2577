"""How answers are written.  A new writer is a function and a line in `WRITERS`."""

import json
from collections.abc import Callable, Iterable
from typing import TextIO


def write_json_lines(answers: Iterable[dict], file: TextIO) -> None:
    """One JSON object a line; each line is flushed, so that a reader at the other end of a pipe has it."""
    for values in answers:
        file.write(json.dumps(values, ensure_ascii=False) + "\n")
        file.flush()


WRITERS: dict[str, Callable[[Iterable[dict], TextIO], None]] = {"jsonl": write_json_lines}
