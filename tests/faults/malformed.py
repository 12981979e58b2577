"""Malformed data for `tests.faults`: build_dataset.py refuses it, or reads it and reports the repair.

A case is one run of build_dataset.py.  A refusal prints one line, exits with 2 and writes nothing.  Data that
is read must have the counts given here, and the report must name the repair.
"""

import gzip
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import build_dataset
from ner.runtime import program

WORDS = "北\tB-LOC\n京\tI-LOC\n\n我\tO\n\n她\tO\n"  # three sentences, six lines
JSON = '{"text": "北京人", "label": [[0, 2, "LOC"]]}\n'
TASK = '[{"data": {"text": "北京"}, "annotations": [%s]}]'
OFF = "1 entity not matching the text"


class Case(NamedTuple):
    """One malformed data set.

    files: the content of x.txt, the contents of several files, or the path of a published file.
    says: for a refusal, the message after the name of the file or its stem; for a repair, part of the report.
    counts: sentences and entities that are built; None if the data are refused.
    """

    title: str
    files: str | bytes | dict[str, bytes] | Path
    says: str
    counts: tuple[int, int] | None = None
    argv: tuple[str, ...] = ()


COLUMNS = [
    Case("nothing", "", ": empty"),
    Case("blank lines alone", "\n \n\t\n", ": no sentence"),
    Case("GB18030", WORDS.encode("gb18030"), ":1: not utf-8, got bytes b1 b1 09 42; --encoding gb18030"),
    Case("Big5", "臺北\tB-LOC\n".encode("big5"), ":1: not utf-8, got bytes bb 4f a5 5f; --encoding names"),
    Case("UTF-16", WORDS.encode("utf-16"), ":1: not utf-8, got bytes ff fe 17 53; --encoding utf-16"),
    Case("Windows-1252", "in O\nZürich B-LOC\n".encode("cp1252"), ":2: not utf-8, got bytes fc 72 69 63"),
    Case("an encoding nobody has", WORDS, "--encoding klingon: no such", None, ("--encoding", "klingon")),
    Case("gzip", gzip.compress(WORDS.encode()), ":1: not utf-8"),
    Case("PDF", b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", ":2: not utf-8"),
    Case("a row without tag", WORDS + "好\n", ":7: 2 columns expected, got 1"),
    Case("a row of three columns", WORDS + "好 x O\n", ":7: 2 columns expected, got 3"),
    Case("an empty token", WORDS + "\tO\n", ":7: empty token"),
    Case("an empty tag", WORDS + "好\t\n", ":7: tag ''"),
    Case("a prefix of no scheme", WORDS + "好\tX-LOC\n", ":7: tag 'X-LOC'"),
    Case("a label of nothing", WORDS + "好\tB-\n", ":7: tag 'B-'"),
    Case("an underscore in a tag", WORDS + "好\tB_LOC\n", ":7: tag 'B_LOC'"),
    Case("a full-width dash in a tag", WORDS + "好\tB－LOC\n", ":7: tag 'B－LOC'"),
    Case("a tag in lower case", WORDS + "好\tb-loc\n", ":7: tag 'b-loc'"),
    Case("a CR in a tag", WORDS + "好\tB-A\rB\n", ":7: tag 'B-A\\rB'"),
    Case("tag before token", "B-LOC 北\nO 他\n", ":1: tag '北'"),
    Case("no tags", "北\n京\n", ":1: 2 columns expected in train, got 1: no tags"),
    Case("no entity", "北\tO\n", ": no entity in train"),
    Case("a column that is not there", "a x O\n", ": no column 4", None, ("--columns", "4", "-1")),
    Case(
        "illegal tags, --strict", WORDS + "\n好\tI-PER\n", ":8: tag 'I-PER' is not legal", None, ("--strict",)
    ),
    Case("illegal tags", WORDS + "\n好\tI-PER\n", "x.txt: 1 illegal tag, read leniently", (4, 2)),
    Case("tags of IOB1", "a I-X\nb O\n", "x.txt: tags are read as IOB1", (1, 1)),
    Case("BIOES without S-", WORDS + "\n好\tE-LOC\n", "x.txt: 2 illegal tags, read leniently", (4, 2)),
    Case("a byte order mark", "\ufeff" + WORDS, "x.txt: a byte order mark was skipped", (3, 1)),
    Case(
        "one inside", WORDS + "\n\ufeff好\tB-X\n", "x.txt: 1 byte order mark inside skipped: line 8", (4, 2)
    ),
    Case("CRLF", WORDS.replace("\n", "\r\n"), "x.txt: CRLF line ends in 6 of 6 lines", (3, 1)),
    Case("CRLF in places", WORDS.replace("O\n", "O\r\n"), "x.txt: CRLF line ends in 2 of 6 lines", (3, 1)),
    Case("no newline at the end", WORDS[:-1], "x.txt: no newline at the end", (3, 1)),
    Case("a format nobody knows", "a|||b|||0    3    x|||\nc|||d|||\n", ":1: format not recognised"),
    Case("several tags of a token", WORDS + "好\tB-a,B-b\n", ":7: 2 tags in 'B-a,B-b'"),
    Case("an index before the token", "1 a O\n2 b B-X\n", ":1: column 1 counts the rows"),
    Case("a comment", "# id 7 x\n" + WORDS, "x.txt: 1 comment line skipped", (3, 1)),
    Case("a header", "word,tag\na,B-X\n", "x.txt: header: token 'word', tag 'tag'", (1, 1)),
    Case("words as characters", "EU\tB-X\n", ":1: token 'EU', --unit char", None, ("--unit", "char")),
    Case("-DOCSTART-", "-DOCSTART- -X- O\n\nEU N B-X\n", "x.txt: 1 -DOCSTART- line skipped", (1, 1)),
]
OBJECTS = [
    Case("a line cut short", JSON + JSON[:-8], ":2: not JSON at column"),
    Case("an array cut short", f"[{JSON},", ":2: not JSON at column"),
    Case("a comma too many", JSON + '{"text": "a",}\n', ":2: not JSON at column 14"),
    Case("single quotes", "{'text': 'a'}\n", ":1: not JSON at column 2"),
    Case("a number for an object", JSON + "7\n", ":2: got a number, expected a JSON object"),
    Case("a key twice", JSON + '{"text": "a", "text": "b"}\n', ":2: key 'text' twice"),
    Case("no text", JSON + '{"txt": "ab"}\n', ":2: got keys ['txt'], expected a string under 'text'"),
    Case("half a surrogate pair", JSON + '{"text": "\\ud83d", "label": []}\n', ":2: half of a surrogate"),
    Case("NaN for an offset", JSON + '{"text": "ab", "label": [[0, NaN, "X"]]}\n', ":2: got [0, nan, 'X']"),
    Case("offsets as text", JSON + '{"text": "a", "label": [["0", "1", "X"]]}\n', ":2: got ['0', '1', 'X']"),
    Case(
        "an end past the text", JSON + '{"text": "ab", "label": [[0, 9, "X"]]}\n', ":2: X 0-9 in a text of 2"
    ),
    Case("a start below 0", JSON + '{"text": "ab", "label": [[-1, 1, "X"]]}\n', ":2: X -1-1 in a text of 2"),
    Case("an entity of nothing", JSON + '{"text": "ab", "label": [[1, 1, "X"]]}\n', ":2: X 1-1 is empty"),
    Case("a label of nothing", JSON + '{"text": "ab", "label": [[0, 1, " "]]}\n', ":2: label ' '"),
    Case("null for entities", JSON + '{"text": "a", "label": null}\n', ":2: got null under 'label'"),
    Case("a text without annotation", JSON + '{"text": "a"}\n', ":2: not annotated, though other texts are"),
    Case(
        "brackets without end", JSON + '{"label": ' + "[" * 100_000, ":2: not JSON that can be read, nested"
    ),
    Case(
        "a number of a million digits", '{"text": "a", "n": ' + "9" * 1_000_000 + "}", ":1: Exceeds the limit"
    ),
    Case(
        "offsets from 1, ends inclusive",
        '{"text": "在北京", "entities": [{"start": 2, "end": 3, "label": "X", "text": "北京"}]}',
        f":1: X 2-3 '京' in the text, '北京' in the annotation; {OFF}",
    ),
    Case(
        "nested entities",
        JSON + '{"text": "abc", "label": [[0, 3, "X"], [1, 2, "Y"]]}\n',
        "train: 2 of its 3 entities overlap others",
        (2, 3),
    ),
    Case(
        "nested entities, --nested refuse",
        JSON + '{"text": "abc", "label": [[0, 3, "X"], [1, 2, "Y"]]}\n',
        ":2: Y 1-2 'b' overlaps X 0-3 'abc'; 1 entity nested or overlapping",
        None,
        ("--nested", "refuse"),
    ),
    Case(
        "nested entities, --nested keep_longest",
        JSON + '{"text": "abc", "label": [[0, 3, "X"], [1, 2, "Y"]]}\n',
        "x.txt: 1 entity left out, as asked\n  x.txt:2: Y 1-2 'b' overlaps X 0-3 'abc'",
        (2, 2),
        ("--nested", "keep_longest"),
    ),
    Case(
        "an entity that cuts a word",
        '{"text": "New Yorkers", "label": [[0, 8, "LOC"]]}',
        ":1: LOC 0-8 'New York' in 'New Yorkers'; 1 entity cutting a token",
    ),
    Case(
        "an entity given twice",
        '{"text": "北京", "label": [[0, 1, "X"], [0, 1, "X"]]}',
        "x.txt: 1 entity given twice, read once: line 1",
        (1, 1),
    ),
    Case(
        "an empty text",
        JSON + '{"text": "", "label": []}\n',
        "x.txt: 1 text without a token left out: line 2",
        (1, 1),
    ),
]
OTHERS = [
    Case(
        "CLUENER with exclusive ends",
        '{"text": "在北京站", "label": {"LOC": {"北京": [[1, 3]]}}}',
        f":1: LOC 1-4 '北京站' in the text, '北京' in the annotation; {OFF}",
    ),
    Case("CLUENER with a list of types", '{"text": "北", "label": {"LOC": [[0, 0]]}}', ":1: got an array"),
    Case("Label Studio without annotation", TASK % "", ":1: not annotated, expected entities in train"),
    Case(
        "Label Studio with two annotations",
        TASK % '{"result": []}, {"result": []}',
        ":1: 2 annotations of one text",
    ),
    Case(
        "Label Studio, a task skipped",
        TASK[:-1] % '{"result": [{"type": "labels", "value": {"start": 0, "end": 2, "labels": ["X"]}}]}'
        + ","
        + TASK[1:] % '{"was_cancelled": true, "result": []}',
        "x.txt: 1 skipped task left out: line 1",
        (1, 1),
    ),
    Case(
        "brat with an offset past the text",
        {"x.txt": b"ab", "x.ann": b"T1\tX 0 1\ta\nT2\tX 1 9\tb\n"},
        ".ann:2: X 1-9 in a text of 2",
    ),
    Case(
        "brat with another surface",
        {"x.txt": b"ab", "x.ann": b"T1\tX 0 1\tb\n"},
        ".ann:1: X 0-1 'a' in the text, 'b'",
    ),
    Case(
        "brat with an entity in parts",
        {"x.txt": b"a b c", "x.ann": b"T1\tX 0 1;4 5\ta c\n"},
        ".ann:1: X 0 1;4 5 is in 2 parts",
    ),
    Case("brat cut short", {"x.txt": b"ab", "x.ann": b"T1\tX 0"}, ".ann:1: "),
    Case(
        "brat of GB18030",
        {"x.txt": "北京".encode("gb18030"), "x.ann": b"T1\tX 0 1\ta\n"},
        ":1: not utf-8",
    ),
    Case("a folder without texts", {"x.txt/a.json": b"{}"}, ": a folder without .txt"),
    Case("no such file", {}, ": no such file"),
]
MADE = [*COLUMNS, *OBJECTS, *OTHERS]
REAL = [
    Case("GB18030", Path("military_gbk/train/train_V2_1.json"), ":2: not utf-8, got bytes b6 c8 ba a3"),
    Case(
        "keys of its own",
        Path("military_gbk/train/train_V2_1.json"),
        ":1: got keys ['originalText', 'entities']",
        None,
        ("--encoding", "gb18030"),
    ),
    Case("an empty token", Path("btc/f.conll"), ":16302: empty token"),
    Case("empty tokens", Path("btc/h.conll"), ":22918: empty token"),
    Case("relations between TABs", Path("sanwen/valid.txt"), ":1: format not recognised"),
    Case("more of them", Path("finre/valid.txt"), ":1: format not recognised"),
    Case("classes between TABs", Path("thucnews_title/dev.txt"), ":1: format not recognised"),
    Case(
        "comma-separated values", Path("waimai_10k/waimai_10k.csv"), ":1: CSV with the columns label, review"
    ),
    Case("marks in the text", Path("boson/origindata.txt"), ":1: not JSON at column 2"),
    Case("sentences and tags in two files", Path("msra/lemonhu_val_tags.txt"), ":1: format not recognised"),
    Case(
        "nested entities",
        Path("cluener/train.json"),
        ":1507: company 16-20 '招商银行' overlaps book 15-35",
        None,
        ("--nested", "refuse"),
    ),
    Case("no annotation", Path("cluener/test.json"), ":1: not annotated"),
    Case("CRLF", Path("youku/dev.txt"), "CRLF line ends in 17,346 of 17,346 lines", (1000, 1581)),
    Case("CRLF, U+FFFD", Path("ecommerce_taobao/dev.txt"), "CRLF line ends in 30,184 of 30,184", (998, 4941)),
    Case("empty texts", Path("video_music_book/valid.txt"), "2 texts without a token left out", (975, 1777)),
    Case(
        "labels cut short",
        Path("video_music_book/test.txt"),
        "val: label boo is not in train; 781 of its entities count as missed gold",
        (978 + 975, 1716 + 1749),
        ("--val", "{data}/video_music_book/dev.txt"),
    ),
    Case("IOB1", Path("conll2003/eng.testb"), "eng.testb: tags are read as IOB1", (3453, 5648)),
]


def run_cases(cases: list[Case], folder: Path, fork: Callable) -> Iterator[tuple[Case, bool]]:
    """Runs each case; yields it with whether it passed.  Prints the output of a case that failed."""
    for case in cases:
        place = folder / "case"
        place.mkdir()
        path = write_files(case, place)
        argv = ["--train", str(path), "--out_dir", str(place / "out"), "--val_size", "0", *case.argv]
        if "--val" in case.argv:
            argv = [
                item.format(data=os.environ["NER_DATA"]) for item in argv if item not in ("--val_size", "0")
            ]
        before = sorted(place.rglob("*"))
        ended = fork(lambda argv=argv: program.run(build_dataset.main, build_dataset.parse_args, argv))
        passed = is_expected(case, path, place, ended, before)
        if not passed:
            print(f"{case.title}: expected {case.says}\n{ended.output}", file=sys.stderr)
        yield case, passed
        shutil.rmtree(place)


def write_files(case: Case, place: Path) -> Path:
    """Writes the files of a case; returns the path of the file to read."""
    if isinstance(case.files, Path):
        return Path(os.environ["NER_DATA"]) / case.files
    files = case.files if isinstance(case.files, dict) else {"x.txt": case.files}
    for name, content in files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return place / "x.txt"


def is_expected(case: Case, path: Path, place: Path, ended, before: list[Path]) -> bool:
    """Whether a run ended as the case expects."""
    if case.counts is None:
        where = {":": path, ".": path.with_suffix("")}.get(case.says[0], "")
        is_line = ended.is_one_line and ended.output.startswith(f"error: {where}{case.says}")
        is_line = is_line and ended.output.count("\n") == 1
        return is_line and ended.code == 2 and sorted(place.rglob("*")) == before
    if ended.code or case.says not in ended.output:
        return False
    splits = json.loads((place / "out" / "dataset.json").read_text(encoding="utf-8"))["splits"].values()
    counts = (sum(s["sentences"] for s in splits), sum(sum(s["entities"].values()) for s in splits))
    unfinished = [file for file in place.rglob("*") if "unfinished" in file.name]
    return counts == case.counts and not unfinished


def trials(folder: Path, fork: Callable) -> Iterator[tuple[str, int, int, str]]:
    """Yields rows of the table: fault, passed, of, remark."""
    for kind, cases in (("made", MADE), ("real", REAL)):
        title = (
            f"malformed data, {kind}: refused in one line, nothing written; or read and reported with a count"
        )
        if kind == "real" and "NER_DATA" not in os.environ:
            yield title, 0, 0, "NER_DATA is not set: left out"
            continue
        results = list(run_cases(cases, folder, fork))
        refusals = [case for case, _ in results if case.counts is None]
        n_named = sum(bool(re.match(r"[.\w]*:\d+: ", case.says)) for case in refusals)
        remark = (
            f"{len(refusals)} refused, {n_named} of them with the line; {len(results) - len(refusals)} read"
        )
        yield title, sum(passed for _, passed in results), len(results), remark
