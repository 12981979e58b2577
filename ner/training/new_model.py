"""From params.json and a built set to a model ready to be trained."""

from pathlib import Path

from torch import nn

from ner.data.examples import Examples, encode
from ner.data.folder import read_labels, read_unit
from ner.data.sentence import Split
from ner.data.tokenizer import Normalisation, WordPiece, learn_vocabulary, load_tokenizer
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
    """The tagger with its encoder, published or fresh; the train split in its pieces; a report in words.

    A run that goes on takes the vocabulary of its `checkpoint`.  DataError, its line beginning with `where`,
    on what params.json asks for and cannot be had.
    """
    if bert_model_dir:
        check_model(bert_model_dir)
        encoder, tokenizer, report = open_encoder(bert_model_dir)
        if config.encoder:
            report.append(f"the `encoder` key of params.json is not used: {bert_model_dir} decides")
        examples = encode(train.sentences, tokenizer)
    else:
        encoder, tokenizer, examples, report = fresh_encoder(config, train, checkpoint, where)
    if config.activation_checkpointing:
        encoder.recompute(where)
    limit = encoder.max_positions
    if limit and config.max_len > limit:
        raise DataError(
            f"{where}: max_len: got {config.max_len}, expected at most {limit} as the encoder has positions"
        )
    labels = read_labels(data_dir)
    if unlisted := sorted(train.labels - set(labels)):
        raise DataError(f"{data_dir / 'tags.txt'}: no tags of {', '.join(unlisted)}, which train holds")
    tag_set = TagSet.from_labels(labels, config.scheme or scheme_of(config.head))
    features = build_features(encoder, config.layers, config.context, where=where)
    width = features.width if features else encoder.width
    facts = span_facts(sentence.spans for sentence in train.sentences)
    head = build_head(config.head, width, tag_set, dropout=config.head_dropout, facts=facts, where=where)
    check_learnable(head, train, data_dir / "train", config.head)
    set_loss(head, config, where)
    check_dropout(encoder, config, where)
    check_rate(head, config, where)
    report.append(f"new, to be trained: the {config.head} head over {head.describe()}")
    tagger = Tagger(encoder, head, features)
    if features:
        report.append(
            f"new, to be trained: what the head sees, layers {config.layers}, context {config.context}"
        )
    if config.full_finetuning:
        report += freeze(tagger, config, where)
    else:
        tagger.freeze_encoder()
        report.append("the encoder is frozen (full_finetuning is false)")
    report += never_unfrozen(tagger, config)
    unit = read_unit(data_dir, train.sentences)
    return Model(tagger, tokenizer, unit, config.max_len, (), config.long_text), examples, report


def fresh_encoder(
    config: Config, train: Split, checkpoint: Path | None, where: str
) -> tuple[nn.Module, WordPiece, Examples, list[str]]:
    """An encoder without published weights, and what it learns from train before training begins."""
    if not config.encoder:
        raise DataError(f"{where}: no `encoder` key and no --bert_model_dir, expected one")
    if checkpoint:
        tokenizer = load_tokenizer(checkpoint)
    else:
        tokens = (token for sentence in train.sentences for token in sentence.tokens)
        # capital letters tell names from words
        tokenizer = learn_vocabulary(tokens, normalisation=Normalisation(do_lower_case=False))
    encoder = build_encoder(config.encoder, vocab_size=len(tokenizer), where=where)
    examples = encode(train.sentences, tokenizer)
    report = [f"an encoder without published weights; {len(tokenizer)} pieces learned from train"]
    if not checkpoint:
        report += encoder.prepare(tokenizer, examples.pieces)
    return encoder, tokenizer, examples, report


def set_loss(head: nn.Module, config: Config, where: str) -> None:
    """Gives the head the loss that it is to be trained with; DataError where it has but one of its own."""
    if config.loss == "ce" and not config.label_smoothing:
        return
    if not hasattr(head, "criterion"):
        name, got = (
            ("loss", config.loss) if config.loss != "ce" else ("label_smoothing", config.label_smoothing)
        )
        raise DataError(f"{where}: {name}: got {got!r}, which head {config.head!r} cannot be trained with")
    head.criterion = build_loss(config.loss, label_smoothing=config.label_smoothing)


def check_dropout(encoder: nn.Module, config: Config, where: str) -> None:
    """DataError where R-Drop has two passes drawn together that no dropout sets apart."""
    has_dropout = config.head_dropout > 0 or (config.full_finetuning and encoder.has_dropout)
    if config.rdrop and not has_dropout:
        raise DataError(f"{where}: rdrop: got {config.rdrop}, expected 0 where there is no dropout")


def check_learnable(head: nn.Module, train: Split, folder: Path, name: str) -> None:
    """DataError at the first sentence of train whose entities the head could not all find."""
    for line, sentence in enumerate(train.sentences, start=1):
        if lost := sorted(set(sentence.spans) - set(head.learnable(sentence.spans))):
            raise DataError(
                f"{folder / 'entities.jsonl'}:{line}: entities overlap, such as {list(lost[0])}, which head "
                f"{name!r} cannot learn; expected head 'global_pointer', or a set built with "
                "build_dataset.py --nested keep_longest"
            )


def check_rate(head: nn.Module, config: Config, where: str) -> None:
    """DataError where a rate is asked for transitions that the head has not."""
    rate = config.transition_learning_rate
    if rate and not any("transitions" in name for name, _ in head.named_parameters()):
        raise DataError(
            f"{where}: transition_learning_rate: got {rate}, expected 0 with head {config.head!r}, "
            "which has no transitions"
        )


def freeze(tagger: Tagger, config: Config, where: str) -> list[str]:
    """Leaves the lowest layers out of training, and those above what the head sees; says which."""
    n_layers = n_layers_of(tagger)
    if config.n_frozen > n_layers:
        raise DataError(
            f"{where}: freeze_layers: got {config.freeze_layers}, expected at most {n_layers - 1} "
            f"of {n_layers} layers; full_finetuning false freezes the whole encoder"
        )
    train_from(tagger, config.n_frozen)
    report = [f"frozen: {below(config.n_frozen, n_layers)} (freeze_layers)"] if config.n_frozen else []
    if isinstance(config.layers, int) and config.layers < tagger.encoder.n_layers:
        report.append(f"layers above number {config.layers} do not learn, the head does not see them")
    return report


def never_unfrozen(tagger: Tagger, config: Config) -> list[str]:
    """What is to be said of layers whose turn to learn would come after the last epoch."""
    n_layers, every, frozen = n_layers_of(tagger), config.unfreeze_every, config.n_frozen
    lowest = unfrozen_depth(config.epoch_num - 1, n_layers=n_layers, every=every, frozen=frozen)
    if lowest == frozen:
        return []
    unlearned = below(lowest, n_layers)
    return [f"in {config.epoch_num} epochs {unlearned} never get to learn (unfreeze_every)"]


def below(depth: int, n_layers: int) -> str:
    """Which parts of the encoder lie below a depth, from 1, in words."""
    return "the embeddings" + f" and the first {depth - 1} of {n_layers} layers" * (depth > 1)
