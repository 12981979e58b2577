"""Encoders: pieces in, one vector for every piece out.

A new encoder is a subclass of `ner.encoders.base.Encoder` in a file of its own, and a line in `ENCODERS`.
"""

from ner.encoders.albert import Albert
from ner.encoders.base import Encoder
from ner.encoders.bert import Bert
from ner.encoders.distilbert import DistilBert
from ner.encoders.electra import Electra
from ner.encoders.lstm import Lstm

ENCODERS: dict[str, type[Encoder]] = {
    "bert": Bert,
    "electra": Electra,
    "albert": Albert,
    "distilbert": DistilBert,
    "lstm": Lstm,
}

__all__ = ["ENCODERS", "Albert", "Bert", "DistilBert", "Electra", "Encoder", "Lstm"]
