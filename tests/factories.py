"""Small objects that several test files make."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ner.annotations import ANNOTATIONS
from ner.annotations.spans import SpanInventory
from ner.config import load_options
from ner.data.batch import Batch
from ner.data.batches import Batches, Targets
from ner.data.sentence import Sentence
from ner.data.tokenizer import WordPiece
from ner.data.windows import Windows, encode
from ner.encoders import ENCODERS
from ner.errors import DataError
from ner.heads import HEADS
from ner.heads.base import Hidden
from ner.heads.flat import FlatHead
from ner.model.build import build_encoder, build_head
from ner.model.features import build_features
from ner.model.tagger import Model, Tagger
from ner.pretraining.mlm import MaskedLm, Pretrained
from ner.tags import Span, TagSet
from ner.training.params import Config

# with ATEN_CPU_CAPABILITY=default on a CPU with AMX, torch's fused attention raises an error in bf16
FUSED_BF16_FAILS = torch.backends.cpu.get_cpu_capability() == "DEFAULT" and torch.cpu._is_amx_tile_supported()
needs_fused_bf16 = pytest.mark.skipif(FUSED_BF16_FAILS, reason="torch has no fused bf16 attention here")
LABELS = ("LOC", "PER")
VOCAB_SIZE = 40
# every encoder takes those of these options that its Config has
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "embedding_size": 12,
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dim": 24,
    "bigram_size": 4,
    "max_bigrams": 20,
}
FLAT = [name for name, head in HEADS.items() if issubclass(head, FlatHead)]
HEAD_SCHEMES = [(name, scheme) for name, head in HEADS.items() for scheme in head.schemes]
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused1]"]
CHINESE = list("外交部发言人在周二的例行记者会上表示中国愿同法就气候议题保持密切沟通")
LATIN = ["play", "##ing", "##ed", "the", "a", "##b", "##c", "b", "c", "e", "##e", ".", ",", "1", "##2", "2"]


def make_inventories(tag_set: TagSet, **facts) -> dict[str, SpanInventory]:
    """The inventories of a head for spans."""
    return {"spans": SpanInventory(tag_set, **facts)}


def make_targets(labels: Iterable[str], learnable=lambda name, value: value) -> Targets:
    """Targets of batches with spans of these labels, numbered in sorted order."""
    return SimpleNamespace(inventories=make_inventories(TagSet.from_labels(labels)), learnable=learnable)


def make_pretrained(tokenizer: WordPiece, *, seed=0, **options) -> Pretrained:
    """A small masked language model in evaluation."""
    encoder = make_encoder("bert", vocab_size=len(tokenizer), seed=seed, **{"dropout": None} | options)
    return Pretrained(MaskedLm(encoder).eval(), tokenizer, "char")


def make_hidden(tokens: torch.Tensor) -> Hidden:
    """Hidden states (B, T, W) of sentences with one window each."""
    return Hidden(tokens, tokens[:, :1], torch.ones(len(tokens), 1, dtype=torch.bool))


def slice_batch(batch: Batch, start: int, end: int) -> Batch:
    """Some sentences of a batch."""
    *tensors, gold, blank = batch
    rows = (tensor[start:end] for tensor in tensors)
    gold = {name: tensor[start:end] for name, tensor in gold.items()}
    return Batch(*rows, gold, None if blank is None else blank[start:end])


def encoder_options(name, *, dropout=None, **changes) -> dict:
    """The `encoder` of params.json, in small sizes; `dropout` None leaves the encoder's default."""
    names = {field.name for field in fields(ENCODERS[name].Config)}
    sizes = {key: value for key, value in SIZES.items() if key in names}
    dropouts = {} if dropout is None else {key: dropout for key in names if "dropout" in key}
    return {"name": name, **sizes, **dropouts, **changes}


def make_encoder(name, *, vocab_size=VOCAB_SIZE, dropout=0.0, seed=0, **sizes):
    torch.manual_seed(seed)
    return build_encoder(encoder_options(name, dropout=dropout, **sizes), vocab_size=vocab_size)


def make_head(
    name, scheme="BIO", *, labels=LABELS, width=SIZES["hidden_size"], dropout=0.0, seed=0, fresh=False
):
    """A head whose weights are large enough to matter, or `fresh`: the small ones of a new head."""
    torch.manual_seed(seed)
    inventories = {kind: INVENTORIES[kind](labels, scheme) for kind in HEADS[name].annotations}
    head = build_head(name, width, inventories, {"dropout": dropout})
    if not fresh:
        with torch.no_grad():
            for parameter in head.parameters():
                parameter.normal_()
    return head.eval()


def make_tagger(
    head="softmax",
    encoder="bert",
    *,
    scheme="BIO",
    labels=LABELS,
    fresh=False,
    layers="last",
    context="none",
    vocab_size=VOCAB_SIZE,
    dropout=0.0,
    seed=0,
    **sizes,
) -> Tagger:
    """A tagger in evaluation.  Its encoder is prepared on random pieces; `sizes` change the encoder's."""
    built = make_encoder(encoder, vocab_size=vocab_size, dropout=dropout, seed=seed, **sizes)
    built.prepare(None, np.random.default_rng(seed).integers(0, vocab_size, size=2000))
    features = build_features(built, layers, context)
    width = features.width if features else built.width
    own = {"labels": labels, "width": width, "dropout": dropout or 0.0, "seed": seed, "fresh": fresh}
    return Tagger(built, make_head(head, scheme, **own), features).eval()


def make_model(head="softmax", encoder="bert", *, tokenizer: WordPiece, max_len=40, **options) -> Model:
    """A model of characters; `options` are those of `make_tagger`."""
    tagger = make_tagger(head, encoder, vocab_size=len(tokenizer), **options)
    return Model(tagger, tokenizer, "char", max_len)


def make_loader(
    sentences: Sequence[Sentence], tokenizer: WordPiece, *, max_len=24, batch_tokens=10_000, **options
) -> Batches:
    """Batches of sentences; `options` are those of `Batches`."""
    examples = encode(sentences, tokenizer)
    return Batches(examples, windows=Windows(max_len), batch_tokens=batch_tokens, **options)


def make_spans(random, n_tokens, *, apart=False):
    """Random flat spans; many touch each other, some with the same label."""
    spans, position = [], 0
    while position < n_tokens:
        end = int(random.integers(position + 1, n_tokens + 1))
        if random.random() < 0.6:
            spans.append(Span(position, end, LABELS[random.integers(len(LABELS))]))
        position = end + (1 if apart else 0)
    return spans


def make_gold(spans):
    """Spans of several sentences -> (B, S, 3), padded."""
    gold = torch.zeros(len(spans), max(map(len, spans)), 3, dtype=torch.int64)
    for row, sentence in enumerate(spans):
        for i, (start, end, label) in enumerate(sentence):
            gold[row, i] = torch.tensor([start, end, LABELS.index(label)])
    return gold


# The contract tests of heads take inventories and random gold from here, by the name of an annotation.
INVENTORIES = {"spans": lambda labels, scheme: SpanInventory(TagSet.from_labels(labels, scheme))}
RANDOM_GOLD = {"spans": make_spans}


def collate_gold(values, inventories) -> dict[str, torch.Tensor]:
    """Gold by annotation -> the tensors of a batch."""
    return {
        name: torch.from_numpy(ANNOTATIONS[name].collate(values[name], inventory))
        for name, inventory in inventories.items()
    }


def make_batch(
    *, n_sentences=4, n_windows=2, n_pieces=9, n_tokens=7, seed=0, annotations=("spans",), labels=LABELS
):
    """Ragged in every direction; all padding holds random numbers."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, n_tokens + 1, size=n_sentences)
    lengths[-1] = n_tokens
    real = random.integers(3, n_pieces + 1, size=(n_sentences, n_windows))
    real[0, 1:] = 0  # a sentence with fewer windows than its neighbours
    piece_mask = np.arange(n_pieces) < real[..., None]
    token_piece = random.integers(0, n_windows * n_pieces, size=(n_sentences, n_tokens))
    for row, length in enumerate(lengths):
        token_piece[row, :length] = random.choice(np.flatnonzero(piece_mask[row]), size=length)
    return Batch(
        piece_ids=torch.from_numpy(random.integers(0, VOCAB_SIZE, size=piece_mask.shape)),
        piece_mask=torch.from_numpy(piece_mask),
        token_piece=torch.from_numpy(token_piece),
        mask=torch.from_numpy(np.arange(n_tokens) < lengths[:, None]),
        gold=collate_gold(
            {name: [RANDOM_GOLD[name](random, length) for length in lengths] for name in annotations},
            {name: INVENTORIES[name](labels, "BIO") for name in annotations},
        ),
    )


def make_scored_batch(head, *, n_sentences=5, n_tokens=4, seed=0, apart=False):
    """Random scores in the shape of the head's, a batch with mask and gold only, and the gold spans."""
    random = np.random.default_rng(seed)
    lengths = [n_tokens, *random.integers(1, n_tokens + 1, size=n_sentences - 1)]
    spans = [make_spans(random, int(length), apart=apart) for length in lengths]
    mask = torch.arange(n_tokens) < torch.tensor(lengths)[:, None]
    shape = head.scores(make_hidden(torch.zeros(n_sentences, n_tokens, SIZES["hidden_size"])), None).shape
    scores = torch.from_numpy(random.normal(size=shape)).float()
    none = torch.zeros(n_sentences, 1, 1, dtype=torch.int64)
    return scores, Batch(none, none.bool(), none[:, 0], mask, {"spans": make_gold(spans)}), spans


def path_score(path, scores, transitions):
    steps = pairwise((-1, *path, -1))
    return sum(scores[t, k] for t, k in enumerate(path)) + sum(transitions[step] for step in steps)


load_config = partial(load_options, Config)


def make_params(folder, values):
    path = folder / "params.json"
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


def error_line(function, *args):
    with pytest.raises(DataError, match=r"\A.+\Z") as caught:
        function(*args)
    return str(caught.value)


def tags_to_spans(tags, scheme="BIO"):
    """Reads tag strings with a `TagSet` of exactly these tags."""
    tag_set = TagSet(sorted({"O", *tags}), scheme)
    return tag_set.spans([tag_set.index[tag] for tag in tags])
