"""Fine-tunes an encoder for named entity recognition.

    python train.py --data_dir data/msra --bert_model_dir bert-base-chinese --model_dir experiments/base_model

What is trained stands in `<model_dir>/params.json`; where and how, here.
"""

import argparse
import math
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from ner import corpus, runtime
from ner.checkpoint import find_checkpoint
from ner.config import Config, load_config, to_json
from ner.corpus import DataError
from ner.data_loader import DataLoader, Examples, Windows, encode, token_budget
from ner.distillation import Lesson, check_pair, comparison, comparison_table, prepare
from ner.experiment import Experiment, missed_gold
from ner.features import build_features
from ner.heads.losses import LOSSES, build_loss
from ner.integrity import check_model
from ner.model import Model, Tagger, build_encoder, build_head, load, open_encoder, resolve_model_dir
from ner.objectives import ADVERSARIES
from ner.optim import SCHEDULES, build_optimizer, n_layers_of, parameter_groups, train_from
from ner.pretraining.plaintext import read_lines
from ner.run_dir import check_directory, check_unchanged, clear_directory, only_trainer, write_resolved
from ner.runtime import log
from ner.tags import TagSet, span_facts
from ner.tokenizer import Normalisation, Tokenizer, learn_vocabulary, load_tokenizer


def parse_args(argv=None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--data_dir", type=Path, default=Path("data/msra"), help="a set made by build_dataset.py"
    )
    parser.add_argument("--bert_model_dir", type=Path, help="published weights; its config decides the sizes")
    parser.add_argument(
        "--model_dir", type=Path, default=Path("experiments/base_model"), help="holds params.json"
    )
    parser.add_argument("--seed", type=int, default=2019)
    parser.add_argument("--restore_file", metavar="NAME", help="go on from last, best or checkpoints/step-N")
    parser.add_argument("--overwrite", action="store_true", help="remove the results of an earlier run first")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of params.json"
    )
    parser.add_argument(
        "--teacher", type=Path, metavar="DIR", help="a fine-tuned model to learn from as well"
    )
    parser.add_argument(
        "--unlabelled",
        type=Path,
        metavar="FILE",
        help="with --teacher: more text, tagged by it; .txt, .gz, .xz",
    )
    parser.add_argument("--multi_gpu", action="store_true", help="DataParallel over the visible GPUs")
    parser.add_argument("--loss_scale", type=float, default=0, help="with --fp16: a fixed scale; 0: dynamic")
    runtime.add_device_arguments(parser)
    args = parser.parse_args(argv)
    if args.unlabelled and not args.teacher:
        parser.error("--unlabelled: expected --teacher with it")
    return args


def main(args: argparse.Namespace) -> None:
    device, precision = runtime.device_and_precision(args)
    params = args.model_dir / "params.json"
    config = load_config(params, args.set)
    if config.schedule not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise DataError(f"{params}: schedule: got {config.schedule!r}, expected one of {known}")
    check_objective(config, args, precision, str(params))
    with only_trainer(args.model_dir):
        check_directory(args.model_dir, overwrite=args.overwrite, restore=args.restore_file)
        run(args, config, device, precision)


def run(args: argparse.Namespace, config: Config, device: torch.device, precision: str) -> None:
    """Builds the experiment, from its beginning or from a checkpoint, and trains."""
    checkpoint, damages = None, []
    if args.restore_file:
        checkpoint, damages = find_checkpoint(args.model_dir, args.restore_file)
    train, val = read_annotated(args.data_dir, "train"), read_annotated(args.data_dir, "val")
    runtime.set_seed(args.seed)
    model, examples, report = build_model(args, config, train, checkpoint)
    model.tagger.precision = precision
    model.tagger.to(device)
    lesson = ask_teacher(args, config, model, examples) if args.teacher else None
    if lesson:
        examples, report = lesson.examples, [*report, lesson.said]
    windows = Windows(config.max_len)
    budget = config.batch_tokens or token_budget(examples, windows, config.batch_size)
    model.tagger.max_cells = max(budget, config.max_len)
    findable = model.tagger.head.findable
    loading = {"windows": windows, "batch_tokens": budget, "label_ids": model.label_ids, "findable": findable}
    head_rate = config.head_learning_rate or config.learning_rate
    groups = parameter_groups(
        model.tagger,
        learning_rate=config.learning_rate,
        head_learning_rate=head_rate,
        transition_learning_rate=config.transition_learning_rate or head_rate,
        layer_decay=config.layer_decay or 1.0,
        weight_decay=config.weight_decay,
    )
    experiment = Experiment(
        directory=args.model_dir,
        config=config,
        model=model,
        optimizer=build_optimizer(groups),
        scaler=build_scaler(device, precision, args.loss_scale),
        train=DataLoader(examples, seed=args.seed, soft=lesson and lesson.soft, **loading),
        val=DataLoader(encode(val.sentences, model.tokenizer), **loading),
        device=device,
        fixed_scale=args.loss_scale,
        replicas=replicate(model.tagger, report) if args.multi_gpu else None,
        show_progress=sys.stderr.isatty(),
    )
    resolved = resolve(args, config, experiment, precision)
    resolved["teacher"] = lesson and lesson.fingerprint
    # only now, where all that a user may have got wrong has been seen, is anything removed or written
    if checkpoint:
        check_unchanged(args.model_dir, resolved)
        report += [*damages, experiment.restore(checkpoint)]
    else:
        clear_directory(args.model_dir)
        write_resolved(args.model_dir, resolved)
    runtime.start_log(args.model_dir / "train.log")
    report += missed_gold(model.tagger.head, val)
    for line in (resolved["command"], *illegal_gold(args.data_dir, train, val), *report):
        log.info(line)
    log.info(
        f"{len(train.sentences)} + {len(val.sentences)} sentences, {resolved['n_parameters']} parameters, "
        f"{experiment.steps_an_epoch} steps an epoch of {budget} pieces each, {precision} on {device}"
    )
    experiment.run()
    if lesson:
        compare(args, lesson.teacher, val)


def read_annotated(data_dir: Path, split: str) -> corpus.Split:
    """A split that training can use."""
    read = corpus.read_split(data_dir, split)
    if not read.annotated:
        raise DataError(f"{data_dir / split}: no {' or '.join(corpus.GOLD)}, expected an annotated split")
    return read


def illegal_gold(data_dir: Path, train: corpus.Split, val: corpus.Split) -> list[str]:
    """What is to be said of tags that begin no entity legally."""
    return [
        f"{data_dir / name / 'tags.txt'}:{read.illegal[0][0]}: tag {read.illegal[0][1] + 1} begins no entity "
        f"legally; {len(read.illegal)} such tags are read as entity starts"
        for name, read in (("train", train), ("val", val))
        if read.illegal
    ]


def build_model(
    args: argparse.Namespace, config: Config, train: corpus.Split, checkpoint: Path | None
) -> tuple[Model, Examples, list[str]]:
    """The tagger with its encoder, published or fresh; the train split in its pieces; a report in words."""
    where = str(args.model_dir / "params.json")
    if args.bert_model_dir:
        check_model(args.bert_model_dir)
        encoder, tokenizer, report = open_encoder(args.bert_model_dir)
        if config.encoder:
            report.append(f"the `encoder` key of params.json is not used: {args.bert_model_dir} decides")
        examples = encode(train.sentences, tokenizer)
    else:
        encoder, tokenizer, examples, report = fresh_encoder(args, config, train, checkpoint)
    limit = getattr(encoder.config, "max_position_embeddings", config.max_len)
    if config.max_len > limit:
        raise DataError(
            f"{where}: max_len: got {config.max_len}, expected at most {limit} as the encoder has positions"
        )
    labels = corpus.read_labels(args.data_dir)
    if unlisted := sorted(train.labels - set(labels)):
        raise DataError(f"{args.data_dir / 'tags.txt'}: no tags of {', '.join(unlisted)}, which train holds")
    tag_set = TagSet.from_labels(labels, config.scheme)
    try:
        features = build_features(encoder, config.layers, config.context)
    except ValueError as error:
        raise DataError(f"{where}: {error}") from None
    width = features.width if features else encoder.width
    facts = span_facts(sentence.spans for sentence in train.sentences)
    head = build_head(config.head, width, tag_set, dropout=config.head_dropout, facts=facts, where=where)
    check_findable(head, train, args.data_dir / "train", config.head)
    set_loss(head, config, where)
    check_rate(head, config, where)
    report.append(f"new, to be trained: the {config.head} head over {head.over()}")
    tagger = Tagger(encoder, head, features)
    if features:
        report.append(
            f"new, to be trained: what the head sees, layers {config.layers}, context {config.context}"
        )
    if not config.full_finetuning:
        tagger.freeze_encoder()
        report.append("the encoder is frozen (full_finetuning is false)")
    elif config.freeze_layers:
        report.append(freeze(tagger, config, where))
    unit = corpus.read_unit(args.data_dir, train.sentences)
    return Model(tagger, tokenizer, unit, config.max_len), examples, report


def ask_teacher(args: argparse.Namespace, config: Config, model: Model, examples: Examples) -> Lesson:
    """What the teacher says of train and of the unlabelled text."""
    teacher = load(resolve_model_dir(args.teacher))
    teacher.tagger.to(model.tagger.device).precision = model.tagger.precision
    lines = (line for _, line in read_lines(args.unlabelled)) if args.unlabelled else ()
    temperature = config.distillation_temperature
    try:
        check_pair(teacher, model)
    except ValueError as error:
        raise DataError(f"--teacher {args.teacher}: {error}") from None
    return prepare(teacher, model, examples, lines, directory=args.model_dir, temperature=temperature)


def compare(args: argparse.Namespace, teacher: Model, val: corpus.Split) -> None:
    """Says what the student is beside its teacher, in the log and in distillation.json."""
    student, tagger = load(args.model_dir / "best"), teacher.tagger
    student.tagger.to(tagger.device).precision = tagger.precision
    rows = comparison({"teacher": teacher, "student": student}, val.sentences)
    log.info(f"\n{comparison_table(rows)}")
    with runtime.whole_file(args.model_dir / "distillation.json") as file:
        file.write(to_json(rows))


def fresh_encoder(
    args: argparse.Namespace, config: Config, train: corpus.Split, checkpoint: Path | None
) -> tuple[nn.Module, Tokenizer, Examples, list[str]]:
    """An encoder without published weights, and what it learns from train before training begins."""
    where = str(args.model_dir / "params.json")
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
    if hasattr(encoder, "prepare") and not checkpoint:
        try:
            report += encoder.prepare(tokenizer, examples.pieces)
        except ValueError as error:  # a file of vectors
            raise DataError(str(error)) from None
    return encoder, tokenizer, examples, report


def check_objective(config: Config, args: argparse.Namespace, precision: str, where: str) -> None:
    """DataError where what is to be minimised is unknown, or does not go together with the way of running."""
    if config.adversarial not in ("none", *ADVERSARIES):
        known = ", ".join(("none", *ADVERSARIES))
        raise DataError(f"{where}: adversarial: got {config.adversarial!r}, expected one of {known}")
    if config.adversarial != "none" and precision == "fp16":
        raise DataError(
            f"{where}: adversarial: got {config.adversarial!r} with --fp16, expected --bf16 or fp32"
        )
    for name in ("adversarial", "multi_dropout"):
        value = getattr(config, name)
        if args.multi_gpu and value not in (0, "none"):
            raise DataError(f"{where}: {name}: got {value!r} with --multi_gpu, which cannot run it")
    for name in ("rdrop", "multi_dropout"):
        if args.teacher and (value := getattr(config, name)):
            raise DataError(f"{where}: {name}: got {value!r} with --teacher, expected 0: one of them")


def set_loss(head: nn.Module, config: Config, where: str) -> None:
    """Gives the head the loss that it is to be trained with; DataError where it has but one of its own."""
    if config.loss not in LOSSES:
        raise DataError(f"{where}: loss: got {config.loss!r}, expected one of {', '.join(LOSSES)}")
    if config.loss == "ce" and not config.label_smoothing:
        return
    if not hasattr(head, "criterion"):
        name, got = (
            ("loss", config.loss) if config.loss != "ce" else ("label_smoothing", config.label_smoothing)
        )
        raise DataError(f"{where}: {name}: got {got!r}, which head {config.head!r} cannot be trained with")
    head.criterion = build_loss(config.loss, label_smoothing=config.label_smoothing)


def check_findable(head: nn.Module, train: corpus.Split, folder: Path, name: str) -> None:
    """DataError at the first sentence of train whose entities the head could not all find."""
    for line, sentence in enumerate(train.sentences, start=1):
        if lost := sorted(set(sentence.spans) - set(head.findable(sentence.spans))):
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


def freeze(tagger: Tagger, config: Config, where: str) -> str:
    """Leaves the lowest layers out of training, and says which."""
    n_layers = n_layers_of(tagger)
    if config.n_frozen > n_layers:
        raise DataError(
            f"{where}: freeze_layers: got {config.freeze_layers}, expected at most {n_layers - 1} "
            f"of {n_layers} layers; full_finetuning false freezes the whole encoder"
        )
    train_from(tagger, config.n_frozen)
    layers = f" and the first {config.freeze_layers} of {n_layers} layers" * (config.n_frozen > 1)
    return f"frozen: the embeddings{layers} (freeze_layers)"


def replicate(tagger: Tagger, report: list[str]) -> nn.Module | None:
    """DataParallel over the visible GPUs, where there are several."""
    n_gpus = torch.cuda.device_count()
    report.append(
        f"--multi_gpu: {n_gpus} GPUs" if n_gpus > 1 else f"--multi_gpu has no effect with {n_gpus} GPUs"
    )
    return nn.DataParallel(tagger) if n_gpus > 1 else None


def build_scaler(device: torch.device, precision: str, loss_scale: float) -> torch.amp.GradScaler:
    """Loss scaling for fp16, dynamic from 2^16 or fixed; without fp16 it does nothing."""
    enabled = precision == "fp16"
    if not 0 <= loss_scale < math.inf or (loss_scale and not enabled):
        raise DataError(f"--loss_scale {loss_scale:g}: expected 0 or more, together with --fp16")
    return torch.amp.GradScaler(device.type, init_scale=loss_scale or 2.0**16, enabled=enabled)


def resolve(args: argparse.Namespace, config: Config, experiment: Experiment, precision: str) -> dict:
    """What goes into resolved.json."""
    model = experiment.model
    files = [
        file
        for split in ("train", "val")
        for name in ("sentences.txt", *corpus.GOLD)
        if (file := args.data_dir / split / name).exists()
    ]
    return {
        "params": asdict(config),
        "data": {
            "labels": list(model.tag_set.labels),
            "unit": model.unit,
            **{f"{file.parent.name}/{file.name}": runtime.sha256(file) for file in files},
        },
        "seed": args.seed,
        "precision": precision,
        "loss_scale": args.loss_scale,
        "encoder": asdict(model.tagger.encoder.config) | {"vocab_size": len(model.tokenizer)},
        "tokenizer": model.tokenizer.sha256,
        "n_parameters": sum(p.numel() for p in model.tagger.parameters() if p.requires_grad),
        "batch_tokens": experiment.train.batch_tokens,
        "steps_an_epoch": experiment.steps_an_epoch,
        "command": shlex.join(["train.py", *sys.argv[1:]]),
        "environment": runtime.environment(),
    }


if __name__ == "__main__":
    sys.exit(runtime.run(main, parse_args))
