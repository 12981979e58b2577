"""ELECTRA: BERT's body, whose embeddings may be narrower than its layers.

Clark et al. 2020, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators". It differs
from BERT in how it was trained, which a published directory does not show: discriminators and generators
open in the same way.
"""

from dataclasses import dataclass

from ner.config import option
from ner.encoders.base import SIZE
from ner.encoders.bert import Bert
from ner.encoders.bert_config import BertConfig


@dataclass(frozen=True, kw_only=True)
class ElectraConfig(BertConfig):
    """BERT's keys and one more; the defaults are those of a published config.json, ELECTRA-small's."""

    embedding_size: int = option(128, **SIZE)
    "E, width of the embeddings before the linear map to H"
    hidden_size: int = option(256, **SIZE)
    num_attention_heads: int = option(4, **SIZE)
    intermediate_size: int = option(1024, **SIZE)


class Electra(Bert):
    """Its tensors have BERT's names; `embeddings_project` is there if E is not H."""

    Config = ElectraConfig
    file_prefix = "electra"
    published_as = ("electra",)
    can_pretrain = False
