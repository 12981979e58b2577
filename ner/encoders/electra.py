"""ELECTRA: BERT's body, whose embeddings may be narrower than its layers.

Clark et al. 2020, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators". What
differs is how it was trained, which a published directory no longer shows: discriminators and
generators open alike.
"""

from dataclasses import dataclass

from ner.encoders.bert import Bert, BertConfig


@dataclass(frozen=True, kw_only=True)
class ElectraConfig(BertConfig):
    """BERT's keys and one more; the defaults are ELECTRA-small's, as in a published config.json."""

    embedding_size: int = 128
    "E, numbers a piece before they are mapped to H"
    hidden_size: int = 256
    num_attention_heads: int = 4
    intermediate_size: int = 1024


class Electra(Bert):
    """Tensors are named as in BERT, and `embeddings_project` where E is not H."""

    Config = ElectraConfig
    file_prefix = "electra"
