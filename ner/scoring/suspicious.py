"""Gold that a model doubts: sentences for which the model's best answer differs from gold.

Only sentences with a confident answer are listed: the model gives it more than half of all probability.  They
are ranked by the margin in nats, log P(the model's answer) - log P(gold): the difference of the two losses.

A model's disagreement only finds wrong labels if the model has not learned them, so Wang et al. (CrossWeigh,
EMNLP 2019) and Northcutt et al. (Confident learning, JAIR 70, 2021) train it on the other parts of the data.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ner.annotations import ANNOTATIONS
from ner.data.sentence import Sentence
from ner.files import whole_file
from ner.heads.base import Head
from ner.inference.predict import write_json_lines
from ner.runtime.logs import log
from ner.tags import ScoredSpan, Span

N_LOGGED = 10  # sentences
N_LOGGED_ENTITIES = 3  # of one sentence


class Margins:
    """A hook of `predict` that keeps two losses of every sentence, in nats: of gold and of the answer."""

    def __init__(self, head: Head, n_sentences: int):
        self.head, self.gold, self.found = head, np.zeros(n_sentences), np.zeros(n_sentences)

    def __call__(self, indices, batch, scores, losses, answers) -> None:
        """As `ner.inference.predict.OnBatch`; the batch must hold gold."""
        spans = [answer["spans"] for answer in answers]
        padded = ANNOTATIONS["spans"].collate(spans, self.head.inventories["spans"])
        as_gold = batch._replace(gold={"spans": torch.from_numpy(padded).to(batch.mask.device)})
        self.gold[indices] = losses.double().cpu().numpy()
        self.found[indices] = self.head.loss(scores, as_gold).double().cpu().numpy()


def suspicious(
    sentences: Sequence[Sentence], predicted: Sequence[Sequence[ScoredSpan]], margins: Margins, *, unit: str
) -> tuple[list[dict], Counter[str]]:
    """Sentences whose gold differs from a confident answer, as JSON objects, the largest margin first.

    Also returns how many other sentences differ, by reason.
    """
    gap = "" if unit == "char" else " "
    objects, others = [], Counter()
    for i, (sentence, spans) in enumerate(zip(sentences, predicted, strict=True)):
        gold, found = set(sentence.spans), {Span(*span[:3]) for span in spans}
        if gold == found:
            continue
        if reason := _reason_to_skip(margins, i, sentence):
            others[reason] += 1
            continue
        objects.append(
            {
                "line": i + 1,
                "margin": max(0.0, float(margins.gold[i] - margins.found[i])),
                "log_probability": -float(margins.found[i]),
                "gold_only": _entities(sorted(gold - found), sentence, gap),
                "predicted_only": _entities(sorted(found - gold), sentence, gap),
                "text": gap.join(sentence.tokens),
            }
        )
    return sorted(objects, key=lambda values: -values["margin"]), others


def _reason_to_skip(margins: Margins, i: int, sentence: Sentence) -> str:
    """Why the losses of sentence i say nothing about its gold; empty if they do."""
    if not {span.label for span in sentence.spans} <= margins.head.inventories["spans"].label_ids.keys():
        return "gold has a label that the model does not know"
    if len(margins.head.learnable("spans", sentence.spans)) < len(sentence.spans):
        return "gold has entities that the model's head cannot find"
    return "the model is not confident" if margins.found[i] >= math.log(2) else ""


def _entities(spans: Sequence[Span], sentence: Sentence, gap: str) -> list[dict]:
    return [
        {"start": start, "end": end, "label": label, "text": gap.join(sentence.tokens[start:end])}
        for start, end, label in spans
    ]


def report_suspicious(out_dir: Path, split: str, objects: Sequence[dict], others: Mapping[str, int]) -> None:
    """Writes `suspicious_<split>.jsonl`, one object a sentence; `line` counts in `sentences.txt`, from 1.

    Logs the sentences with the largest margins, and how many were not ranked.
    """
    path = out_dir / f"suspicious_{split}.jsonl"
    with whole_file(path) as file:
        write_json_lines(objects, file)
    log.info(f"\nsentences whose gold the model doubts, the widest margins first: {len(objects):,} in {path}")
    for values in objects[:N_LOGGED]:
        gold, found = (_describe(values[key]) for key in ("gold_only", "predicted_only"))
        place = f"{split}/sentences.txt:{values['line']}"
        log.info(f"  {place}: margin {values['margin']:.2f}: gold {gold}; model {found}")
    for reason, n in others.items():
        log.info(f"  not ranked, {reason}: {n:,}")


def _describe(entities: Sequence[dict]) -> str:
    named = [f"{e['label']} {e['text']} ({e['start']}-{e['end']})" for e in entities[:N_LOGGED_ENTITIES]]
    if len(entities) > N_LOGGED_ENTITIES:
        named.append(f"{len(entities) - N_LOGGED_ENTITIES} more")
    return ", ".join(named) or "nothing"
