"""Tags of published classifiers, in the spellings that were met."""

import pytest

from ner.annotations.published_tags import published_tags


@pytest.mark.parametrize(
    ("names", "tags"),
    [
        (["O", "B-LOC", "I-LOC"], ["O", "B-LOC", "I-LOC"]),
        (["B_PER", "I_PER", "O"], ["B-PER", "I-PER", "O"]),
        (["PER-B", "PER-I", "O"], ["B-PER", "I-PER", "O"]),
        (["date_B", "O", "date_I", "[PAD]"], ["B-date", "O", "I-date", "[PAD]"]),
        (["O", "E_mail", "LOC"], ["O", "E_mail", "LOC"]),
        (["O", "B-vitamin-B", "I-vitamin-B"], ["O", "B-vitamin-B", "I-vitamin-B"]),
        (["[PAD]", "O", "B-LOC", "I-LOC", "X"], ["[PAD]", "O", "B-LOC", "I-LOC", "X"]),
    ],
)
def test_published_spellings_of_tags(names, tags):
    assert published_tags(names) == tags
    assert published_tags(tags) == tags
