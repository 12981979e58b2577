"""Heads: from hidden states of tokens to scores, a loss, and answers.  A new head gets a line here."""

from ner.heads.base import Head
from ner.heads.crf import CrfHead
from ner.heads.flat import SoftmaxHead
from ner.heads.global_pointer import GlobalPointerHead
from ner.heads.span import SpanHead

HEADS: dict[str, type[Head]] = {
    "softmax": SoftmaxHead,
    "crf": CrfHead,
    "span": SpanHead,
    "global_pointer": GlobalPointerHead,
}
