"""What the tests of models share: a small model, its batches, and directories of transformers."""

import json

import pytest
import torch

from ner.data.batch import Batch
from ner.data.batches import Batches
from ner.data.sentence import Sentence
from ner.data.tokenizer import WordPiece
from ner.encoders import ENCODERS
from ner.heads import HEADS
from ner.model.directory import save
from ner.model.tagger import Model
from ner.tags import Span
from tests import factories
from tests.factories import encoder_options

LABELS = ("LOC", "ORG", "PER")
OWN_SIZES = {"albert": {"num_hidden_layers": 4, "num_hidden_groups": 2}}
SIZES = {key: value for key, value in encoder_options("bert").items() if key != "name"}
CHARACTERS = "上海市长王小明在北京访问中国银行。abc"
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]", *CHARACTERS]
SENTENCES = [
    Sentence.with_spans(tuple("王小明在北京。"), (Span(0, 3, "PER"), Span(4, 6, "LOC"))),
    Sentence.with_spans(tuple("中国银行"), (Span(0, 4, "ORG"),)),
    Sentence.with_spans(tuple("上海市长访问中国银行上海。" * 2), (Span(0, 2, "LOC"), Span(6, 10, "ORG"))),
    Sentence.with_spans(("长",), ()),
    Sentence.with_spans(tuple("在b京c上"), (Span(1, 3, "LOC"),)),
]
# as transformers spells the encoders that it has
TYPES = {"bert": "Bert", "electra": "Electra", "albert": "Albert", "distilbert": "DistilBert"}
EVERY_ENCODER = pytest.mark.parametrize("encoder", ENCODERS)
PUBLISHED_ENCODERS = pytest.mark.parametrize("encoder", TYPES)
EVERY_HEAD = pytest.mark.parametrize("head", HEADS)


def randomise(module, seed=0):
    """Fresh biases are 0 and fresh norms 1: a swapped pair would go unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return module.eval()


def make_model(encoder="bert", head="softmax", *, seed=0, dropout=0.1, **options) -> Model:
    own = OWN_SIZES.get(encoder, {}) | {"labels": LABELS, "fresh": True, "seed": seed, "dropout": dropout}
    model = factories.make_model(head, encoder, tokenizer=WordPiece(VOCABULARY), **own, **options)
    randomise(model.tagger, seed)
    return model


def make_loader(model, *, max_len=None, **options) -> Batches:
    options |= {"max_len": max_len or model.max_len, "targets": model.tagger.head}
    return factories.make_loader(SENTENCES, model.tokenizer, **options)


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
    sizes = encoder_options(encoder, **OWN_SIZES.get(encoder, {}))
    sizes.pop("name")
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
