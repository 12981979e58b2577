"""What evaluate.py tells a person about the scores."""

from collections.abc import Mapping
from typing import Any

from ner.annotations import ANNOTATIONS
from ner.annotations.span_scores import score
from ner.data.sentence import Split
from ner.runtime.logs import log
from ner.scoring.evaluate import Evaluation
from ner.scoring.tables import table


def seqeval_strict(split: Split, result: Evaluation) -> dict:
    """The figures of seqeval's strict mode, if gold has illegal starts: it does not count them as gold."""
    if not split.illegal:
        return {}
    illegal = set(split.illegal)
    gold = [
        [span for span in sentence.spans if (line, span.start) not in illegal]
        for line, sentence in enumerate(split.sentences, start=1)
    ]
    predicted = [[scored.span for scored in spans] for spans in result.predicted("spans")]
    strict = score(gold, predicted, [len(sentence.tokens) for sentence in split.sentences]).total
    return {name: getattr(strict, name) for name in ("f1", "precision", "recall", "n_gold")}


def log_scores(
    split_name: str, split: Split, result: Evaluation, *, inventories: Mapping[str, Any], strict: dict
) -> None:
    """Logs the scores of each annotation, then labels and illegal tags that figures may hide.

    `inventories` are the head's; `strict` comes from `seqeval_strict`.
    """
    for name, scores in result.scores.items():
        log.info(f"\n{table(scores.table())}\n")
        log.info(
            f"{split_name}: {len(split.sentences)} sentences, {scores.n_gold} gold entities, all scored: "
            f"{scores.describe()}  loss {result.loss:.4f}"
        )
        known = ANNOTATIONS[name].labels(inventories[name])
        used = ANNOTATIONS[name].labels_of([sentence.gold[name] for sentence in split.sentences])
        if unknown := sorted(used - set(known)):
            log.info(f"labels that the model does not know, all counted as missed: {', '.join(unknown)}")
    if strict:
        log.info(
            f"{len(split.illegal)} gold tags are illegal; their entities count above as they read, "
            f"but not in seqeval's strict mode: F1 {100 * strict['f1']:.2f} on {strict['n_gold']} gold"
        )
