"""Trains an encoder to guess hidden pieces of plain text, from random or from published weights.

    python pretrain.py --text news.txt.xz --out_dir pretrained/mine --set max_minutes=60

What is trained stands in params.json; where and how, here.  `--out_dir` is a model directory in the end:
`train.py --bert_model_dir`, `predict.py --fill_mask` and transformers open it.
"""

import argparse
import contextlib
import shlex
import sys
import time
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import torch

from ner.config import from_mapping
from ner.data.tokenizer import Normalisation, learn_vocabulary
from ner.encoders import Bert
from ner.encoders.bert import BertConfig
from ner.errors import DataError
from ner.model.manifest import check_model
from ner.pretraining.loop import Pretraining
from ner.pretraining.mlm import MODEL_FILES, MaskedLm, Pretrained, load_mlm, set_dropout
from ner.pretraining.params import PretrainConfig, load_pretrain_config
from ner.pretraining.plaintext import (
    TokenizedText,
    guess_unit_of_file,
    open_text,
    read_tagged,
    read_tokens,
    sources,
)
from ner.pretraining.rows import MaskedLoader, split_lines
from ner.runtime import devices, distributed, logs, program, seeds
from ner.runtime.logs import log
from ner.scoring.tables import duration
from ner.training.checkpoint import find_checkpoint
from ner.training.optim import build_optimizer, parameter_groups
from ner.training.run_dir import (
    check_directory,
    check_unchanged,
    clear_directory,
    only_trainer,
    write_resolved,
)


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--text",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="UTF-8 text, a paragraph a line, as .txt, .gz or .xz; or a built set, for its train split",
    )
    parser.add_argument(
        "--tagged_text",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="text as word/flag word/flag ...: its flags are a second target (tools/label_words.py)",
    )
    parser.add_argument("--out_dir", type=Path, required=True, help="the model directory to be")
    parser.add_argument("--params", type=Path, help="default: params.json of --out_dir, where there is one")
    parser.add_argument("--bert_model_dir", type=Path, help="weights to go on from; its config decides")
    parser.add_argument("--seed", type=int, default=2019)
    parser.add_argument("--restore_file", metavar="NAME", help="go on from last, best or checkpoints/step-N")
    parser.add_argument("--overwrite", action="store_true", help="remove the results of an earlier run first")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of params.json"
    )
    devices.add_device_arguments(parser)
    return parser.parse_args(argv)


def main(args: argparse.Namespace) -> None:
    with distributed.process_group(), contextlib.ExitStack() as held:
        with distributed.synchronised():
            machine = devices.choose_machine(args)
            device, precision = distributed.local_device(machine.device), machine.precision
            config = load_pretrain_config(find_params(args), args.set)
            if args.out_dir.exists() and not args.out_dir.is_dir():
                raise DataError(f"{args.out_dir}: is a file, expected a folder")
            if distributed.is_first():
                held.enter_context(only_trainer(args.out_dir))
            check_out_dir(args)
            pretraining = begin(args, config, device, precision)
        if distributed.world_size() > 1:
            pretraining.replicas = distributed.wrap(pretraining.model.lm, some_unused=False)
            distributed.seed_others(args.seed, pretraining.progress.step)
        pretraining.run()


def begin(
    args: argparse.Namespace, config: PretrainConfig, device: torch.device, precision: str
) -> Pretraining:
    """Builds the run, from its start or from a checkpoint."""
    checkpoint, damages = None, []
    if args.restore_file:
        checkpoint, damages = distributed.from_first(lambda: find_checkpoint(args.out_dir, args.restore_file))
    if not args.text and not args.tagged_text:
        raise DataError("no text: expected --text, --tagged_text or both")
    texts = [(name, size) for name, size, _ in sources([*args.text, *args.tagged_text])]
    if args.seed < 0:
        raise DataError(f"--seed {args.seed}: expected 0 or more")
    seeds.set_seed(args.seed)
    if distributed.is_first():
        logs.start_log()
    model = build_model(args, config, checkpoint)
    started = time.perf_counter()
    cache = args.out_dir / "cache"
    text = distributed.first_then_others(
        lambda: open_text(args.text, model.tokenizer, model.unit, cache, args.tagged_text)
    )
    report = [*model.report, f"text opened in {duration(time.perf_counter() - started)}"]
    model.lm.guess_tags(text.tag_names)
    train, val = build_loaders(args, config, model, text)
    if config.dropout is not None:
        set_dropout(model.lm, config.dropout)
    if config.activation_checkpointing:
        model.lm.encoder.recompute()
    model.lm.precision = precision
    model.lm.to(device)
    rates = {"learning_rate": config.learning_rate, "head_learning_rate": config.learning_rate}
    groups = parameter_groups(model.lm, weight_decay=config.weight_decay, **rates)
    pretraining = Pretraining(
        directory=args.out_dir,
        config=config,
        model=model,
        optimizer=build_optimizer(groups),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == "fp16"),
        train=train,
        val=val,
        device=device,
        show_progress=sys.stderr.isatty() and distributed.is_first(),
    )
    resolved = resolve(args, pretraining, {"texts": texts, "sha256": text.sha256}, precision)
    # only now, where all that a user may have got wrong has been seen, is anything removed or written
    if checkpoint:
        check_unchanged(args.out_dir, resolved)
    distributed.barrier()
    if checkpoint:
        report += [*damages, pretraining.restore(checkpoint)]
    elif distributed.is_first():
        clear_directory(args.out_dir)
        for name in MODEL_FILES:
            (args.out_dir / name).unlink(missing_ok=True)
        write_resolved(args.out_dir, resolved)
    if distributed.is_first():
        logs.start_log(args.out_dir / "train.log")
    for line in (resolved["command"], *report):
        log.info(line)
    log.info(
        f"{text.n_lines} lines, {len(text.pieces) - text.n_lines} pieces of a vocabulary of "
        f"{len(model.tokenizer)}, {len(val.stream.lengths)} lines held out; {resolved['n_parameters']} "
        f"parameters, {len(train.epoch(0))} batches an epoch, {precision} on {device}"
        f"{distributed.describe_processes()}"
    )
    return pretraining


def find_params(args: argparse.Namespace) -> Path | None:
    """The params file asked for, or the one in --out_dir, or none."""
    own = args.out_dir / "params.json"
    return args.params or (own if own.exists() else None)


def check_out_dir(args: argparse.Namespace) -> None:
    """Makes sure that no results and no other model are overwritten by accident."""
    if args.bert_model_dir and args.bert_model_dir.resolve() == args.out_dir.resolve():
        raise DataError(f"--out_dir {args.out_dir}: is --bert_model_dir, expected another folder")
    check_directory(args.out_dir, overwrite=args.overwrite, restore=args.restore_file)
    stands = [name for name in MODEL_FILES if (args.out_dir / name).exists()]
    if stands and not (args.restore_file or args.overwrite):
        raise DataError(f"{args.out_dir / stands[0]}: a model stands here, --overwrite replaces it")


def build_model(args: argparse.Namespace, config: PretrainConfig, checkpoint: Path | None) -> Pretrained:
    """The model to be trained: from the checkpoint, from --bert_model_dir, or with random weights."""
    if checkpoint:
        model = load_mlm(checkpoint, unit=config.unit)
    elif args.bert_model_dir:
        check_model(args.bert_model_dir)
        model = load_mlm(args.bert_model_dir, unit=config.unit, new_head=True)
    else:
        return fresh_model(args, config)
    check_block_len(config, model.lm.encoder.config)
    return model


def fresh_model(args: argparse.Namespace, config: PretrainConfig) -> Pretrained:
    """An encoder with random weights, and a vocabulary learned from the text."""
    if not config.encoder:
        raise DataError(
            "no --bert_model_dir and no `encoder` key, expected one, such as that of "
            "--params pretrained/zh-small/params.json"
        )
    where = f"{find_params(args) or '--set'}: encoder"
    sizes = dict(config.encoder)
    name = sizes.pop("name", "bert")
    if name != "bert":
        raise DataError(f"{where}.name: got {name!r}, expected 'bert'")
    # before the vocabulary, which takes a while
    bert_config = from_mapping(Bert.Config, sizes, where)
    check_block_len(config, bert_config)
    unit = config.unit or guess_unit_of_file([*args.text, *args.tagged_text][0])
    log.info(f"learning a vocabulary from the text, cut by {unit}")
    lines = chain(
        *(read_tokens(path, unit) for path in args.text),
        *((line.tokens for line in read_tagged(path, unit)) for path in args.tagged_text),
    )
    tokens = chain.from_iterable(lines)
    tokenizer = learn_vocabulary(tokens, config.vocab_size, Normalisation(config.do_lower_case))
    report = (f"an encoder with random weights; {len(tokenizer)} pieces learned from the text",)
    return Pretrained(MaskedLm(Bert(bert_config, vocab_size=len(tokenizer))), tokenizer, unit, report)


def check_block_len(config: PretrainConfig, bert_config: BertConfig) -> None:
    limit = bert_config.max_position_embeddings
    if config.block_len > limit:
        raise DataError(
            f"block_len: got {config.block_len}, expected at most {limit} as the encoder has positions"
        )


def build_loaders(
    args: argparse.Namespace, config: PretrainConfig, model: Pretrained, text: TokenizedText
) -> tuple[MaskedLoader, MaskedLoader]:
    """Batches of the lines to train on, and of those held out."""
    options = {
        name: getattr(config, name)
        for name in ("packing", "block_len", "batch_tokens", "masking", "mask_rate", "max_span")
    }
    try:
        train, held_out = split_lines(text.n_lines)
        return (
            MaskedLoader(text, train, model.tokenizer, seed=args.seed, **options),
            MaskedLoader(text, held_out, model.tokenizer, **options),
        )
    except ValueError as error:
        raise DataError(f"{', '.join(map(str, [*args.text, *args.tagged_text]))}: {error}") from None


def resolve(args: argparse.Namespace, run: Pretraining, text: dict, precision: str) -> dict:
    """What goes into resolved.json."""
    encoder, tokenizer = run.model.lm.encoder, run.model.tokenizer
    return {
        "params": asdict(run.config),
        "data": {
            **text,
            "unit": run.model.unit,
            "vocab_size": len(tokenizer),
            "tag_names": list(run.model.lm.tag_names),
        },
        "seed": args.seed,
        "precision": precision,
        "world_size": distributed.world_size(),
        "encoder": asdict(encoder.config) | {"vocab_size": encoder.vocab_size},
        "n_parameters": sum(parameter.numel() for parameter in run.model.lm.parameters()),
        "n_lines": {"train": len(run.train.stream.lengths), "held_out": len(run.val.stream.lengths)},
        "n_cells": {"train": len(run.train.stream), "held_out": len(run.val.stream)},
        "command": shlex.join(["pretrain.py", *sys.argv[1:]]),
        "environment": devices.environment(),
    }


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
