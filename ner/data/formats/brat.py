"""brat: a folder of pairs `x.txt` and `x.ann`; each entity is a line `T1 TAB LOC start end TAB surface`.

https://brat.nlplab.org/standoff.html.  Offsets count the code points of the unchanged text; CR and LF count
as one each.  A text without `.ann` is not annotated.
"""

import hashlib
import re
from itertools import pairwise
from pathlib import Path

from ner.data.formats.content import read_content, skip_marks
from ner.data.formats.document import DEFAULTS, AnnotatedText, Format, InvalidSpan, Mark, Reading, Texts
from ner.data.formats.texts import refuse_labels
from ner.data.wording import count_noun
from ner.errors import DataError
from ner.files import write_lines

_ENTITY = re.compile(r"T\S*\t(\S(?:[^\t]*\S)?) (\d+ \d+(?:;\d+ \d+)*)(?:\t(.*))?", re.DOTALL)
_IGNORED = "REAMN*#"  # relations, events, attributes, modifications, normalisations, equivalences, notes
_LINE_BREAKS = str.maketrans("\r\n\t", "   ")  # brat writes them as spaces in a surface


def looks_like(path: Path, text: str) -> bool:
    """True for a folder, and for a `.txt` or `.ann` file if the `.ann` file exists."""
    return path.is_dir() or (path.suffix in (".ann", ".txt") and path.with_suffix(".ann").exists())


def read_brat(path: str | Path, reading: Reading = DEFAULTS) -> Texts:
    """Reads all texts below a folder, sorted by name; or one text, given by its `.txt` or `.ann`.

    An entity in parts is one span if only white space separates them: brat writes an entity that crosses a
    line end in this way.  Any other entity in parts becomes an `InvalidSpan`.
    """
    path = Path(path)
    texts, invalid, digests, notes, n_ignored = [], [], [], [], 0
    for text_path in _text_paths(path):
        content = read_content(text_path, reading.encoding, exact=True)
        digests.append(f"{text_path.name} {content.sha256}\n")
        notes += [f"{text_path.name}: {note}" for note in content.notes]
        ann_path, marks = text_path.with_suffix(".ann"), None
        if ann_path.exists():
            annotation = read_content(ann_path, reading.encoding, exact=True)
            digests.append(f"{ann_path.name} {annotation.sha256}\n")
            rows, skipped = skip_marks(annotation.text)
            notes += [f"{ann_path.name}: {note}" for note in skipped]
            marks = []
            for number, line in enumerate(rows.split("\n"), start=1):
                if line and line[0] in _IGNORED:
                    n_ignored += 1
                elif line and not line.isspace():
                    entity = _read_entity(ann_path, number, line.removesuffix("\r"), content.text)
                    (marks if isinstance(entity, Mark) else invalid).append(entity)
        path_of_marks, marks = (text_path, None) if marks is None else (ann_path, tuple(marks))
        texts.append(AnnotatedText(path_of_marks, 1, content.text, marks, text_place=(text_path, 1)))
    if n_ignored:
        notes.append(f"{count_noun(n_ignored, 'line')} of .ann without an entity ignored")
    sha256 = hashlib.sha256("".join(digests).encode()).hexdigest()
    return Texts(path, texts, notes, sha256, tuple(invalid))


def _text_paths(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path.with_suffix(".txt")]
    paths = sorted(path.rglob("*.txt"))
    if not paths:
        raise DataError(f"{path}: a folder without .txt, expected a file or pairs x.txt and x.ann")
    unpaired = sorted(p for p in path.rglob("*.ann") if not p.with_suffix(".txt").exists())
    if unpaired:
        first = unpaired[0]
        raise DataError(f"{first}: no {first.stem}.txt in its folder, expected pairs x.txt and x.ann")
    return paths


def _read_entity(path: Path, number: int, line: str, text: str) -> Mark | InvalidSpan:
    match = _ENTITY.fullmatch(line)
    if match is None:
        raise DataError(f"{path}:{number}: got {line[:40]!r}, expected T1 TAB LOC 3 5 TAB surface")
    label, offsets, surface = match[1], match[2], match[3]
    parts = [tuple(map(int, part.split(" "))) for part in offsets.split(";")]
    if not all(text[end:start].isspace() for (_, end), (start, _) in pairwise(parts)):
        return InvalidSpan(path, number, f"{label} {offsets} is in {len(parts)} parts")
    start, end = parts[0][0], parts[-1][1]
    expected = " ".join(text[first:last] for first, last in parts).translate(_LINE_BREAKS)
    if surface is not None and surface.translate(_LINE_BREAKS) == expected:
        surface = text[start:end]
    return Mark(start, end, label, number, surface)


def write_brat(folder: str | Path, source: Texts) -> None:
    """Writes `1.txt`, `1.ann`, ... with leading zeros; without `.ann` if a text is not annotated."""
    no_space = "expected a label without white space, as brat needs it"
    refuse_labels(source, lambda label: not label or any(map(str.isspace, label)), no_space)
    folder = Path(folder)
    folder.mkdir(parents=True)
    width = len(str(len(source.texts)))
    for number, text in enumerate(source.texts, start=1):
        path = folder / f"{number:0{width}d}.txt"
        path.write_bytes(text.text.encode())
        if text.marks is not None:
            rows = (
                f"T{i}\t{m.label} {m.start} {m.end}\t{text.text[m.start : m.end].translate(_LINE_BREAKS)}"
                for i, m in enumerate(text.marks, start=1)
            )
            write_lines(path.with_suffix(".ann"), rows)


FORMAT = Format("texts", read_brat, looks_like, write_brat, "a folder, or an .ann file")
