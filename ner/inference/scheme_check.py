"""Checks the scheme of a model's tags against the tags that the model finds best by itself."""

from collections.abc import Callable
from typing import TypeVar

from ner.model.tagger import Model
from ner.runtime.logs import log
from ner.tags import OUTSIDE

T = TypeVar("T")
MAX_ILLEGAL = 1 / 20  # share of the tags besides `O` beyond which a scheme does not fit
ENOUGH_TAGS, ENOUGH_SENTENCES = 1000, 2000  # after either number the check is over


class SchemeCheck:
    """Says once if many of a model's own best tags are illegal under its scheme.

    If the scheme was guessed and another one fits, the head decodes under that one from then on.  A model
    whose config states the scheme is not checked: this program trained it so.
    """

    def __init__(self, model: Model):
        self.head, self.is_stated = model.tagger.head, model.scheme_from == "option"
        self._sentences: list[list[int]] = []
        self._is_over = model.scheme_from == "config" or not self.head.scores_tags

    def __call__(self, answer: Callable[[Callable], T]) -> T:
        """`answer(on_batch)`, where `predict` calls `on_batch`; answers again if the scheme changes."""
        found = answer(self._collect)
        return answer(self._collect) if not self._is_over and self._changes_scheme() else found

    def _collect(self, indices, batch, scores, losses, answers) -> None:
        if not self._is_over and len(self._sentences) < ENOUGH_SENTENCES:
            self._sentences += self.head.best_tags(scores, batch)

    def _changes_scheme(self) -> bool:
        tag_set, sentences = self.head.tag_set, self._sentences
        outside = tag_set.index[OUTSIDE]
        n_tags = sum(tag != outside for ids in sentences for tag in ids)  # [PAD] and the like too
        self._is_over = n_tags >= ENOUGH_TAGS or len(sentences) >= ENOUGH_SENTENCES
        n_illegal = tag_set.n_illegal(sentences)
        if n_illegal <= MAX_ILLEGAL * n_tags:
            return False
        self._is_over, fitting = True, tag_set.best_fit(sentences)
        n_illegal = min(n_illegal, n_tags)  # the edges of a sentence count too
        got = f"{n_illegal:,} of the model's {n_tags:,} best tags are illegal under {tag_set.scheme}"
        if fitting.n_illegal(sentences) > MAX_ILLEGAL * n_tags:
            log.info(
                f"{got}, and no other scheme fits: it has learned little, or its tags mean something else"
            )
            return False
        if self.is_stated:
            log.info(f"{got}; --scheme {fitting.scheme} fits")
            return False
        log.info(f"{got}: decoded as {fitting.scheme}, which fits; --scheme states another")
        self.head.read_as(fitting)
        return True
