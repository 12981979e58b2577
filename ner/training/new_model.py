"""Builds a model that is ready to be trained, from params.json and a built data set."""

from pathlib import Path

from torch import nn

from ner.data.examples import Examples, encode
from ner.data.folder import read_labels, read_unit
from ner.data.sentence import Split
from ner.data.tokenizer import Normalisation, WordPiece, learn_vocabulary, load_tokenizer
from ner.encoders import Encoder
from ner.errors import DataError
from ner.heads.losses import build_loss
from ner.model.build import build_encoder, build_head, scheme_of
from ner.model.depth import n_layers_of, train_from, unfrozen_depth
from ner.model.directory import open_encoder
from ner.model.features import build_features
from ner.model.manifest import check_model
from ner.model.model import Model
from ner.model.tagger import Tagger
from ner.tags import TagSet, span_facts
from ner.training.params import Config


def new_model(
    config: Config,
    train: Split,
    *,
    data_dir: Path,
    bert_model_dir: Path | None,
    checkpoint: Path | None,
    where: str,
) -> tuple[Model, Examples, list[str]]:
    """The model, the train split in pieces, and lines for the log.

    Without a `bert_model_dir`, the encoder is new; its vocabulary is learned from train, or read from the
    `checkpoint` if the run continues from one.
    DataError, beginning with `where`, if params.json asks for what is not possible.
    """
    labels = read_labels(data_dir)
    if unlisted := sorted(train.labels - set(labels)):
        raise DataError(f"{data_dir / 'tags.txt'}: no tags of {', '.join(unlisted)}, which train holds")
    if bert_model_dir:
        encoder, tokenizer, report = published_encoder(config, bert_model_dir)
    else:
        encoder, tokenizer, report = fresh_encoder(config, train, checkpoint, where)
    examples = encode(train.sentences, tokenizer)
    if not bert_model_dir and not checkpoint:
        report += encoder.prepare(tokenizer, examples.pieces)
    tag_set = TagSet.from_labels(labels, config.scheme or scheme_of(config.head))
    features = build_features(encoder, config.layers, config.context, where=where)
    width = features.width if features else encoder.width
    facts = span_facts(sentence.spans for sentence in train.sentences)
    head = build_head(config.head, width, tag_set, dropout=config.head_dropout, facts=facts, where=where)
    tagger = Tagger(encoder, head, features)
    check(tagger, config, where)
    check_learnable(head, train, data_dir / "train", config.head)
    set_loss(head, config, where)
    if config.activation_checkpointing:
        encoder.recompute(where)
    report.append(f"new, to be trained: the {config.head} head over {head.describe()}")
    if features:
        report.append(
            f"new, to be trained: what the head sees, layers {config.layers}, context {config.context}"
        )
    report += freeze(tagger, config) + never_unfrozen(tagger, config)
    unit = read_unit(data_dir, train.sentences)
    return Model(tagger, tokenizer, unit, config.max_len, (), config.long_text), examples, report


def published_encoder(config: Config, model_dir: Path) -> tuple[Encoder, WordPiece, list[str]]:
    """The encoder and the tokenizer of a published directory, and lines for the log."""
    check_model(model_dir)
    encoder, tokenizer, report = open_encoder(model_dir)
    if config.encoder:
        report.append(f"the `encoder` key of params.json is not used: {model_dir} decides")
    return encoder, tokenizer, report


def fresh_encoder(
    config: Config, train: Split, checkpoint: Path | None, where: str
) -> tuple[Encoder, WordPiece, list[str]]:
    """An encoder with random weights, a tokenizer (learned from train if new), and lines for the log."""
    if not config.encoder:
        raise DataError(f"{where}: no `encoder` key and no --bert_model_dir, expected one")
    if checkpoint:
        tokenizer = load_tokenizer(checkpoint)
    else:
        tokens = (token for sentence in train.sentences for token in sentence.tokens)
        # capital letters help to tell names from other words
        tokenizer = learn_vocabulary(tokens, normalisation=Normalisation(do_lower_case=False))
    encoder = build_encoder(config.encoder, vocab_size=len(tokenizer), where=where)
    return (
        encoder,
        tokenizer,
        [f"an encoder without published weights; {len(tokenizer)} pieces learned from train"],
    )


def check(tagger: Tagger, config: Config, where: str) -> None:
    """DataError at the first key of params.json that the tagger's parts do not allow."""
    encoder, n_layers = tagger.encoder, n_layers_of(tagger)
    limit = encoder.max_positions
    rate = config.transition_learning_rate
    has_transitions = any("transitions" in name for name, _ in tagger.head.named_parameters())
    has_dropout = config.head_dropout > 0 or (config.full_finetuning and encoder.has_dropout)
    for is_wrong, line in (
        (
            limit and config.max_len > limit,
            f"max_len: got {config.max_len}, expected at most {limit} as the encoder has positions",
        ),
        (
            config.rdrop and not has_dropout,  # its two passes would be the same
            f"rdrop: got {config.rdrop}, expected 0 where there is no dropout",
        ),
        (
            rate and not has_transitions,
            f"transition_learning_rate: got {rate}, expected 0 with head {config.head!r}, "
            "which has no transitions",
        ),
        (
            config.full_finetuning and config.n_frozen > n_layers,
            f"freeze_layers: got {config.freeze_layers}, expected at most {n_layers - 1} of {n_layers} "
            "layers; full_finetuning false freezes the whole encoder",
        ),
    ):
        if is_wrong:
            raise DataError(f"{where}: {line}")


def check_learnable(head: nn.Module, train: Split, folder: Path, name: str) -> None:
    """DataError at the first sentence of train whose entities the head cannot all predict."""
    for line, sentence in enumerate(train.sentences, start=1):
        if lost := sorted(set(sentence.spans) - set(head.learnable(sentence.spans))):
            raise DataError(
                f"{folder / 'entities.jsonl'}:{line}: entities overlap, such as {list(lost[0])}, which head "
                f"{name!r} cannot learn; expected head 'global_pointer', or a set built with "
                "build_dataset.py --nested keep_longest"
            )


def set_loss(head: nn.Module, config: Config, where: str) -> None:
    """Gives the head the loss that params.json asks for; DataError if the head has only its own."""
    if config.loss == "ce" and not config.label_smoothing:
        return
    if not hasattr(head, "criterion"):
        name, got = (
            ("loss", config.loss) if config.loss != "ce" else ("label_smoothing", config.label_smoothing)
        )
        raise DataError(f"{where}: {name}: got {got!r}, which head {config.head!r} cannot be trained with")
    head.criterion = build_loss(config.loss, label_smoothing=config.label_smoothing)


def freeze(tagger: Tagger, config: Config) -> list[str]:
    """Excludes the frozen layers, and the layers above what the head sees, from training; says which."""
    if not config.full_finetuning:
        tagger.freeze_encoder()
        return ["the encoder is frozen (full_finetuning is false)"]
    train_from(tagger, config.n_frozen)
    report = []
    if config.n_frozen:
        report.append(f"frozen: {below(config.n_frozen, n_layers_of(tagger))} (freeze_layers)")
    if isinstance(config.layers, int) and config.layers < tagger.encoder.n_layers:
        report.append(f"layers above number {config.layers} do not learn, the head does not see them")
    return report


def never_unfrozen(tagger: Tagger, config: Config) -> list[str]:
    """A line about the layers that gradual unfreezing would reach only after the last epoch, if any."""
    n_layers, every, frozen = n_layers_of(tagger), config.unfreeze_every, config.n_frozen
    lowest = unfrozen_depth(config.epoch_num - 1, n_layers=n_layers, every=every, frozen=frozen)
    if lowest == frozen:
        return []
    unlearned = below(lowest, n_layers)
    return [f"in {config.epoch_num} epochs {unlearned} never get to learn (unfreeze_every)"]


def below(depth: int, n_layers: int) -> str:
    """Names the parts of the encoder below a depth, from 1."""
    if depth == 1:
        return "the embeddings"
    return f"the embeddings and the first {depth - 1} of {n_layers} layers"
