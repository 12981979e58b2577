"""Heads: from hidden states of tokens to scores, a loss, and spans.  A new head is a file and a line here.

Every head is built as `Head(width, tag_set, dropout=...)`, lists the `schemes` it can work in (BIO alone, the
default, where it knows labels but no tags) and the `facts` of train that it has to be built with
(`ner.tags.span_facts`), arguments and attributes of these names, keeps its `tag_set` and, as a module with
a share `p`, its `dropout`, says by `is_likelihood` whether its loss is -log of a probability of the gold,
and has

    scores(hidden (B, T, H)) -> scores (B, T, ...)
    loss(scores, batch) -> (B,) nats a sentence
    divergence(scores, other scores, batch) -> (B,) nats a sentence, how far apart two passes are (R-Drop)
    decode(scores, batch) -> list[list[ScoredSpan]], sorted, always legal under the scheme
    learnable(spans) -> of the gold spans of a sentence those that it could find; the others count as missed
    describe() -> str, what it chooses among
"""

from ner.heads.crf import CrfHead
from ner.heads.global_pointer import GlobalPointerHead
from ner.heads.softmax import SoftmaxHead
from ner.heads.span import SpanHead

HEADS = {"softmax": SoftmaxHead, "crf": CrfHead, "span": SpanHead, "global_pointer": GlobalPointerHead}
