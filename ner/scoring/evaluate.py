"""Scores of a model on annotated sentences, and what people are told about them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ner.annotations import ANNOTATIONS, Answer, Scores
from ner.annotations.base import Scored
from ner.data.batches import Batches
from ner.data.sentence import Sentence, Split
from ner.data.windows import encode
from ner.data.wording import align_columns
from ner.data.words import count_blank_ends
from ner.heads.base import Head
from ner.inference.predict import predict
from ner.model.tagger import Model
from ner.runtime.logs import log


@dataclass(frozen=True)
class Evaluation:
    scores: dict[str, Scores]
    "by the name of the annotation, the head's first one in front"
    loss: float
    "nats a token"
    answers: list[Answer]
    "one a sentence"

    @property
    def main(self) -> Scores:
        """The scores that early stopping, search and results go by."""
        return next(iter(self.scores.values()))

    def predicted(self, name: str) -> list:
        """The predicted values of one annotation, one a sentence."""
        return [answer[name] for answer in self.answers]

    def summary(self) -> dict:
        """The figures of metrics_<split>.json; further annotations stand under their own names."""
        first, *others = self.scores
        figures = {name: self.scores[name].summary() for name in others}
        return self.scores[first].summary() | figures | {"loss": self.loss}

    def per_epoch(self) -> dict[str, float]:
        """The figures of a line of metrics.jsonl, the keys of further annotations prefixed by their names."""
        first, *others = self.scores
        figures = {f"{name}_{key}": x for name in others for key, x in self.scores[name].per_epoch().items()}
        return self.scores[first].per_epoch() | figures


def evaluate(model: Model, batches: Batches, *, device: torch.device, **options) -> Evaluation:
    """Predicts and scores annotated sentences; `options` are those of `predict`."""
    answers, loss = predict(model.tagger, batches, device=device, **options)
    n_tokens = [len(sentence.tokens) for sentence in batches.sentences]
    scores = {}
    for name in model.tagger.head.annotations:
        gold = [sentence.gold[name] for sentence in batches.sentences]
        scores[name] = ANNOTATIONS[name].score(gold, [answer[name] for answer in answers], n_tokens)
    return Evaluation(scores, loss, answers)


def annotated_batches(model: Model, sentences: Sequence[Sentence], *, batch_tokens: int) -> Batches:
    """Batches with gold, to score a model on."""
    examples, targets = encode(sentences, model.tokenizer), model.tagger.head
    return Batches(examples, windows=model.windows, batch_tokens=batch_tokens, targets=targets)


def count_gold(sentences: Sequence[Sentence], name: str) -> int:
    """Number of gold items of one annotation."""
    return sum(ANNOTATIONS[name].count(sentence.gold[name]) for sentence in sentences)


def log_unread_gold(batches: Batches, split: str) -> None:
    """Logs how many gold items are lost because long sentences are truncated."""
    if batches.kept is None:
        return
    pairs = zip(batches.kept, batches.sentences, strict=True)
    n_cut = sum(len(kept) < len(sentence.tokens) for kept, sentence in pairs)
    for name in batches.targets.inventories:
        n_gold, n_unread = count_gold(batches.sentences, name), batches.n_unread(name)
        log.info(
            f"{split}: long_text {batches.windows.long_text} cuts {n_cut} of {len(batches.sentences)} "
            f"sentences; {n_unread} of {n_gold} gold {ANNOTATIONS[name].items} are not read, "
            "and count as missed"
        )


def log_missed_gold(head: Head, sentences: Sequence[Sentence]) -> None:
    """Logs how many gold items the head can never find, and why."""
    for name in head.annotations:
        reasons: Counter[str] = Counter()
        for sentence in sentences:
            found = head.learnable(name, sentence.gold[name])
            if len(found) < len(sentence.gold[name]):
                lost = (item for item in sentence.gold[name] if item not in found)
                reasons.update(head.reason_missed(name, item) for item in lost)
        for reason, n in reasons.items():
            log.info(
                f"{n} of {count_gold(sentences, name)} gold {ANNOTATIONS[name].items} {reason}; "
                "this head cannot find them, they count as missed"
            )
    if n_blank := count_blank_ends(sentences):
        log.info(f"{n_blank} gold entities begin or end with white space: never predicted, counted as missed")


def write_predictions(
    out_dir: Path, split: str, sentences: Sequence[Sentence], evaluation: Evaluation
) -> list[str]:
    """Writes the predictions of every annotation; returns the names of the files."""
    written = []
    for name in evaluation.scores:
        pairs = zip(sentences, evaluation.answers, strict=True)
        scored = [Scored(sentence.tokens, sentence.gold[name], answer[name]) for sentence, answer in pairs]
        written += ANNOTATIONS[name].write_predictions(out_dir, split, scored)
    return written


def seqeval_strict(split: Split, result: Evaluation) -> dict:
    """The figures of seqeval's strict mode, if gold has illegal starts: it does not count them as gold."""
    if not split.illegal:
        return {}
    illegal = set(split.illegal)
    gold = [
        [span for span in sentence.spans if (line, span.start) not in illegal]
        for line, sentence in enumerate(split.sentences, start=1)
    ]
    n_tokens = [len(sentence.tokens) for sentence in split.sentences]
    strict = ANNOTATIONS["spans"].score(gold, result.predicted("spans"), n_tokens).total
    return {name: getattr(strict, name) for name in ("f1", "precision", "recall", "n_gold")}


def log_scores(
    split_name: str, split: Split, result: Evaluation, *, inventories: Mapping[str, Any], strict: dict
) -> None:
    """Logs scores; `inventories` are the head's, `strict` comes from `seqeval_strict`."""
    for name, scores in result.scores.items():
        kind = ANNOTATIONS[name]
        log.info(f"\n{align_columns(scores.table())}\n")
        log.info(
            f"{split_name}: {len(split.sentences)} sentences, {scores.n_gold} gold {kind.items}, "
            f"all scored: {scores.describe()}  loss {result.loss:.4f}"
        )
        known = kind.labels(inventories[name])
        used = kind.labels_of([sentence.gold[name] for sentence in split.sentences])
        if unknown := sorted(used - set(known)):
            log.info(f"labels that the model does not know, all counted as missed: {', '.join(unknown)}")
    if strict:
        log.info(
            f"{len(split.illegal)} gold tags are illegal; their entities count above as they read, "
            f"but not in seqeval's strict mode: F1 {100 * strict['f1']:.2f} on {strict['n_gold']} gold"
        )
