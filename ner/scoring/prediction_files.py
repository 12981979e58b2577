"""The predictions of a scored split, as files."""

import json
from collections.abc import Sequence
from pathlib import Path

from ner.data.sentence import Sentence, escape
from ner.files import whole_file
from ner.tags import Span, n_overlapping, spans_to_tags


def write_predictions(
    out_dir: Path, split: str, sentences: Sequence[Sentence], predicted: Sequence[Sequence[Span]]
) -> list[str]:
    """Writes `predictions_<split>.jsonl` (one object a sentence, spans half-open) and, where none overlap,
    `predictions_<split>.txt` (token, gold, predicted; TAB between, a blank line after each sentence).

    An earlier `.txt` is removed where spans overlap.  Returns the names of what was written.
    """
    columns, objects = (out_dir / f"predictions_{split}.{ending}" for ending in ("txt", "jsonl"))
    with whole_file(objects) as file:
        for sentence, spans in zip(sentences, predicted, strict=True):
            values = {"tokens": sentence.tokens, "gold": sentence.spans, "predicted": list(spans)}
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
    if any(map(n_overlapping, (*predicted, *(sentence.spans for sentence in sentences)))):
        columns.unlink(missing_ok=True)
        return [objects.name]
    with whole_file(columns) as file:
        for sentence, spans in zip(sentences, predicted, strict=True):
            n_tokens = len(sentence.tokens)
            tags = spans_to_tags(sentence.spans, n_tokens), spans_to_tags(spans, n_tokens)
            for token, gold, guess in zip(sentence.tokens, *tags, strict=True):
                file.write(f"{escape(token)}\t{gold}\t{guess}\n")
            file.write("\n")
    return [columns.name, objects.name]
