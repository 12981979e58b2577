"""Encoders: pieces in, one vector for every piece out.  A new encoder gets a line in `ENCODERS`."""

from ner.encoders.base import Encoder
from ner.encoders.bert import Bert
from ner.encoders.lstm import Lstm
from ner.encoders.relatives import Albert, DistilBert, Electra

ENCODERS: dict[str, type[Encoder]] = {
    "bert": Bert,
    "electra": Electra,
    "albert": Albert,
    "distilbert": DistilBert,
    "lstm": Lstm,
}

__all__ = ["ENCODERS", "Albert", "Bert", "DistilBert", "Electra", "Encoder", "Lstm"]
