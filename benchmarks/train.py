"""Speed of training: real tokens a second of the engine and of its rivals, on the same sentences.

    python -m benchmarks.train --data_dir data/msra --threads 2 --out train.json

Each arm makes the batches of a whole epoch of train in its own way; `--batches` of them, evenly spaced in
length, are trained on. One more before them is not timed (the optimiser asks for its memory there), nor is a
first pass over all of them (new shapes are slow once). All arms have the same weights, mean sentences a
batch, window, threads, dropout and fused AdamW, and no step is logged or saved. The rivals:

ancestor                 lemonhu/NER-BERT-pytorch: fp32, shuffled batches padded to their longest sentence.
                         As there, Adam and not AdamW, and `loss.item()` in each step. It had no [CLS] and
                         [SEP]; they are added, so that its loss can be compared.
HF Trainer bf16          its defaults but for bf16 and silence: shuffled batches, padded to the longest
HF Trainer bf16 grouped  the same over the order that its group_by_length gives (LengthGroupedSampler)

Sentences longer than the window are cut off there and read in several windows here; a token counts once,
and only where it is trained on. Padding, [CLS] and [SEP] do not count.
The check: the loss and the norm of its gradient over the same 32 sentences, dropout off, before training,
each arm in its own precision, against transformers in fp32.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks import inputs, report
from benchmarks.steps import CLIP, DECAY, RATE, Chosen, our_steps, some_batches
from benchmarks.timing import Arm, Measured, ceiling, clock, evenly_spaced, forward_flop, interleave
from ner.data.batch import Batch
from ner.data.batches import token_budget
from ner.data.examples import Examples, encode
from ner.data.windows import Windows
from ner.model.directory import Model
from ner.runtime import devices, program
from ner.tags import spans_to_tags

IGNORED = -100  # transformers' label of what is not trained on
OURS, EXACT = "this code, bf16", "this code, fp32"
ANCESTOR, TRAINER = "the ancestor's way", "HF Trainer bf16"
GROUPED = f"{TRAINER} + group_by_length"
Losses = dict[str, tuple[float, float]]  # by arm: loss, nats a token, and the norm of its gradient


class Trained(NamedTuple):
    """What an arm went through in the timed batches."""

    n_tokens: int
    n_fed: int
    "pieces that the encoder was given, [CLS], [SEP] and padding included"
    lengths: list[int]
    "pieces of each row, [CLS] and [SEP] included"


def parse_args(argv=None) -> argparse.Namespace:
    parser = inputs.argument_parser(__doc__, sizes=["tiny"], batches=2, batch_size=8)
    inputs.add_sizes(parser)
    parser.add_argument("--batches", type=int, default=8, help="timed in each pass of every arm (default: 8)")
    parser.add_argument("--batch_size", type=int, default=32, help="sentences a batch; here in the mean")
    parser.add_argument("--max_len", type=int, default=180, help="pieces a window (default: the ancestor's)")
    return inputs.parse(parser, argv)


def main(args: argparse.Namespace) -> None:
    device = inputs.start(args)
    before = report.machine()
    rivals = inputs.has_rivals("transformers", "accelerate")
    sentences = inputs.read(args, "train")
    with tempfile.TemporaryDirectory() as folder:
        tables = [
            compare(args, size, sentences, Path(folder) / size, device, rivals=rivals) for size in args.sizes
        ]
    report.finish(args, before, tables)


def compare(args, size: str, sentences: list, model_dir: Path, device: torch.device, *, rivals: bool) -> dict:
    """The table of one size."""
    sizes = inputs.SIZES[size]
    model = inputs.write_model(model_dir, sizes, args, sentences)
    examples = encode(sentences, model.tokenizer)
    windows = Windows(args.max_len)
    budget = token_budget(examples, windows, args.batch_size)
    loader = some_batches(examples, model, windows, batch_tokens=budget, n=args.batches, seed=args.seed)
    # sentences that are one window and lose nothing
    same = evenly_spaced(np.flatnonzero(examples.n_pieces <= args.max_len - 2), int, 32)
    arms: dict[str, Arm] = {"ceiling": ceiling(sizes, budget, device)}
    losses: Losses = {}
    if rivals:
        features = hf_features(examples, model, args.max_len)
        arms |= hf_arms(args, model_dir, features, device)
        losses |= hf_losses(model_dir, hf_collator(model_dir)([features[i] for i in same]), device)
    arms[OURS] = our_arm(model_dir, loader, device)
    losses |= our_losses(model_dir, loader.collate(same), device)
    measured = interleave(arms, rounds=args.rounds)
    peak = arms["ceiling"].flop / measured.pop("ceiling").median
    print(f"{size}: loss and gradient of this code in fp32 against HF fp32: {difference(losses, EXACT)}\n")
    said = {name: {"loss": loss, "gradient_norm": norm} for name, (loss, norm) in losses.items()}
    return {
        "title": f"training, {inputs.size_name(size)}",
        "rows": rows_of(measured, losses, sizes, peak),
        "ceiling_flop_per_second": peak,
        "losses": said,
        "trained": {name: m.result._asdict() for name, m in measured.items()},
        "seconds": report.seconds(measured),
    }


def rows_of(measured: dict[str, Measured], losses: Losses, sizes: dict, peak: float) -> list[dict]:
    """What is shown of each arm."""
    speed = {name: m.result.n_tokens / m.median for name, m in measured.items()}
    rows = []
    for name, m in measured.items():
        flop = 3 * forward_flop(sizes, [(1, n) for n in m.result.lengths])
        rows.append(
            {
                "training": name,
                "tokens/s": f"{speed[name]:,.0f}",
                "real/fed": f"{m.result.n_tokens / m.result.n_fed:.2f}",
                "real products, of the bf16 ceiling": report.percent(flop / m.median / peak),
                "this code is faster by": report.times(speed[OURS] / speed[name]),
                "loss, gradient against HF fp32": difference(losses, name),
            }
        )
    return rows


def difference(losses: Losses, name: str) -> str:
    """Relative, of the loss and of the norm of its gradient."""
    if ANCESTOR not in losses:
        return "not compared"
    return ", ".join(
        f"{abs(a - b) / abs(b):.0e}" for a, b in zip(losses[name], losses[ANCESTOR], strict=True)
    )


# this code


def our_arm(model_dir: Path, loader: Chosen, device: torch.device) -> Arm:
    batches = [loader.collate(batch) for batch in loader.chosen[1:]]
    trained = Trained(
        n_tokens=sum(batch.n_tokens for batch in batches),
        n_fed=sum(batch.piece_ids.numel() for batch in batches),
        lengths=[n for batch in batches for n in batch.piece_mask.sum(-1).flatten().tolist()],
    )
    return lambda: (our_steps(inputs.open_model(model_dir, device, "bf16").tagger, loader), trained)


def our_losses(model_dir: Path, batch: Batch, device: torch.device) -> Losses:
    batch = batch.to(device)
    losses = {}
    for name, precision in ((EXACT, "fp32"), (OURS, "bf16")):
        tagger = inputs.open_model(model_dir, device, precision).tagger.eval()
        loss = tagger(batch)[1].sum() / batch.n_tokens
        loss.backward()
        losses[name] = loss.item(), gradient_norm(tagger)
    return losses


def gradient_norm(model: nn.Module) -> float:
    return nn.utils.get_total_norm(p.grad for p in model.parameters() if p.grad is not None).item()


# the rivals


def hf_features(examples: Examples, model: Model, max_len: int) -> list[dict]:
    """What transformers' collator wants of each sentence; our pieces, the first of a token labelled."""
    cls_id, sep_id, _ = examples.specials
    features = []
    for i, sentence in enumerate(examples.sentences):
        pieces = examples.pieces[examples.piece_ends[i] : examples.piece_ends[i + 1]].tolist()
        labels = [IGNORED] * len(pieces)
        starts = examples.token_starts[examples.token_ends[i] : examples.token_ends[i + 1]]
        for start, tag in zip(starts, spans_to_tags(sentence.spans, len(starts)), strict=True):
            labels[start] = model.tag_set.index[tag]
        room = max_len - 2
        ids = [cls_id, *pieces[:room], sep_id]
        features.append(
            {
                "input_ids": ids,
                "attention_mask": [1] * len(ids),
                "labels": [IGNORED, *labels[:room], IGNORED],
            }
        )
    return features


def hf_arms(args, model_dir: Path, features: list[dict], device: torch.device) -> dict[str, Arm]:
    collate = hf_collator(model_dir)
    lengths = [len(feature["input_ids"]) for feature in features]
    order = np.random.default_rng(args.seed).permutation(len(features)).tolist()
    arms = {}
    for name, train, of_epoch in (
        (ANCESTOR, ancestor, order),
        (TRAINER, trainer, order),
        (GROUPED, trainer, grouped_order(lengths, args)),
    ):
        whole = len(of_epoch) // args.batch_size * args.batch_size or len(of_epoch)
        batches = [of_epoch[i : i + args.batch_size] for i in range(0, whole, args.batch_size)]
        chosen = evenly_spaced(batches, lambda batch: max(lengths[i] for i in batch), args.batches)
        arms[name] = hf_arm(train, args, model_dir, features, chosen, collate, device)
    return arms


def hf_collator(model_dir: Path) -> Callable[[list[dict]], dict[str, torch.Tensor]]:
    from transformers import AutoTokenizer, DataCollatorForTokenClassification

    return DataCollatorForTokenClassification(AutoTokenizer.from_pretrained(model_dir))


def grouped_order(lengths: Sequence[int], args) -> list[int]:
    """An epoch as `group_by_length` orders it."""
    from transformers.trainer_pt_utils import LengthGroupedSampler

    generator = torch.Generator().manual_seed(args.seed)
    return list(LengthGroupedSampler(args.batch_size, lengths=list(lengths), generator=generator))


def hf_arm(train: Callable, args, model_dir: Path, features, chosen, collate, device: torch.device) -> Arm:
    timed_batches = [[features[i] for i in batch] for batch in chosen]
    tensors = [collate(batch) for batch in timed_batches]
    trained = Trained(
        n_tokens=sum(int((batch["labels"] != IGNORED).sum()) for batch in tensors),
        n_fed=sum(batch["input_ids"].numel() for batch in tensors),
        lengths=[len(feature["input_ids"]) for batch in timed_batches for feature in batch],
    )
    batches = [timed_batches[len(timed_batches) // 2], *timed_batches]
    return lambda: (train(hf_model(model_dir, device).train(), batches, collate, device), trained)


def hf_model(model_dir: Path, device: torch.device) -> nn.Module:
    from transformers import AutoModelForTokenClassification

    return AutoModelForTokenClassification.from_pretrained(model_dir).to(device)


def ancestor(model: nn.Module, batches, collate, device: torch.device) -> float:
    """Seconds of the ancestor's loop; the first batch is not timed."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    ends = []
    for batch in batches:
        tensors = {name: tensor.to(device) for name, tensor in collate(batch).items()}
        loss = model(**tensors).loss
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        loss.item()
        ends.append(clock())
    return ends[-1] - ends[0]


def trainer(model: nn.Module, batches, collate, device: torch.device) -> float:
    """Seconds of transformers' Trainer over the batches as they come; the first is not timed."""
    from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

    class Clock(TrainerCallback):
        ends: list[float]

        def on_step_end(self, *_, **__) -> None:
            self.ends.append(clock())

    watch = Clock()
    watch.ends = []
    with tempfile.TemporaryDirectory() as folder:
        options = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=len(batches[0]),
            num_train_epochs=1,
            train_sampling_strategy="sequential",
            bf16=True,
            use_cpu=device.type == "cpu",
            optim="adamw_torch_fused",
            learning_rate=RATE,
            weight_decay=DECAY,
            max_grad_norm=CLIP,
            lr_scheduler_type="constant",
            dataloader_pin_memory=device.type == "cuda",
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        data = [feature for batch in batches for feature in batch]
        runner = Trainer(model, options, data_collator=collate, train_dataset=data, callbacks=[watch])
        runner.remove_callback(PrinterCallback)  # the table alone goes to standard output
        runner.train()
    return watch.ends[-1] - watch.ends[0]


def hf_losses(model_dir: Path, batch: dict[str, torch.Tensor], device: torch.device) -> Losses:
    batch = {name: tensor.to(device) for name, tensor in batch.items()}
    losses = {}
    for name, precision in ((ANCESTOR, "fp32"), (TRAINER, "bf16")):
        model = hf_model(model_dir, device).eval()
        with devices.autocast(device.type, precision):
            loss = model(**batch).loss
        loss.backward()
        losses[name] = loss.item(), gradient_norm(model)
    return losses | {GROUPED: losses[TRAINER]}


if __name__ == "__main__":
    sys.exit(program.run(main, parse_args))
