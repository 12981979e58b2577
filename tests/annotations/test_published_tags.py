"""Tags of published classifiers, in the spellings that were met."""

import pytest

from ner.annotations.published_tags import published_tags


@pytest.mark.parametrize(
    ("names", "tags"),
    [
        (["O", "B-LOC", "I-LOC"], ["O", "B-LOC", "I-LOC"]),
        (["B_PER", "I_PER", "O"], ["B-PER", "I-PER", "O"]),
        (["O", "B-X", "I-X", "L-X", "U-X"], ["O", "B-X", "I-X", "E-X", "S-X"]),
        (["O", "PER", "LOC"], ["O", "I-PER", "I-LOC"]),
        (["[PAD]", "O", "B-LOC", "I-LOC", "X"], ["[PAD]", "O", "B-LOC", "I-LOC", "X"]),
    ],
)
def test_published_spellings_of_tags(names, tags):
    assert published_tags(names) == tags
    assert published_tags(tags) == tags
