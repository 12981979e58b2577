"""Random sentences through every reader and writer, random bytes into every reader, for `tests.faults`."""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ner.data.formats import FORMATS, WRITABLE, Reading, Texts, load, to_document, to_texts
from ner.data.formats.document import DEFAULTS
from ner.data.formats.texts import remove_overlaps
from ner.errors import DataError
from tests.data.formats.test_malformed import LENIENT, SAMPLES, damaged, outcome
from tests.tools.test_convert import ALPHABET, plain, texts, through

IN_COLUMNS = ALPHABET.replace("\t", "").replace("\n", "")  # a token of a column
KEEP = Reading(overlaps="keep")
AMBIGUOUS = "may count UTF-16 units or code points"
MANY = settings(
    database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


def draw(strategy: st.SearchStrategy, act: Callable[[object], None], *, n: int, number: int = 0) -> None:
    """Calls `act` with `n` random examples; `number` is the seed."""

    @seed(number)
    @settings(MANY, max_examples=n)
    @given(strategy)
    def each(drawn: object) -> None:
        act(drawn)

    each()


def sentences(folder: Path, n_wanted: int) -> tuple[int, int, str]:
    """Sends random sentences through all readers and writers.

    Returns how many kept text and offsets exactly, how many there were, and a remark.
    """
    state = {"n": 0, "n_exact": 0, "n_ambiguous": 0}

    def send(source: Texts) -> None:
        state["n"] += len(source.texts)
        try:
            through_texts(folder / "x", source)
            through_columns(folder / "x", source)
            state["n_ambiguous"] += from_others(folder / "x", source)
        except Exception as error:
            print(f"{type(error).__name__}: {error}\n{source}", file=sys.stderr)
            return
        state["n_exact"] += len(source.texts)

    strategy = st.one_of(texts(), texts(IN_COLUMNS, nested=False, min_size=1))
    for number in count():
        if state["n"] >= n_wanted:
            break
        draw(strategy, send, n=min(500, 1 + (n_wanted - state["n"]) // 3), number=number)
    remark = (
        f"{state['n_ambiguous']} files refused because their Label Studio offsets could be read in two ways"
    )
    return state["n_exact"], state["n"], remark


def through_texts(path: Path, source: Texts) -> None:
    """Texts and nested spans: JSON lines, brat, and JSON lines again."""
    found = source
    for name in ("jsonl", "brat", "jsonl"):
        found = through(fresh(path), name, found, name, overlaps="keep")
        assert plain(found) == plain(source), name


def through_columns(path: Path, source: Texts) -> None:
    """Characters and tags: BIO, BIOES, CoNLL and back.  A token with a TAB or newline is refused."""
    wanted = [text for text in remove_overlaps(source, keep_longest=True).texts if text.text]
    if not wanted:
        return
    document = to_document(source._replace(texts=wanted), unit="char")
    if any(set("\t\n") & set(text.text) for text in wanted):
        for writer in ("bio", "bioes"):
            try:
                WRITABLE[writer].writer(fresh(path), document)
            except DataError:
                continue
            raise AssertionError(f"{writer}: a token with a TAB or newline was written")
        return
    for writer, reader in (("bio", "bio"), ("bioes", "bio"), ("bio", "conll")):
        document = through(fresh(path), writer, document, reader, scheme=writer.upper())
        assert not document.illegal
    found = through(fresh(path), "jsonl", to_texts(document, unit="char"), "jsonl")
    assert plain(found) == plain(source._replace(texts=wanted)), "columns"


def from_others(path: Path, source: Texts) -> bool:
    """Formats without a writer: CLUENER, and Label Studio with both kinds of offsets.

    Returns whether a reader refused an ambiguous file.
    """
    fresh(path).write_text("\n".join(map(json.dumps, as_cluener(source))), encoding="utf-8")
    assert plain(load(path, "cluener", KEEP)) == plain(source), "cluener"
    is_refused = False
    for offset in (len, lambda text: len(text.encode("utf-16-le")) // 2):
        fresh(path).write_text(json.dumps(as_labelstudio(source, offset)), encoding="utf-8")
        try:
            found = load(path, "labelstudio", KEEP)
        except DataError as error:
            if AMBIGUOUS not in str(error):
                raise
            is_refused = True
        else:
            assert plain(found) == plain(source), "labelstudio"
    return is_refused


def fresh(path: Path) -> Path:
    """Removes what is at the path, a folder (brat) or a file; returns the path."""
    if path.is_dir():
        for part in path.iterdir():
            part.unlink()
        path.rmdir()
    path.unlink(missing_ok=True)
    return path


def as_cluener(source: Texts) -> Iterator[dict]:
    for text in source.texts:
        labels: dict = {}
        for start, end, label in (mark[:3] for mark in text.marks):
            labels.setdefault(label, {}).setdefault(text.text[start:end], []).append([start, end - 1])
        yield {"text": text.text, "label": labels}


def as_labelstudio(source: Texts, offset: Callable[[str], int]) -> list[dict]:
    """Tasks whose offsets are `offset(text before the position)`."""
    tasks = []
    for text in source.texts:
        results = [
            {
                "start": offset(text.text[:start]),
                "end": offset(text.text[:end]),
                "text": text.text[start:end],
                "labels": [label],
            }
            for start, end, label in (mark[:3] for mark in text.marks)
        ]
        results = [{"type": "labels", "value": value} for value in results]
        tasks.append({"data": {"text": text.text}, "annotations": [{"result": results}]})
    return tasks


def readers(folder: Path, n_each: int) -> tuple[int, int, str]:
    """Gives random bytes and damaged files to every reader.

    Returns how many files were read or refused in one line, how many there were, and a remark.
    """
    state = {"n": 0, "n_passed": 0, "n_refused": 0}

    def feed(name: str | None, path: Path, drawn: tuple[bytes, bool]) -> None:
        data, lenient = drawn
        state["n"] += 1
        path.write_bytes(data)
        try:
            message = outcome(path, name, LENIENT if lenient else DEFAULTS)
            passed = "\n" not in message and (not message or message.startswith(str(folder)))
        except Exception as error:
            message, passed = f"{type(error).__name__}: {error}", False
        if not passed:
            print(f"{name}: {message}\n{data!r}", file=sys.stderr)
        state["n_passed"] += passed
        state["n_refused"] += bool(message)

    (folder / "y.txt").write_bytes("北京😀\na b".encode())
    for name in FORMATS:
        path = folder / ("y.ann" if name == "brat" else "y")
        data = st.one_of(st.binary(max_size=100), damaged(SAMPLES[name]))
        for stated in (name, None):
            draw(st.tuples(data, st.booleans()), partial(feed, stated, path), n=n_each // 2)
    return state["n_passed"], state["n"], f"{state['n_refused']} refused"
