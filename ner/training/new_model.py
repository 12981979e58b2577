"""The settings of fine-tuning, and a model that is ready to be trained, from params.json and a built set."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ner.annotations import ANNOTATIONS
from ner.data.folder import read_unit, read_word_rules
from ner.data.sentence import Split
from ner.data.tokenizer import Normalisation, WordPiece, learn_vocabulary
from ner.data.tokenizer_files import load_tokenizer
from ner.data.windows import Examples, encode
from ner.encoders import Encoder, published
from ner.encoders.published import read_config
from ner.errors import DataError
from ner.heads import HEADS
from ner.model.build import build_encoder, build_head, head_options
from ner.model.directory import ModelDirectory, upper_tensors
from ner.model.features import build_features
from ner.model.manifest import check_model
from ner.model.tagger import Model, Tagger, n_layers_of, train_from, unfrozen_depth
from ner.runtime.logs import log
from ner.tags import NON_TAGS, TagSet
from ner.training.params import Config
from ner.training.run import RunSettings


@dataclass(frozen=True, kw_only=True)
class Settings(RunSettings):
    """Where and how a model is fine-tuned: the options of train.py, whose help explains them."""

    params: Path
    data_dir: Path
    bert_model_dir: Path | None = None
    teacher: Path | None = None
    unlabelled: Path | None = None
    soft_labels_dir: Path | None = None
    "keeps the teacher's answers; None: the run's directory"
    multi_gpu: bool = False
    loss_scale: float = 0.0
    extend: bool = False
    new_head: bool = False


def new_model(
    settings: Settings, config: Config, train: Split, checkpoint: Path | None
) -> tuple[Model, Examples]:
    """The model and the train split in pieces; logs how the model was made.

    A new encoder's vocabulary is learned from train, or read from the `checkpoint` that the run goes on from.
    DataError, beginning with the name of params.json, if that asks for what is not possible.
    """
    data_dir, where = settings.data_dir, str(settings.params)
    name = config.head_name
    scheme, inventories = config.scheme or HEADS[name].default_scheme, {}
    for kind in HEADS[name].annotations:
        values = [sentence.gold[kind] for sentence in train.sentences]
        inventories[kind] = ANNOTATIONS[kind].read_inventory(data_dir, values, scheme=scheme)
    encoder, tokenizer, directory = _make_encoder(settings, config, train, checkpoint)
    theirs = None
    if checkpoint:  # it knows whether the run kept a head
        theirs = tags_to_keep(read_config(checkpoint), config, inventories)
    elif directory and directory.head_name == name and not settings.new_head:
        theirs = tags_to_keep(directory.config, config, inventories)
    if theirs:
        inventories["spans"] = replace(inventories["spans"], tag_set=theirs)
    examples = encode(train.sentences, tokenizer)
    if not settings.bert_model_dir and not checkpoint:
        encoder.prepare(tokenizer, examples.pieces)
    features = build_features(encoder, config.layers, config.context, where=where)
    width = features.width if features else encoder.width
    options = head_options(name, asdict(config), where=where)
    head = build_head(name, width, inventories, options, where=where)
    tagger = Tagger(encoder, head, features)
    check(tagger, settings, config, train)
    if config.activation_checkpointing:
        encoder.recompute(where)
    is_kept = bool(theirs) and not checkpoint and fill_from(directory, tagger)
    for line in directory.log_lines() if directory else ():
        log.info(line)
    if is_kept:
        kept = f"kept, to be trained further: the {name} head of {directory.path} over {head.describe()}"
        log.info(f"{kept}; --new_head begins with a new one")
    else:
        log.info(f"new, to be trained: the {name} head over {head.describe()}")
    if features and not is_kept:
        log.info(f"new, to be trained: what the head sees, layers {config.layers}, context {config.context}")
    freeze(tagger, config)
    lowest = depth_to_learn(tagger, config, config.epoch_num - 1)
    if lowest > config.n_frozen:
        unlearned = _below(lowest, tagger)
        log.info(f"in {config.epoch_num} epochs {unlearned} never get to learn (unfreeze_every)")
    unit, words = read_unit(data_dir, train.sentences), read_word_rules(data_dir)
    if words:
        log.info(f"raw text will be cut as train's tokens: {words.describe()}")
    facts = {"long_text": config.long_text, "words": words}
    return Model(tagger, tokenizer, unit, config.max_len, **facts), examples


def tags_to_keep(values: Mapping[str, Any], config: Config, inventories: Mapping[str, Any]) -> TagSet | None:
    """The tags in the config of a tagger that the run starts from, if they are of the same labels.

    Their order and their scheme may be others than a new head's; None for an encoder without tags.
    """
    if "spans" not in inventories:
        return None
    try:
        theirs = ANNOTATIONS["spans"].from_config(values, where="").tag_set
    except DataError:
        return None
    needed = TagSet.from_labels(inventories["spans"].tag_set.labels, theirs.scheme).tags
    has_scheme = config.scheme in ("", theirs.scheme) and theirs.scheme in HEADS[config.head_name].schemes
    return theirs if has_scheme and set(needed) == set(theirs.tags) - set(NON_TAGS) else None


def fill_from(directory: ModelDirectory, tagger: Tagger) -> bool:
    """Fills head and features from a tagger's directory; False if its tensors do not fit."""
    targets = upper_tensors(tagger)
    try:
        published.load_tensors(targets, directory.weights, where=directory.path)
    except DataError:
        return False
    loaded, unused = directory.report
    left = [name for name in unused if name not in targets]
    directory.report = published.LoadReport([*loaded, *targets], left)
    return True


def _make_encoder(
    settings: Settings, config: Config, train: Split, checkpoint: Path | None
) -> tuple[Encoder, WordPiece, ModelDirectory | None]:
    """A published encoder with its tokenizer, or random weights with a tokenizer learned from train."""
    bert_model_dir, where = settings.bert_model_dir, str(settings.params)
    if bert_model_dir:
        check_model(bert_model_dir)
        directory = ModelDirectory(bert_model_dir)
        if config.encoder:
            log.info(f"the `encoder` key of params.json is not used: {bert_model_dir} decides")
        return directory.encoder, directory.tokenizer, directory
    if not config.encoder:
        raise DataError(f"{where}: no `encoder` key and no --bert_model_dir, expected one")
    if checkpoint:
        tokenizer = load_tokenizer(checkpoint)
    else:
        tokens = (token for sentence in train.sentences for token in sentence.tokens)
        # capital letters help to tell names from other words
        tokenizer = learn_vocabulary(tokens, normalisation=Normalisation(do_lower_case=False))
    log.info(f"an encoder without published weights; {len(tokenizer)} pieces learned from train")
    return build_encoder(config.encoder, vocab_size=len(tokenizer), where=where), tokenizer, None


def check(tagger: Tagger, settings: Settings, config: Config, train: Split) -> None:
    """DataError at the first key of params.json, or entities of train, that the tagger does not allow."""
    n_layers, limit = n_layers_of(tagger), tagger.encoder.max_positions
    has_transitions, full = bool(tagger.head.transition_parameters()), config.full_finetuning
    has_dropout = config.head_dropout > 0 or (full and tagger.encoder.has_dropout)
    none_to_learn = f"0 with head {config.head_name!r}, which has no transitions"
    fewer = f"at most {n_layers - 1} of {n_layers} layers; full_finetuning false freezes the whole encoder"
    for name, is_wrong, expected in (
        ("max_len", limit and config.max_len > limit, f"at most {limit} as the encoder has positions"),
        ("rdrop", not has_dropout, "0 if the model has no dropout"),  # its two passes would be the same
        ("transition_learning_rate", not has_transitions, none_to_learn),
        ("freeze_layers", full and config.n_frozen > n_layers, fewer),
    ):
        if is_wrong and getattr(config, name):
            raise DataError(f"{settings.params}: {name}: got {getattr(config, name)}, expected {expected}")
    for name in tagger.head.annotations:
        kind = ANNOTATIONS[name]
        for number, sentence in enumerate(train.sentences, start=1):
            found = tagger.head.learnable(name, sentence.gold[name])
            if lost := [item for item in sentence.gold[name] if item not in found]:
                path = settings.data_dir / "train" / kind.choose_file([sentence.gold[name]])
                raise DataError(
                    f"{path}:{number}: {kind.items} {tagger.head.reason_missed(name, lost[0])}, such as "
                    f"{list(lost[0])}, which head {config.head_name!r} cannot learn; expected head "
                    "'global_pointer', or a set built with build_dataset.py --nested keep_longest"
                )


def freeze(tagger: Tagger, config: Config) -> None:
    """Excludes the frozen layers, and the layers above what the head sees, from training; logs which."""
    if not config.full_finetuning:
        tagger.encoder.requires_grad_(False)
        log.info("the encoder is frozen (full_finetuning is false)")
        return
    train_from(tagger, config.n_frozen)
    if config.n_frozen:
        log.info(f"frozen: {_below(config.n_frozen, tagger)} (freeze_layers)")
    if isinstance(config.layers, int) and config.layers < tagger.encoder.n_layers:
        log.info(f"layers above number {config.layers} do not learn, the head does not see them")


def depth_to_learn(tagger: Tagger, config: Config, epoch: int) -> int:
    """The depth from which the encoder learns in an epoch, from 0; see `unfrozen_depth`."""
    n_layers, every = n_layers_of(tagger), config.unfreeze_every
    return unfrozen_depth(epoch, n_layers=n_layers, every=every, frozen=config.n_frozen)


def _below(depth: int, tagger: Tagger) -> str:
    """Names the parts of the encoder below a depth, from 1."""
    layers = f" and the first {depth - 1} of {n_layers_of(tagger)} layers" if depth > 1 else ""
    return f"the embeddings{layers}"
