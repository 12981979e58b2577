"""The corpus of a build: each sentence and each illegal tag has its place in a file."""

from ner.data.audit import corpus_of_build
from ner.data.audit.checks import (
    ambiguous_surfaces,
    illegal_tags,
)
from ner.data.build import build
from ner.data.formats import FORMATS, read
from ner.tags import Span


def test_the_place_of_an_entity_is_the_line_of_its_first_token(tmp_path):
    """Checks train, val split off train, and a test file without one token a line."""
    rows = [f"{n}\tO\nz\tB-X\nz\tI-X\nz\tB-Y\n" for n in range(6)]
    (tmp_path / "x.txt").write_text("\n".join(rows))
    (tmp_path / "y.jsonl").write_text('\n{"text": "a z", "label": [[2, 3, "X"]]}\n')
    documents = {"train": read(tmp_path / "x.txt"), "test": read(tmp_path / "y.jsonl", unit="word")}
    corpus = corpus_of_build(documents, build(documents, val_size=2))
    found = {(place, span) for place, _, span in corpus.entities()}
    in_rows = {(f"x.txt:{5 * n + 2}", Span(1, 3, "X")) for n in range(6)}
    in_rows |= {(f"x.txt:{5 * n + 4}", Span(3, 4, "Y")) for n in range(6)}
    assert found == in_rows | {("y.jsonl:2", Span(1, 2, "X"))}
    [z] = [f for f in ambiguous_surfaces(corpus) if f.values["surface"] == "z"]
    assert z.places == ["y.jsonl:2"]


def test_illegal_tags_are_located_in_their_file(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("a\tB-X\nb\tI-Y\n\na\tI-X\nb\tO\n\na\tB-X\nb\tI-X\n")
    documents = {"train": FORMATS["bio"].reader(path)}
    corpus = corpus_of_build(documents, build(documents, val_size=1))
    assert [(f.places, f.what) for f in illegal_tags(corpus)] == [(["x.txt:2"], "I-Y"), (["x.txt:4"], "I-X")]
