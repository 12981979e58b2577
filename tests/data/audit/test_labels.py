"""Labels that disagree, compared with brute force over all pairs of sentences."""

from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from ner.data.audit import corpus_of_build
from ner.data.audit.checks import ambiguous_surfaces, conflicting_texts, illegal_tags, labels_in_one_split
from ner.data.build import build
from ner.data.formats import FORMATS, read
from ner.tags import Span, tags_to_spans


@st.composite
def sentences(draw):
    tokens = draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=3))
    tags = [draw(st.sampled_from(["O", "B-X", "I-X", "B-Y"])) for _ in tokens]
    return tokens, tags_to_spans(tags)


splits = st.fixed_dictionaries(
    {name: st.lists(sentences(), min_size=1, max_size=6) for name in ("train", "test")}
)


def with_places(splits):
    return [(f"{name}:{i}", *row) for name, rows in splits.items() for i, row in enumerate(rows)]


@given(splits)
@settings(deadline=None, max_examples=200)
def test_texts_with_several_readings(make_corpus, splits):
    expected = set()
    for (a, tokens, spans), (b, other_tokens, other_spans) in combinations(with_places(splits), 2):
        if tokens == other_tokens and spans != other_spans:
            expected |= {a, b}
    found = conflicting_texts(make_corpus(**splits))
    # a third sentence with one of the two readings is listed with them
    texts = {tuple(tokens) for place, tokens, _ in with_places(splits) if place in expected}
    everywhere = {place for place, tokens, _ in with_places(splits) if tuple(tokens) in texts}
    assert sorted(place for f in found for place in f.places) == sorted(everywhere)
    assert len(found) == len(texts)
    for f in found:
        for reading in f.values["readings"]:
            for place in reading["places"]:
                _, tokens, spans = next(row for row in with_places(splits) if row[0] == place)
                expected_entities = [[s, e, label, "".join(tokens[s:e])] for s, e, label in spans]
                assert reading["entities"] == expected_entities


@given(splits)
@settings(deadline=None, max_examples=200)
def test_surfaces_with_several_labels(make_corpus, splits):
    seen = [
        ("".join(tokens[start:end]), label, place)
        for place, tokens, spans in with_places(splits)
        for start, end, label in spans
    ]
    found = {f.values["surface"]: f for f in ambiguous_surfaces(make_corpus(**splits))}
    assert set(found) == {a for a, label, _ in seen for b, other, _ in seen if a == b and label != other}
    for surface, f in found.items():
        labels = [label for other, label, _ in seen if other == surface]
        assert f.values["labels"] == {label: labels.count(label) for label in labels}
        commonest = next(iter(f.values["labels"]))
        assert labels.count(commonest) == max(map(labels.count, labels))
        rarer = [place for other, label, place in seen if other == surface and label != commonest]
        assert set(f.places) == set(rarer)
    shares = [max(f.values["labels"].values()) / sum(f.values["labels"].values()) for f in found.values()]
    assert shares == sorted(shares, reverse=True)


def test_labels_of_one_split(make_corpus):
    x, y, z = (Span(0, 1, label) for label in "XYZ")
    train = [("ab", [x, Span(1, 2, "X")]), ("ab", [y]), ("ab", [x])]
    corpus = make_corpus(train=train, val=[("ab", [y, Span(1, 2, "Z")]), ("c", [z])], test=[("ab", None)])
    found = {f.values["label"]: f for f in labels_in_one_split(corpus)}
    assert set(found) == {"X", "Z"}
    assert found["X"].values == {"label": "X", "split": "train", "entities": 3}
    assert found["X"].places == ["train:0", "train:2"]
    assert found["Z"].what == "Z: 2 in val, none elsewhere"
    assert labels_in_one_split(make_corpus(train=train, test=[("ab", None)])) == []


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
