"""Heads: from hidden states of tokens to scores, a loss, and spans.  A new head is a file and a line here.

Every head is built as `Head(width, tag_set, dropout=...)`, lists the `schemes` it can work in, and has

    scores(hidden (B, T, H)) -> scores
    loss(scores, batch) -> (B,) nats a sentence
    decode(scores, batch) -> list[list[ScoredSpan]], always legal under the scheme
"""

from ner.heads.crf import CrfHead
from ner.heads.softmax import SoftmaxHead

HEADS = {"softmax": SoftmaxHead, "crf": CrfHead}
