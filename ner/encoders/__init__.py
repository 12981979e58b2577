"""Encoders: pieces in, one vector for every piece out.

What every encoder is, so that a new one is one file and one line in `ENCODERS`:

- `Encoder.Config`: a frozen dataclass of its own options, kept in its own file; it refuses values
  it cannot work with when it is made. Facts (the size of the vocabulary) are not in it.
- `Encoder.file_prefix`: what its tensors' names begin with in a model file (`bert`, `lstm`); its
  name in `ENCODERS` too.
- `Encoder(config, *, vocab_size)`, a `torch.nn.Module` with random weights; afterwards `.config`,
  `.vocab_size`, `.width`, the hidden width H, and `.n_layers`, those that `forward` goes through.
- `forward(piece_ids, piece_mask, segment_ids=None, *, layers=False)`:
    piece_ids    (R, P)    int64  rows of pieces, special pieces included; anything at padding
    piece_mask   (R, P)    bool   True = real; a row may be padding altogether
    segment_ids  (R, P)    int64  or None, which means segment 0 everywhere
    returns      (R, P, H) float  finite everywhere, meaningless at padding
  With `layers=True` it returns a tuple of such tensors instead: the embeddings, then what each
  layer puts out; the last entry is what `layers=False` returns.
- `depth_of(parameter_name)`: 0 for embeddings, i + 1 for the i-th layer; for learning rates that
  fall with depth.

- `published_name(name) -> str`, only where a model file has other names for its tensors than
  `state_dict()`: the one there, without the prefix.
- `prepare(tokenizer, pieces) -> list[str]`, only where it learns something from the training text
  before training begins; it says what, in words.
- `recompute()`, only where it can be trained without keeping what its layers compute on the way.

An encoder knows no batches of sentences, no files and no command line.
"""

from ner.encoders.albert import Albert
from ner.encoders.bert import Bert
from ner.encoders.distilbert import DistilBert
from ner.encoders.electra import Electra
from ner.encoders.lstm import Lstm

ENCODERS: dict[str, type] = {
    "bert": Bert,
    "electra": Electra,
    "albert": Albert,
    "distilbert": DistilBert,
    "lstm": Lstm,
}

__all__ = ["ENCODERS", "Albert", "Bert", "DistilBert", "Electra", "Lstm"]
