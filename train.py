"""Fine-tunes an encoder for named entity recognition.

    python train.py --data_dir data/msra --bert_model_dir bert-base-chinese --model_dir experiments/base_model

What is trained stands in `<model_dir>/params.json`; where and how, here.
"""

import argparse
import contextlib
import math
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from ner import files, tensors
from ner.config import to_json
from ner.data import folder, sentence
from ner.data.batches import Batches, token_budget
from ner.data.examples import Examples, encode
from ner.data.windows import Windows
from ner.errors import DataError
from ner.model.directory import Model, load, resolve_model_dir
from ner.model.tagger import Tagger
from ner.runtime import devices, distributed, logs, program, seeds
from ner.runtime.logs import log
from ner.scoring.evaluate import missed_gold, unread_gold
from ner.studies import series
from ner.training.checkpoint import find_checkpoint
from ner.training.distillation import SoftLabels, check_pair, comparison, comparison_table, prepare
from ner.training.experiment import Experiment
from ner.training.new_model import new_model
from ner.training.objectives import Objective, build_objective
from ner.training.optim import build_optimizer, parameter_groups
from ner.training.params import Config, load_config
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
        "--data_dir", type=Path, default=Path("data/msra"), help="a set made by build_dataset.py"
    )
    parser.add_argument("--bert_model_dir", type=Path, help="published weights; its config decides the sizes")
    parser.add_argument(
        "--model_dir", type=Path, default=Path("experiments/base_model"), help="holds params.json"
    )
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, default=2019)
    seeds.add_argument(
        "--seeds", type=int, nargs="+", metavar="N", help="an experiment each, in <model_dir>/seed-N"
    )
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
    devices.add_device_arguments(parser)
    args = parser.parse_args(argv)
    if args.unlabelled and not args.teacher:
        parser.error("--unlabelled: expected --teacher with it")
    args.argv = sys.argv[1:] if argv is None else argv
    args.params = args.model_dir / "params.json"
    args.soft_labels_dir = args.model_dir  # where a teacher's answers are kept
    return args


def main(args: argparse.Namespace, after_epoch: Callable[[], None] | None = None) -> None:
    with distributed.process_group(), contextlib.ExitStack() as held:
        if args.seeds:
            return run_series(args)
        with distributed.synchronised():
            machine = devices.choose_machine(args)
            device, precision = distributed.local_device(machine.device), machine.precision
            config = load_config(args.params, args.set)
            ways = ways_of_running(args, precision)
            objective = build_objective(asdict(config), ways=ways, where=str(args.params))
            if distributed.is_first():
                held.enter_context(only_trainer(args.model_dir))
            check_directory(args.model_dir, overwrite=args.overwrite, restore=args.restore_file)
            experiment, soft_labels = begin(args, config, objective, device, precision)
        experiment.after_epoch = after_epoch
        if distributed.world_size() > 1:
            share(args, experiment)
        experiment.run()
        if soft_labels and distributed.is_first():
            compare(args, soft_labels.teacher)


def begin(
    args: argparse.Namespace, config: Config, objective: Objective, device: torch.device, precision: str
) -> tuple[Experiment, SoftLabels | None]:
    """Builds the experiment, from its start or from a checkpoint, and what there is from a teacher."""
    checkpoint, damages = None, []
    if args.restore_file:
        checkpoint, damages = distributed.from_first(
            lambda: find_checkpoint(args.model_dir, args.restore_file)
        )
    train, val = read_annotated(args.data_dir, "train"), read_annotated(args.data_dir, "val")
    seeds.set_seed(args.seed)
    model, examples, report = new_model(
        config,
        train,
        data_dir=args.data_dir,
        bert_model_dir=args.bert_model_dir,
        checkpoint=checkpoint,
        where=str(args.params),
    )
    model.tagger.precision = precision
    model.tagger.to(device)
    soft_labels = None
    if args.teacher:
        soft_labels = distributed.first_then_others(lambda: ask_teacher(args, config, model, examples))
        examples, report = soft_labels.examples, [*report, soft_labels.log_line]
    windows = Windows(config.max_len, long_text=config.long_text)
    budget = config.batch_tokens or token_budget(examples, windows, config.batch_size)
    model.tagger.max_cells = max(budget, config.max_len)
    learnable = model.tagger.head.learnable
    loading = {
        "windows": windows,
        "batch_tokens": budget,
        "label_ids": model.label_ids,
        "learnable": learnable,
    }
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
        objective=objective,
        optimizer=build_optimizer(groups),
        scaler=build_scaler(device, precision, args.loss_scale),
        train=Batches(examples, seed=args.seed, soft=soft_labels and soft_labels.soft, **loading),
        val=Batches(encode(val.sentences, model.tokenizer), **loading),
        device=device,
        fixed_scale=args.loss_scale,
        replicas=replicate(model.tagger, report) if args.multi_gpu else None,
        show_progress=sys.stderr.isatty() and distributed.is_first(),
    )
    resolved = resolve(args, config, experiment, precision, soft_labels)
    # only now, where all that a user may have got wrong has been seen, is anything removed or written
    if checkpoint:
        check_unchanged(args.model_dir, resolved)
    distributed.barrier()
    if checkpoint:
        report += [*damages, experiment.restore(checkpoint)]
    elif distributed.is_first():
        clear_directory(args.model_dir)
        series.copy_params(args.params, args.model_dir)
        write_resolved(args.model_dir, resolved)
    if distributed.is_first():
        logs.start_log(args.model_dir / "train.log")
    report += missed_gold(model.tagger.head, val)
    report += unread_gold(experiment.train, "train") + unread_gold(experiment.val, "val")
    for line in (resolved["command"], *illegal_gold(args.data_dir, train, val), *report):
        log.info(line)
    log.info(
        f"{len(train.sentences)} + {len(val.sentences)} sentences, {resolved['n_parameters']} parameters, "
        f"{experiment.steps_an_epoch} steps an epoch of {budget} pieces each, {precision} on {device}"
        f"{distributed.describe_processes()}"
    )
    return experiment, soft_labels


def share(args: argparse.Namespace, experiment: Experiment) -> None:
    """Makes this process one of several that train, with random numbers of its own."""
    some_unused = experiment.config.unfreeze_every > 0
    experiment.replicas = distributed.wrap(experiment.model.tagger, some_unused=some_unused)
    distributed.seed_others(args.seed, experiment.progress.step)


def run_series(args: argparse.Namespace) -> None:
    """An ordinary experiment for each of `--seeds`, one after another; all are checked before one begins."""
    with distributed.synchronised():
        config = load_config(args.params, args.set)
        how = {"restore": args.restore_file, "overwrite": args.overwrite}
        runs = series.plan(args.params, args.seeds, config, **how)
    for one in runs:
        main(argparse.Namespace(**{**vars(args), **one, "seeds": None}))
    if not distributed.is_first():
        return
    logs.start_log()
    log.info(series.summary([one["model_dir"] for one in runs]))


def read_annotated(data_dir: Path, split: str) -> sentence.Split:
    """A split that training can use."""
    read = folder.read_split(data_dir, split)
    if not read.annotated:
        raise DataError(f"{data_dir / split}: no {' or '.join(folder.GOLD)}, expected an annotated split")
    return read


def illegal_gold(data_dir: Path, train: sentence.Split, val: sentence.Split) -> list[str]:
    """What is to be said of tags that begin no entity legally."""
    return [
        f"{data_dir / name / 'tags.txt'}:{read.illegal[0][0]}: tag {read.illegal[0][1] + 1} begins no entity "
        f"legally; {len(read.illegal)} such tags are read as entity starts"
        for name, read in (("train", train), ("val", val))
        if read.illegal
    ]


def ask_teacher(args: argparse.Namespace, config: Config, model: Model, examples: Examples) -> SoftLabels:
    """What the teacher says of train and of the unlabelled text, asked once for a whole series or search."""
    teacher = load(resolve_model_dir(args.teacher))
    teacher.tagger.to(model.tagger.device).precision = model.tagger.precision
    lines = (line for _, line in files.read_compressed_lines(args.unlabelled)) if args.unlabelled else ()
    temperature = config.distillation_temperature
    try:
        check_pair(teacher, model)
    except ValueError as error:
        raise DataError(f"--teacher {args.teacher}: {error}") from None
    return prepare(teacher, model, examples, lines, directory=args.soft_labels_dir, temperature=temperature)


def compare(args: argparse.Namespace, teacher: Model) -> None:
    """Says what the student is beside its teacher, in the log and in distillation.json."""
    val = read_annotated(args.data_dir, "val")
    student, tagger = load(args.model_dir / "best"), teacher.tagger
    student.tagger.to(tagger.device).precision = tagger.precision
    rows = comparison({"teacher": teacher, "student": student}, val.sentences)
    log.info(f"\n{comparison_table(rows)}")
    with files.whole_file(args.model_dir / "distillation.json") as file:
        file.write(to_json(rows))


def ways_of_running(args: argparse.Namespace, precision: str) -> list[str]:
    """The options that not every objective supports.  DataError if two of them exclude each other."""
    if args.multi_gpu and distributed.world_size() > 1:
        raise DataError("--multi_gpu: got torchrun as well, expected one of them")
    asked = {
        "--multi_gpu": args.multi_gpu,
        "torchrun": distributed.world_size() > 1,
        "--fp16": precision == "fp16",
        "--teacher": args.teacher,
    }
    return [way for way, is_asked in asked.items() if is_asked]


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


def resolve(
    args: argparse.Namespace,
    config: Config,
    experiment: Experiment,
    precision: str,
    soft_labels: SoftLabels | None,
) -> dict:
    """What goes into resolved.json; `weights` are the published ones of the encoder, before training."""
    model = experiment.model
    published = args.bert_model_dir is not None
    weights = tensors.sha256_of_tensors(model.tagger.encoder.state_dict()) if published else None
    return {
        "params": asdict(config),
        "data": {
            "labels": list(model.tag_set.labels),
            "unit": model.unit,
            **data_hashes(args.data_dir),
        },
        "seed": args.seed,
        "precision": precision,
        "loss_scale": args.loss_scale,
        "world_size": distributed.world_size(),
        "encoder": asdict(model.tagger.encoder.config) | {"vocab_size": len(model.tokenizer)},
        "weights": weights,
        "tokenizer": model.tokenizer.sha256,
        "n_parameters": sum(p.numel() for p in model.tagger.parameters() if p.requires_grad),
        "batch_tokens": experiment.train.batch_tokens,
        "steps_an_epoch": experiment.steps_an_epoch,
        "command": shlex.join(["train.py", *args.argv]),
        "environment": devices.environment(),
        "teacher": soft_labels and soft_labels.fingerprint,
    }


def data_hashes(data_dir: Path) -> dict[str, str]:
    """The files that a run is trained and chosen on -> SHA-256."""
    names = [f"{split}/{name}" for split in ("train", "val") for name in ("sentences.txt", *folder.GOLD)]
    return {name: files.sha256(data_dir / name) for name in names if (data_dir / name).exists()}


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
