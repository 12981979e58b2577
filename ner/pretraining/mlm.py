"""A masked language model: an encoder, BERT's prediction head, and their model directory.

Devlin et al. 2019, section 3.1 and appendix A.2; the output matrix is the table of word vectors.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ner.config import to_json
from ner.data.tokenizer import MASK, WordPiece
from ner.data.words import split_words
from ner.encoders import Bert
from ner.encoders.bert import ACTIVATIONS, BertConfig
from ner.encoders.published import load_tensors
from ner.errors import DataError
from ner.model.directory import ModelDirectory
from ner.pretraining.masking import piece_kinds
from ner.runtime.devices import autocast
from ner.tensors import read_safetensors, save_weights

HEAD_PREFIX = "cls.predictions."
TAG_HEAD_FILE = "tags.safetensors"
MODEL_FILES = ("config.json", "model.safetensors", TAG_HEAD_FILE, "vocab.txt", "tokenizer_config.json")


class Guesses(NamedTuple):
    """How well the hidden pieces were guessed, and the tags if the text has any.

    Losses are () float32, nats, summed over the guesses.  Counts are () int64, the guesses whose likeliest
    answer was right; None in training, which does not need them.  Without tags, both values of tags are 0.
    """

    loss: Tensor
    n_correct: Tensor | None
    tag_loss: Tensor
    n_correct_tags: Tensor | None


class Predictions(nn.Module):
    """`cls.predictions` of published BERT, without the matrix that it shares with the encoder."""

    def __init__(self, config: BertConfig, *, vocab_size: int) -> None:
        super().__init__()
        dense = nn.Linear(config.hidden_size, config.hidden_size)
        nn.init.normal_(dense.weight, std=config.initializer_range)
        nn.init.zeros_(dense.bias)
        parts = {"dense": dense, "activation": ACTIVATIONS[config.hidden_act]()}
        parts["LayerNorm"] = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.transform = nn.Sequential(OrderedDict(parts))
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, hidden: Tensor, word_vectors: Tensor) -> Tensor:
        return F.linear(self.transform(hidden), word_vectors, self.bias)


class MaskedLm(nn.Module):
    """A BERT encoder that guesses hidden pieces.  `precision` as in `ner.model.tagger.Tagger`.

    With a `tag_head`, a linear map to the scores of `tag_names`, it also guesses the tag of every piece,
    hidden or not.  This second target teaches at every piece, masking at one piece in seven.
    """

    def __init__(self, encoder: Bert) -> None:
        super().__init__()
        self.encoder = encoder
        self.features = None  # as of a Tagger: the predictions read the last layer
        self.predictions = Predictions(encoder.config, vocab_size=encoder.vocab_size)
        self.tag_names: tuple[str, ...] = ()
        self.tag_head: nn.Linear | None = None
        self.precision = "fp32"

    def forward(self, piece_ids, piece_mask, places, labels, tags=None) -> Guesses:
        """Guesses the pieces at `places`; only they are multiplied with the vocabulary.

        The arguments are the tensors of a `MaskedBatch`; padding may hold any piece.
        """
        if tags is None:
            scores, nothing = self.scores(piece_ids, piece_mask, places), places.new_zeros(())
            return Guesses(*self._sums(scores, labels), nothing.float(), None if self.training else nothing)
        with autocast(piece_ids.device.type, self.precision):
            hidden = self.encoder(piece_ids, piece_mask).flatten(0, 1)
            known = tags.flatten().nonzero().flatten()
            tag_scores = self.tag_head(hidden[known])
            scores = self._piece_scores(hidden[places])
        return Guesses(*self._sums(scores, labels), *self._sums(tag_scores, tags.flatten()[known] - 1))

    def _sums(self, scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Summed loss of N guesses with scores (N, C), and the number of right ones."""
        loss = F.cross_entropy(scores.float(), labels, reduction="sum")
        return loss, None if self.training else (scores.argmax(-1) == labels).sum()

    def scores(self, piece_ids: Tensor, piece_mask: Tensor, places: Tensor) -> Tensor:
        """Scores of all V pieces of the vocabulary at each place: (M, V) float, in the precision's dtype."""
        with autocast(piece_ids.device.type, self.precision):
            return self._piece_scores(self.encoder.states_at(piece_ids, piece_mask, places))

    def _piece_scores(self, hidden: Tensor) -> Tensor:
        return self.predictions(hidden, self.encoder.embeddings.word_embeddings.weight)

    @torch.no_grad()
    def guess_tags(self, names: Sequence[str]) -> None:
        """Sets the tags to guess, none if `names` is empty; known tags keep their weights."""
        if tuple(names) == self.tag_names:
            return
        old_names, old = self.tag_names, self.tag_head
        self.tag_names, self.tag_head = tuple(names), None
        if not names:
            return
        self.tag_head = nn.Linear(self.encoder.width, len(names))
        nn.init.normal_(self.tag_head.weight, std=self.encoder.config.initializer_range)
        nn.init.zeros_(self.tag_head.bias)
        for name in set(names) & set(old_names):
            row, old_row = names.index(name), old_names.index(name)
            self.tag_head.weight[row], self.tag_head.bias[row] = old.weight[old_row], old.bias[old_row]


def set_dropout(lm: MaskedLm, share: float) -> None:
    """Sets every dropout of the encoder; its config, which is saved, keeps its own values."""
    for module in lm.encoder.modules():
        if isinstance(module, nn.Dropout):
            module.p = share


@dataclass(frozen=True)
class Pretrained:
    """A masked language model with its tokenizer and unit."""

    lm: MaskedLm
    tokenizer: WordPiece
    unit: str
    report: tuple[str, ...] = ()


def weight_files(lm: MaskedLm) -> dict[str, dict[str, Tensor]]:
    """The tensors in each file of a model directory, under their names there."""
    parts = {"bert.": lm.encoder, HEAD_PREFIX: lm.predictions}
    tensors = {prefix + name: t for prefix, part in parts.items() for name, t in part.state_dict().items()}
    tag_head = {TAG_HEAD_FILE: lm.tag_head.state_dict()} if lm.tag_head else {}
    return {"model.safetensors": tensors} | tag_head


def save_mlm(model_dir: str | Path, model: Pretrained, dtype: torch.dtype = torch.float32) -> None:
    """Writes `config.json`, `model.safetensors` and the vocabulary into an existing directory.

    All names are the published ones: transformers' AutoModelForMaskedLM and `train.py --bert_model_dir` open
    the directory.  The shared matrix is written once; the tag head has a file of its own.
    """
    model_dir = Path(model_dir)
    encoder = model.lm.encoder
    values = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        **asdict(encoder.config),
        "vocab_size": encoder.vocab_size,
        "pad_token_id": model.tokenizer.pad_id,
        "tie_word_embeddings": True,
        "dtype": str(dtype).removeprefix("torch."),
        "ner": {"unit": model.unit, "tag_names": model.lm.tag_names},
    }
    (model_dir / "config.json").write_text(to_json(values), encoding="utf-8")
    model.tokenizer.save(model_dir)
    for file, tensors in weight_files(model.lm).items():
        save_weights(model_dir / file, {name: tensor.to(dtype) for name, tensor in tensors.items()})


def restore_mlm(folder: Path, lm: MaskedLm) -> None:
    """Fills a model from a directory that `save_mlm` wrote; DataError if it belongs to another model."""
    for file, tensors in weight_files(lm).items():
        load_tensors(tensors, read_safetensors(folder / file), where=folder / file)


def load_mlm(model_dir: str | Path, *, unit: str = "", new_head: bool = False) -> Pretrained:
    """Opens a model directory of ours, or a published one for BERT.

    `unit` replaces the model's own unit.  `new_head`: a random head replaces a missing prediction head.
    DataError as for `ModelDirectory`; for another encoder than BERT; if the prediction head is missing, or is
    not tied to the word vectors.
    """
    directory = ModelDirectory(model_dir)
    encoder = directory.encoder
    if encoder.file_prefix != Bert.file_prefix:
        raise DataError(f"{model_dir}: an encoder of type {encoder.file_prefix!r}, expected 'bert'")
    lm = MaskedLm(encoder)
    unused = [name for name in directory.report.unused if not name.startswith(HEAD_PREFIX)]
    report = list(directory.log_lines(directory.report._replace(unused=unused)))
    try:
        head = head_weights(directory.weights, encoder, model_dir)
        if head or not new_head:
            load_tensors(lm.predictions.state_dict(), head, where=f"{model_dir}: {HEAD_PREFIX}*")
    except DataError as error:
        raise DataError(f"{error}; only a masked language model has a prediction head") from None
    if not head:
        report.append("new, random until trained: the head that guesses hidden pieces")
    unit = directory.reading(unit=unit)["unit"]
    if directory.own.get("tag_names"):
        lm.guess_tags(directory.own["tag_names"])
        path = directory.path / TAG_HEAD_FILE
        load_tensors(lm.tag_head.state_dict(), read_safetensors(path), where=path)
    return Pretrained(lm.eval(), directory.tokenizer, unit, tuple(report))


def head_weights(weights: Mapping[str, Tensor], encoder: Bert, where: str | Path) -> dict[str, Tensor]:
    """The weights of `Predictions`; DataError if the file has an output matrix of its own."""
    head = {n.removeprefix(HEAD_PREFIX): t for n, t in weights.items() if n.startswith(HEAD_PREFIX)}
    matrix, bias = head.pop("decoder.weight", None), head.pop("decoder.bias", None)
    if matrix is not None and not torch.equal(matrix.float(), encoder.word_embeddings.weight.float()):
        raise DataError(f"{where}: {HEAD_PREFIX}decoder.weight differs from the word vectors, expected tied")
    if bias is not None:
        head.setdefault("bias", bias)
    return head


@torch.inference_mode()
def fill_mask(model: Pretrained, text: str) -> list[list[dict]]:
    """For each `[MASK]`, `{"piece", "score"}` of the five likeliest pieces that are not special.

    DataError if the text is too long for the encoder, or the vocabulary has no [MASK].
    """
    tokenizer, device = model.tokenizer, model.lm.predictions.bias.device
    kinds = piece_kinds(tokenizer)
    ids = [tokenizer.cls_id]
    for i, part in enumerate(text.split(MASK)):
        ids += [kinds.mask_id] if i else []
        for token in split_words(part, model.unit):
            ids += tokenizer.pieces(part[token.start : token.end])
    ids.append(tokenizer.sep_id)
    if len(ids) > model.lm.encoder.max_positions:
        expected = f"at most {model.lm.encoder.max_positions} with two special ones"
        raise DataError(f"{text[:20]!r}...: got {len(ids)} pieces, expected {expected}")
    piece_ids = torch.tensor([ids], device=device)
    places = (piece_ids[0] == kinds.mask_id).nonzero().flatten()
    scores = model.lm.scores(piece_ids, torch.ones_like(piece_ids, dtype=torch.bool), places).float()
    probabilities = scores.softmax(-1)[:, : len(tokenizer)]  # there may be more embeddings than pieces
    best = probabilities.masked_fill(kinds.special.to(device), -1.0).topk(min(5, len(kinds.ordinary)))
    return [
        [{"piece": tokenizer.vocabulary[i], "score": float(f"{p:.6g}")} for p, i in zip(*row, strict=True)]
        for row in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def fill_texts(model: Pretrained, texts: Iterable[str]) -> Iterator[dict]:
    """Yields a JSON object for each text: the text, and what `fill_mask` finds in it."""
    return ({"text": text, "masks": fill_mask(model, text)} for text in texts)
