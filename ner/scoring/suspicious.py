"""Gold that a model doubts: sentences whose best tagging by the model is another than gold.

Listed are those of whose tagging the model is confident: it gives it more than half of all probability.
They are ranked by the margin, in nats: log P(the model's best tagging) - log P(gold), the difference of
the two losses.  What normalises the probabilities is the same in both, so under a softmax head the margin
is the sum over tokens of the log-odds between the two tags, under a CRF the difference of the scores of
two paths.

That a model's disagreement finds wrong labels needs a model that has not learned them: Wang et al.,
"CrossWeigh: Training named entity tagger from imperfect annotations" (EMNLP 2019), and Northcutt, Jiang
and Chuang, "Confident learning: Estimating uncertainty in dataset labels" (JAIR 70, 2021), predict every
part of the data by a model trained on the others.  The latter learn a threshold for each label, in place of
one half.
"""

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ner.data.batch import Batch
from ner.data.batches import pad_spans
from ner.data.sentence import Sentence
from ner.files import whole_file
from ner.model.directory import Model
from ner.tags import ScoredSpan, Span

LOG_2 = math.log(2)
N_SHOWN = 3  # entities of a sentence in a line for people


class Margins:
    """A hook of `engine.predict` that keeps two losses of every sentence, in nats: of gold and of what was
    found."""

    def __init__(self, model: Model, n_sentences: int):
        self.head = model.tagger.head
        self.label_ids = model.label_ids
        self.gold = np.zeros(n_sentences)
        self.found = np.zeros(n_sentences)

    def __call__(
        self,
        indices: np.ndarray,
        batch: Batch,
        scores: torch.Tensor,
        losses: torch.Tensor,
        spans: list[list[ScoredSpan]],
    ) -> None:
        rows = [[(s.start, s.end, self.label_ids[s.label]) for s in found] for found in spans]
        as_gold = batch._replace(spans=pad_spans(rows).to(batch.mask.device))
        self.gold[indices] = losses.double().cpu().numpy()
        self.found[indices] = self.head.loss(scores, as_gold).double().cpu().numpy()


def suspicious(
    sentences: Sequence[Sentence], predicted: Sequence[Sequence[Span]], margins: Margins, *, unit: str
) -> tuple[list[dict], Counter[str]]:
    """The sentences whose gold differs from a confident prediction, the greatest margin first, as objects
    for JSON; and how many others differ, by reason."""
    gap = "" if unit == "char" else " "
    objects, others = [], Counter()
    for i, (sentence, found) in enumerate(zip(sentences, predicted, strict=True)):
        gold, own = set(sentence.spans), set(found)
        if gold == own:
            continue
        if not {span.label for span in gold} <= margins.label_ids.keys():
            others["gold has a label that the model does not know"] += 1
        elif len(margins.head.learnable(sentence.spans)) < len(gold):
            others["gold has entities that the model's head cannot find"] += 1
        elif margins.found[i] >= LOG_2:
            others["the model is not confident"] += 1
        else:
            objects.append(
                {
                    "line": i + 1,
                    "margin": max(0.0, float(margins.gold[i] - margins.found[i])),
                    "log_probability": -float(margins.found[i]),
                    "gold_only": _entities(sorted(gold - own), sentence, gap),
                    "predicted_only": _entities(sorted(own - gold), sentence, gap),
                    "text": gap.join(sentence.tokens),
                }
            )
    return sorted(objects, key=lambda values: -values["margin"]), others


def _entities(spans: Sequence[Span], sentence: Sentence, gap: str) -> list[dict]:
    return [
        {"start": start, "end": end, "label": label, "text": gap.join(sentence.tokens[start:end])}
        for start, end, label in spans
    ]


def write_suspicious(out_dir: Path, split: str, objects: Sequence[dict]) -> Path:
    """Writes `suspicious_<split>.jsonl`, one object a sentence; `line` is that of `sentences.txt`."""
    path = out_dir / f"suspicious_{split}.jsonl"
    with whole_file(path) as file:
        for values in objects:
            file.write(json.dumps(values, ensure_ascii=False) + "\n")
    return path


def describe(split: str, values: dict) -> str:
    """One line for people: where, by how much, and what stands against what."""
    gold, own = (_listed(values[key]) for key in ("gold_only", "predicted_only"))
    return f"{split}/sentences.txt:{values['line']}: margin {values['margin']:.2f}: gold {gold}; model {own}"


def _listed(entities: Sequence[dict]) -> str:
    named = [f"{e['label']} {e['text']} ({e['start']}-{e['end']})" for e in entities[:N_SHOWN]]
    more = len(entities) - N_SHOWN
    return ", ".join([*named, *([f"{more} more"] if more > 0 else [])]) or "nothing"
