"""Heads: from hidden states of tokens to scores, a loss, and spans.  A new head is a file and a line here.

Every head is built as `Head(width, tag_set, dropout=...)`, lists the `schemes` it can work in (BIO alone, the
default, where it knows labels but no tags), and has

    scores(hidden (B, T, H)) -> scores (B, T, ...)
    loss(scores, batch) -> (B,) nats a sentence
    divergence(scores, other scores, batch) -> (B,) nats a sentence, how far apart two passes are (R-Drop)
    decode(scores, batch) -> list[list[ScoredSpan]], sorted, always legal under the scheme
    over() -> str, what it chooses among
"""

from ner.heads.crf import CrfHead
from ner.heads.softmax import SoftmaxHead
from ner.heads.span import SpanHead

HEADS = {"softmax": SoftmaxHead, "crf": CrfHead, "span": SpanHead}
