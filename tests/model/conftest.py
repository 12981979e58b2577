"""What the tests of models share: a small model, its batches, and directories of transformers."""

import json

import pytest
import torch

from ner.data.batch import Batch
from ner.data.batches import Batches
from ner.data.sentence import Sentence
from ner.data.tokenizer import WordPiece
from ner.data.windows import Windows, encode
from ner.heads import HEADS
from ner.model.build import build_encoder, build_head
from ner.model.directory import save
from ner.model.tagger import Model, Tagger
from ner.tags import Span, TagSet
from tests.factories import make_inventories

CHARACTERS = "上海市长王小明在北京访问中国银行。abc"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", *CHARACTERS]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
ENCODER_OPTIONS = {
    "bert": {"name": "bert", **SIZES},
    "electra": {"name": "electra", **SIZES, "embedding_size": 12},
    "albert": {
        "name": "albert",
        **SIZES,
        "embedding_size": 12,
        "num_hidden_layers": 4,
        "num_hidden_groups": 2,
    },
    "distilbert": {
        "name": "distilbert",
        "dim": 16,
        "n_layers": 2,
        "n_heads": 2,
        "hidden_dim": 24,
        "max_position_embeddings": 40,
    },
    "lstm": {"name": "lstm", "hidden_size": 12, "embedding_size": 8, "bigram_size": 4, "max_bigrams": 9},
}
SENTENCES = [
    Sentence.with_spans(tuple("王小明在北京。"), (Span(0, 3, "PER"), Span(4, 6, "LOC"))),
    Sentence.with_spans(tuple("中国银行"), (Span(0, 4, "ORG"),)),
    Sentence.with_spans(tuple("上海市长访问中国银行上海。" * 2), (Span(0, 2, "LOC"), Span(6, 10, "ORG"))),
    Sentence.with_spans(("长",), ()),
    Sentence.with_spans(tuple("在b京c上"), (Span(1, 3, "LOC"),)),
]
# as transformers spells the encoders that it has
TYPES = {"bert": "Bert", "electra": "Electra", "albert": "Albert", "distilbert": "DistilBert"}
EVERY_ENCODER = pytest.mark.parametrize("encoder", ENCODER_OPTIONS)
PUBLISHED_ENCODERS = pytest.mark.parametrize("encoder", TYPES)
EVERY_HEAD = pytest.mark.parametrize("head", HEADS)


def randomise(module, seed=0):
    """Fresh biases are 0 and fresh norms 1: a swapped pair would go unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module.eval()


def make_model(encoder="bert", head="softmax", *, scheme="BIO", seed=0, dropout=0.1, max_len=40) -> Model:
    torch.manual_seed(seed)
    tokenizer = WordPiece(VOCABULARY)
    built = build_encoder(ENCODER_OPTIONS[encoder], vocab_size=len(tokenizer))
    pieces = encode(SENTENCES * 2, tokenizer).pieces
    if encoder == "lstm":
        built.prepare(tokenizer, pieces)
    tag_set = TagSet.from_labels(["LOC", "ORG", "PER"], scheme)
    tagger = Tagger(built, build_head(head, built.width, make_inventories(tag_set), {"dropout": dropout}))
    return Model(randomise(tagger, seed), tokenizer, "char", max_len)


def make_loader(model, *, max_len=None, batch_tokens=10_000) -> Batches:
    return Batches(
        encode(SENTENCES, model.tokenizer),
        windows=Windows(max_len or model.max_len),
        batch_tokens=batch_tokens,
        targets=model.tagger.head,
    )


def make_batch(model, *, max_len=None) -> Batch:
    return make_loader(model, max_len=max_len).collate(range(len(SENTENCES)))


def scores_of(model, batch) -> torch.Tensor:
    """(tokens, K): the scores of all real tokens, end to end."""
    with torch.no_grad():
        return model.tagger(batch)[0][batch.mask]


def logits_of(oracle, batch) -> torch.Tensor:
    """The same from transformers, one window a sentence."""
    with torch.no_grad():
        logits = oracle(batch.piece_ids[:, 0], attention_mask=batch.piece_mask[:, 0].long()).logits
    rows = torch.arange(len(logits))[:, None].expand_as(batch.token_piece)
    return logits[rows, batch.token_piece][batch.mask]


def write_published(
    folder, encoder="bert", task="ForTokenClassification", *, container="model.safetensors", **options
):
    """A model as transformers writes it, by default a token classifier, with the vocabulary beside it."""
    transformers = pytest.importorskip("transformers")
    tags = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    sizes = {key: value for key, value in ENCODER_OPTIONS[encoder].items() if key != "name"}
    config = getattr(transformers, f"{TYPES[encoder]}Config")(
        vocab_size=len(VOCABULARY),
        id2label=dict(enumerate(tags)),
        label2id={tag: i for i, tag in enumerate(tags)},
        **sizes,
        **options,
    )
    oracle = randomise(getattr(transformers, f"{TYPES[encoder]}{task}")(config))
    oracle.save_pretrained(folder)
    if container != "model.safetensors":
        (folder / "model.safetensors").unlink()
        torch.save(oracle.state_dict(), folder / container)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in VOCABULARY), encoding="utf-8")
    return oracle


def edit_config(folder, **changes):
    path = folder / "config.json"
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


@pytest.fixture
def saved(tmp_path):
    """A directory with a saved softmax model over BERT."""
    save(tmp_path, make_model())
    return tmp_path
