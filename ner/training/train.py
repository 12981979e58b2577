"""Fine-tuning from its settings to the finished model: what train.py, a series and a search call."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from ner import files, tensors
from ner.annotations import ANNOTATIONS
from ner.config import load_options, to_json
from ner.data import folder
from ner.data.batches import Batches, token_budget
from ner.data.findings import LONG, SHORTER
from ner.data.sentence import Split
from ner.data.windows import Examples
from ner.data.wording import align_columns, count_noun
from ner.errors import DataError
from ner.heads import HEADS
from ner.model.directory import load, resolve_model_dir
from ner.model.tagger import Model, Tagger, n_layers_of
from ner.runtime import devices, distributed, logs
from ner.runtime.logs import log
from ner.scoring.evaluate import annotated_batches, evaluate, log_missed_gold, log_unread_gold
from ner.training.distillation import SoftLabels, check_pair, prepare
from ner.training.extension import plan_extension, record_extension
from ner.training.fine_tuning import FineTuning
from ner.training.new_model import Settings, new_model
from ner.training.objectives import Objective, build_objective
from ner.training.optim import WeightAverage, build_optimizer, parameter_groups
from ner.training.params import Config
from ner.training.run import begin, checkpoint_of, lock_directory, run, share_model
from ner.training.step import Update


def train(settings: Settings, after_epoch: Callable[[], None] = lambda: None) -> Path:
    """Fine-tunes a model; returns the directory of the best one.

    `after_epoch` is called when an epoch is saved; an exception from it ends the run.  DataError if the
    settings or the data do not allow the run, before any file is written; Stopped after a signal.
    """
    with contextlib.ExitStack() as locks:
        with distributed.synchronised():
            logs.start_log(quiet=True)
            log.info(settings.command)
            config = load_options(Config, settings.params, settings.overrides)
            objective = choose_objective(settings, config)
            lock_directory(settings, locks)
            task, soft_labels = build_task(settings, config, objective)
        share_model(task, task.model.tagger, seed=settings.seed, some_unused=config.unfreeze_every > 0)
        run(task, after_epoch)
        if soft_labels and distributed.is_first():
            compare(settings, soft_labels.teacher)
    return settings.directory / "best"


def build_task(
    settings: Settings, config: Config, objective: Objective
) -> tuple[FineTuning, SoftLabels | None]:
    """Builds the run and its directory, new or from a checkpoint, and asks the teacher if there is one."""
    checkpoint, extension = checkpoint_of(settings), None
    if checkpoint:
        extension = plan_extension(settings.directory, config, extend=settings.extend)
    annotations = HEADS[config.head_name].annotations
    train, val = (read_annotated(settings.data_dir, name, annotations) for name in ("train", "val"))
    devices.set_seed(settings.seed)
    model, examples = new_model(settings, config, train, checkpoint)
    tagger, soft_labels = model.tagger, None
    tagger.place(settings.device, precision=settings.precision)
    if settings.teacher:
        soft_labels = distributed.first_then_others(lambda: ask_teacher(settings, config, model, examples))
        examples = soft_labels.examples
    budget = config.batch_tokens or token_budget(examples, model.windows, config.batch_size)
    tagger.max_cells = max(budget, config.max_len)
    task = FineTuning(
        directory=settings.directory,
        config=config,
        model=model,
        objective=objective,
        schedule_epochs=extension.schedule_epochs if extension else config.epoch_num,
        average=WeightAverage(tagger, config.ema) if config.ema else None,
        update=build_update(settings, config, tagger),
        train=Batches(
            examples,
            windows=model.windows,
            batch_tokens=budget,
            targets=tagger.head,
            seed=settings.seed,
            soft_tags=soft_labels and soft_labels.soft,
        ),
        val=annotated_batches(model, val.sentences, batch_tokens=budget),
        device=settings.device,
        replicas=replicate(tagger) if settings.multi_gpu else None,
    )
    resolved = resolve(settings, task, soft_labels)
    if extension:
        resolved["params"]["epoch_num"] = extension.epoch_num
    begin(task, resolved, checkpoint=checkpoint, params=settings.params)
    if extension and extension.note and distributed.is_first():
        record_extension(settings.directory, extension, config)
    log_missed_gold(tagger.head, val.sentences)
    log_unread_gold(task.train, "train")
    log_unread_gold(task.val, "val")
    log.info(
        f"{len(train.sentences)} + {len(val.sentences)} sentences, {resolved['n_parameters']} parameters, "
        f"{task.steps_an_epoch} steps an epoch of {budget} pieces each, "
        f"{settings.precision} on {settings.device}{distributed.describe_processes()}"
    )
    log_long_sentences(task, settings.precision)
    return task, soft_labels


def log_long_sentences(task: FineTuning, precision: str) -> None:
    """Warns if the sentences of train are whole documents, of which a batch takes much memory.

    A transformer keeps 34 bytes for a piece, a layer and a number of its width, in 16 bits and without the
    attention weights (Korthikanti et al. 2022, https://arxiv.org/abs/2205.05198).
    """
    examples, budget, encoder = task.train.examples, task.train.batch_tokens, task.model.tagger.encoder
    if (length := examples.token_ends[-1] / len(examples)) <= LONG:
        return
    n_bytes = 34 * budget * n_layers_of(task.model.tagger) * encoder.width * (2 if precision == "fp32" else 1)
    log.info(
        f"{length:,.0f} tokens a sentence of train, as if whole documents: {budget:,} pieces a batch, "
        f"{count_noun(task.steps_an_epoch, 'step')} an epoch, about {n_bytes / 1e9:,.1f} GB while a "
        f"transformer learns; {SHORTER}"
    )


def build_update(settings: Settings, config: Config, tagger: Tagger) -> Update:
    head_rate = config.head_learning_rate or config.learning_rate
    groups = parameter_groups(
        tagger,
        learning_rate=config.learning_rate,
        head_learning_rate=head_rate,
        transitions=tagger.head.transition_parameters(),
        transition_learning_rate=config.transition_learning_rate or head_rate,
        layer_decay=config.layer_decay or 1.0,
        weight_decay=config.weight_decay,
    )
    scaler = build_scaler(settings.device, settings.precision, settings.loss_scale)
    return Update(build_optimizer(groups), scaler, config.clip_grad, settings.loss_scale)


def build_scaler(device: torch.device, precision: str, loss_scale: float) -> torch.amp.GradScaler:
    """Loss scaling for fp16, dynamic from 2^16 or fixed; a scaler for another precision does nothing."""
    enabled = precision == "fp16"
    if not 0 <= loss_scale < math.inf or (loss_scale and not enabled):
        raise DataError(f"--loss_scale {loss_scale:g}: expected 0 or more, together with --fp16")
    return torch.amp.GradScaler(device.type, init_scale=loss_scale or 2.0**16, enabled=enabled)


def replicate(tagger: Tagger) -> nn.Module | None:
    """DataParallel over the visible GPUs; None for fewer than two."""
    n_gpus = torch.cuda.device_count()
    if n_gpus > 1:
        log.info(f"--multi_gpu: {n_gpus} GPUs")
        return nn.DataParallel(tagger)
    log.info(f"--multi_gpu has no effect with {n_gpus} GPUs")
    return None


def choose_objective(settings: Settings, config: Config) -> Objective:
    """What the run minimises.  DataError if options of the command line do not go together or with it."""
    torchrun = distributed.world_size() > 1
    if settings.multi_gpu and torchrun:
        raise DataError("--multi_gpu: got torchrun as well, expected one of them")
    ways = {"--multi_gpu": settings.multi_gpu, "torchrun": torchrun, "--teacher": settings.teacher}
    ways |= {"--fp16": settings.precision == "fp16"}
    asked = [way for way, is_asked in ways.items() if is_asked]
    return build_objective(asdict(config), ways=asked, where=str(settings.params))


def read_annotated(data_dir: Path, name: str, annotations: Sequence[str]) -> Split:
    """Reads a split to train or score on; logs tags that illegally begin an entity."""
    split = folder.read_split(data_dir, name)
    folder.check_gold(split, data_dir / name, annotations)
    if split.illegal:
        line, token = split.illegal[0]
        log.info(
            f"{data_dir / name / 'tags.txt'}:{line}: tag {token + 1} begins no entity legally; "
            f"{len(split.illegal)} such tags are read as entity starts"
        )
    return split


def ask_teacher(settings: Settings, config: Config, model: Model, examples: Examples) -> SoftLabels:
    """The teacher's answers on train and on the unlabelled text, computed once for a series or a search."""
    teacher = load(resolve_model_dir(settings.teacher))
    teacher.tagger.place(model.tagger.device, precision=model.tagger.precision)
    path = settings.unlabelled
    lines = (line for _, line in files.read_compressed_lines(path)) if path else ()
    directory, temperature = settings.soft_labels_dir or settings.directory, config.distillation_temperature
    try:
        check_pair(teacher, model)
    except ValueError as error:
        raise DataError(f"--teacher {settings.teacher}: {error}") from None
    return prepare(teacher, model, examples, lines, directory=directory, temperature=temperature)


def compare(settings: Settings, teacher: Model) -> None:
    """Compares student and teacher on val, in the log and in distillation.json; megabytes in float32."""
    student = load(settings.directory / "best")
    val = read_annotated(settings.data_dir, "val", student.tagger.head.annotations)
    device = teacher.tagger.device
    student.tagger.place(device, precision=teacher.tagger.precision)
    n_tokens = sum(len(sentence.tokens) for sentence in val.sentences)
    budget, rows = devices.choose_batch_tokens(None, device), {}
    cells = [("model", "parameters", "MB", "tokens/s", "val F1")]
    for name, model in (("teacher", teacher), ("student", student)):
        batches = annotated_batches(model, val.sentences, batch_tokens=budget)
        started = time.perf_counter()
        f1 = evaluate(model, batches, device=device).main.headline
        speed = round(n_tokens / (time.perf_counter() - started))
        size = sum(parameter.numel() for parameter in model.tagger.parameters())
        figures = {"parameters": size, "megabytes": round(4 * size / 1e6, 1), "tokens_per_second": speed}
        rows[name] = figures | {"val_f1": f1}
        cells.append((name, *map(str, figures.values()), f"{100 * f1:.2f}"))
    log.info(f"\n{align_columns(cells)}")
    with files.whole_file(settings.directory / "distillation.json") as file:
        file.write(to_json(rows))


def resolve(settings: Settings, task: FineTuning, soft_labels: SoftLabels | None) -> dict:
    """The content of resolved.json; `weights` is the hash of the encoder's published weights."""
    model, head, hashes = task.model, task.model.tagger.head, data_hashes(settings.data_dir)
    kind = ANNOTATIONS[head.annotations[0]]
    labels = list(kind.labels(head.inventories[kind.name]))
    weights = settings.bert_model_dir and tensors.sha256_of_tensors(model.tagger.encoder.state_dict())
    return {
        "params": asdict(task.config),
        "data": {"labels": labels, "unit": model.unit, **hashes},
        "seed": settings.seed,
        "precision": settings.precision,
        "loss_scale": settings.loss_scale,
        "world_size": distributed.world_size(),
        "encoder": asdict(model.tagger.encoder.config) | {"vocab_size": len(model.tokenizer)},
        "weights": weights,
        "tokenizer": model.tokenizer.sha256,
        "headline": f"val_{kind.headline}",
        "n_parameters": sum(p.numel() for p in model.tagger.parameters() if p.requires_grad),
        "batch_tokens": task.train.batch_tokens,
        "steps_an_epoch": task.steps_an_epoch,
        "command": settings.command,
        "environment": devices.environment(),
        "teacher": soft_labels and soft_labels.fingerprint,
    }


def data_hashes(data_dir: Path) -> dict[str, str]:
    """SHA-256 of every file that a run is trained and chosen on."""
    names = ("sentences.txt", *folder.GOLD_FILES)
    paths = [data_dir / split / name for split in ("train", "val") for name in names]
    return {f"{path.parent.name}/{path.name}": files.sha256(path) for path in paths if path.exists()}
