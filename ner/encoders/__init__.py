"""Encoders: pieces in, one vector for every piece out.  A new encoder is named in `ENCODERS`."""

from ner.encoders.base import Encoder
from ner.encoders.bert import Bert
from ner.encoders.lstm import Lstm
from ner.encoders.relatives import Albert, DistilBert, Electra

ENCODERS = {kind.file_prefix: kind for kind in (Bert, Electra, Albert, DistilBert, Lstm)}

__all__ = ["ENCODERS", "Albert", "Bert", "DistilBert", "Electra", "Encoder", "Lstm"]
