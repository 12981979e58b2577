"""brat: a folder of `x.txt` and `x.ann`, a line `T1 TAB LOC start end TAB surface` an entity.

https://brat.nlplab.org/standoff.html.  Offsets are code points of the text as it stands, each CR and LF one
of them.  A text without `.ann` is not annotated.
"""

import hashlib
import re
from itertools import pairwise
from pathlib import Path

from ner.data.formats.document import count_of, read_content
from ner.data.formats.texts import AnnotatedText, InvalidSpan, Mark, Texts, check_labels
from ner.errors import DataError

_ENTITY = re.compile(r"T\S*\t(\S+) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?", re.DOTALL)
_OTHERS = "REAMN*#"  # relations, events, attributes, modifications, normalisations, equivalences, notes
_LINE_BREAKS = str.maketrans("\r\n\t", "   ")  # as a surface is written


def read_brat(path: str | Path, *, encoding: str = "utf-8") -> Texts:
    """All texts below a folder, in the order of their names; or one, given by its `.txt` or `.ann`.

    Parts of an entity with only white space between them, as brat writes one that goes over a line end,
    are one span; others are a `InvalidSpan`.
    """
    path = Path(path)
    texts, invalid, digests, notes, n_others = [], [], [], [], 0
    for text_path in _text_paths(path):
        content = read_content(text_path, encoding, exact=True)
        digests.append(f"{text_path.name} {content.sha256}\n")
        notes += [f"{text_path.name}: {note}" for note in content.notes]
        ann_path, marks = text_path.with_suffix(".ann"), None
        if ann_path.exists():
            annotation = read_content(ann_path, encoding, exact=True)
            digests.append(f"{ann_path.name} {annotation.sha256}\n")
            marks = []
            for number, line in enumerate(annotation.text.removeprefix("\ufeff").split("\n"), start=1):
                if line and line[0] in _OTHERS:
                    n_others += 1
                elif line and not line.isspace():
                    found = _entity(ann_path, number, line.removesuffix("\r"), content.text)
                    (marks if isinstance(found, Mark) else invalid).append(found)
        where, marks = (text_path, None) if marks is None else (ann_path, tuple(marks))
        texts.append(AnnotatedText(where, 1, content.text, marks, stands=(text_path, 1)))
    if n_others:
        notes.append(f"{count_of(n_others, 'line')} of .ann without an entity passed over")
    sha256 = hashlib.sha256("".join(digests).encode()).hexdigest()
    return Texts(path, texts, notes, sha256, tuple(invalid))


def _text_paths(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path.with_suffix(".txt")]
    paths = sorted(path.rglob("*.txt"))
    if not paths:
        raise DataError(f"{path}: a folder without .txt, expected a file or pairs x.txt and x.ann")
    alone = sorted(p for p in path.rglob("*.ann") if not p.with_suffix(".txt").exists())
    if alone:
        raise DataError(f"{alone[0]}: no {alone[0].stem}.txt beside it, expected pairs x.txt and x.ann")
    return paths


def _entity(path: Path, number: int, line: str, text: str) -> Mark | InvalidSpan:
    match = _ENTITY.fullmatch(line)
    if match is None:
        raise DataError(f"{path}:{number}: got {line[:40]!r}, expected T1 TAB LOC 3 5 TAB surface")
    label, places, surface = match[1], match[2], match[3]
    parts = [tuple(map(int, part.split(" "))) for part in places.split(";")]
    if not all(text[end:start].isspace() for (_, end), (start, _) in pairwise(parts)):
        return InvalidSpan(path, number, f"{label} {places} is in {len(parts)} parts")
    start, end = parts[0][0], parts[-1][1]
    shown = " ".join(text[first:last] for first, last in parts).translate(_LINE_BREAKS)
    if surface is not None and surface.translate(_LINE_BREAKS) == shown:
        surface = text[start:end]
    return Mark(start, end, label, number, surface)


def write_brat(folder: str | Path, source: Texts) -> None:
    """`1.txt` and `1.ann`, numbered with as many digits as the last; no `.ann` where not annotated."""
    check_labels(source)
    folder = Path(folder)
    folder.mkdir(parents=True)
    width = len(str(len(source.texts)))
    for number, text in enumerate(source.texts, start=1):
        path = folder / f"{number:0{width}d}.txt"
        path.write_bytes(text.text.encode())
        if text.marks is not None:
            rows = [
                f"T{i}\t{m.label} {m.start} {m.end}\t{text.text[m.start : m.end].translate(_LINE_BREAKS)}\n"
                for i, m in enumerate(text.marks, start=1)
            ]
            path.with_suffix(".ann").write_bytes("".join(rows).encode())
