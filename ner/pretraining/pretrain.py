"""Pretraining from its settings to the finished model directory: what pretrain.py calls."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import torch

from ner.config import from_mapping, load_options
from ner.data.tokenizer import Normalisation, learn_vocabulary
from ner.encoders import Bert
from ner.errors import DataError
from ner.model.manifest import check_model
from ner.pretraining.mlm import MODEL_FILES, MaskedLm, Pretrained, load_mlm, set_dropout
from ner.pretraining.params import PretrainConfig
from ner.pretraining.plaintext import TokenizedText, guess_unit_of_file, open_text, read_lines, sources
from ner.pretraining.rows import MaskedLoader, Stream, hold_out
from ner.pretraining.task import Pretraining
from ner.runtime import devices, distributed, logs
from ner.runtime.logs import log
from ner.scoring.tables import duration
from ner.training.optim import build_optimizer, parameter_groups
from ner.training.run import RunSettings, begin, checkpoint_of, lock_directory, run, share_model
from ner.training.step import Update


@dataclass(frozen=True, kw_only=True)
class PretrainSettings(RunSettings):
    """Where and how a model is pretrained; `directory` becomes its model directory."""

    params: Path | None = None
    "params.json; None: the defaults"
    text: Sequence[Path] = ()
    "files of plain text, or built sets for their train split"
    tagged_text: Sequence[Path] = ()
    "files of words with flags, which are a second target"
    bert_model_dir: Path | None = None
    "weights to start from; its config decides the sizes"

    @property
    def all_text(self) -> list[Path]:
        return [*self.text, *self.tagged_text]


def pretrain(settings: PretrainSettings) -> Path:
    """Pretrains an encoder; returns its model directory.

    DataError if the settings or the text do not allow the run, before any result is written; Stopped after a
    signal.
    """
    with contextlib.ExitStack() as locks:
        with distributed.synchronised():
            config = load_options(PretrainConfig, settings.params, settings.overrides)
            start, directory = settings.bert_model_dir, settings.directory
            if directory.exists() and not directory.is_dir():
                raise DataError(f"{directory}: is a file, expected a folder")
            if start and start.resolve() == directory.resolve():
                raise DataError(f"--out_dir {directory}: is --bert_model_dir, expected another folder")
            lock_directory(settings, locks)
            names = [name for name in MODEL_FILES if (directory / name).exists()]
            if names and not (settings.restore or settings.overwrite):
                raise DataError(f"{directory / names[0]}: a model exists already; --overwrite replaces it")
            task = build_task(settings, config)
        share_model(task, task.model.lm, seed=settings.seed, some_unused=False)
        run(task)
    return settings.directory


def build_task(settings: PretrainSettings, config: PretrainConfig) -> Pretraining:
    """Builds the run and its directory, new or from a checkpoint."""
    if not settings.all_text:
        raise DataError("no text: expected --text, --tagged_text or both")
    texts = [(name, size) for name, size, _ in sources(settings.all_text)]
    devices.set_seed(settings.seed)
    logs.start_log()
    log.info(settings.command)
    checkpoint = checkpoint_of(settings)
    model = build_model(settings, config, checkpoint)
    text, train, val = open_texts(settings, config, model)
    model.lm.guess_tags(text.tag_names)
    if config.dropout is not None:
        set_dropout(model.lm, config.dropout)
    if config.activation_checkpointing:
        model.lm.encoder.recompute()
    model.lm.to(settings.device).precision = settings.precision
    scaler = torch.amp.GradScaler(settings.device.type, enabled=settings.precision == "fp16")
    rates = {"learning_rate": config.learning_rate, "head_learning_rate": config.learning_rate}
    groups = parameter_groups(model.lm, weight_decay=config.weight_decay, **rates)
    task = Pretraining(
        directory=settings.directory,
        config=config,
        model=model,
        update=Update(build_optimizer(groups), scaler, config.clip_grad),
        train=train,
        val=val,
        device=settings.device,
    )
    resolved = resolve(settings, task, {"texts": texts, "sha256": text.sha256})
    begin(task, resolved, checkpoint=checkpoint, old_files=MODEL_FILES)
    log.info(
        f"{text.n_lines} lines, {len(text.pieces) - text.n_lines} pieces of a vocabulary of "
        f"{len(model.tokenizer)}, {len(val.stream.lengths)} lines held out; {resolved['n_parameters']} "
        f"parameters, {len(train.epoch(0))} batches an epoch, {settings.precision} on {settings.device}"
        f"{distributed.describe_processes()}"
    )
    return task


def build_model(settings: PretrainSettings, config: PretrainConfig, checkpoint: Path | None) -> Pretrained:
    """The model to train: from the checkpoint, from --bert_model_dir, or with random weights."""
    source = checkpoint or settings.bert_model_dir
    if not source:
        return new_model(settings, config)
    if not checkpoint:
        check_model(source)
    model = load_mlm(source, unit=config.unit, new_head=not checkpoint)
    check_block_len(config, model.lm.encoder.max_positions)
    for line in model.report:
        log.info(line)
    return model


def new_model(settings: PretrainSettings, config: PretrainConfig) -> Pretrained:
    """An encoder with random weights, and a vocabulary learned from the text."""
    if not config.encoder:
        raise DataError(
            "no --bert_model_dir and no `encoder` key, expected one, such as in "
            "--params pretrained/zh-small/params.json"
        )
    where = f"{settings.params or '--set'}: encoder"
    sizes = dict(config.encoder)
    name = sizes.pop("name", "bert")
    if name != "bert":
        raise DataError(f"{where}.name: got {name!r}, expected 'bert'")
    bert_config = from_mapping(Bert.Config, sizes, where)
    # checked before the vocabulary is learned, which takes a while
    check_block_len(config, bert_config.max_position_embeddings)
    unit = config.unit or guess_unit_of_file(settings.all_text[0])
    log.info(f"learning a vocabulary from the text, cut by {unit}")
    lines = read_lines(settings.text, settings.tagged_text, unit)
    tokens = chain.from_iterable(line.tokens for line in lines)
    tokenizer = learn_vocabulary(tokens, config.vocab_size, Normalisation(config.do_lower_case))
    log.info(f"an encoder with random weights; {len(tokenizer)} pieces learned from the text")
    return Pretrained(MaskedLm(Bert(bert_config, vocab_size=len(tokenizer))), tokenizer, unit)


def check_block_len(config: PretrainConfig, limit: int) -> None:
    if config.block_len > limit:
        expected = f"at most {limit} as the encoder has positions"
        raise DataError(f"block_len: got {config.block_len}, expected {expected}")


def open_texts(
    settings: PretrainSettings, config: PretrainConfig, model: Pretrained
) -> tuple[TokenizedText, MaskedLoader, MaskedLoader]:
    """The text, and batches of the lines to train on and of the held-out lines.

    The first process tokenises the text if the cache does not have it.
    """
    started, cache = time.perf_counter(), settings.directory / "cache"
    arguments = (settings.text, model.tokenizer, model.unit, cache, settings.tagged_text)
    text = distributed.first_then_others(lambda: open_text(*arguments))
    log.info(f"text opened in {duration(time.perf_counter() - started)}")
    try:
        train, held_out = (Stream(text, lines) for lines in hold_out(text.n_lines))
        loader = MaskedLoader(train, model.tokenizer, config, seed=settings.seed)
        return text, loader, MaskedLoader(held_out, model.tokenizer, config)
    except ValueError as error:
        raise DataError(f"{', '.join(map(str, settings.all_text))}: {error}") from None


def resolve(settings: PretrainSettings, task: Pretraining, text: dict) -> dict:
    """The content of resolved.json; `text` are the facts of the text files."""
    lm, vocab_size = task.model.lm, len(task.model.tokenizer)
    facts = {"unit": task.model.unit, "vocab_size": vocab_size, "tag_names": list(lm.tag_names)}
    return {
        "params": asdict(task.config),
        "data": text | facts,
        "seed": settings.seed,
        "precision": settings.precision,
        "world_size": distributed.world_size(),
        "encoder": asdict(lm.encoder.config) | {"vocab_size": lm.encoder.vocab_size},
        "n_parameters": sum(parameter.numel() for parameter in lm.parameters()),
        "n_lines": {"train": len(task.train.stream.lengths), "held_out": len(task.val.stream.lengths)},
        "n_cells": {"train": len(task.train.stream), "held_out": len(task.val.stream)},
        "command": settings.command,
        "environment": devices.environment(),
    }
