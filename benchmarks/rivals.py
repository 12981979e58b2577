"""The rivals' models, and training loops around them as their users run them."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from benchmarks.steps import CLIP, DECAY, RATE
from benchmarks.timing import clock
from ner.runtime import devices


def hf_tokenizer(model_dir: Path) -> Callable:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_dir)


def hf_model(model_dir: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """transformers' token classifier of a model directory, in evaluation mode."""
    from transformers import AutoModelForTokenClassification

    return AutoModelForTokenClassification.from_pretrained(model_dir, dtype=dtype).to(device).eval()


def hf_collator(model_dir: Path) -> Callable[[list[dict]], dict[str, torch.Tensor]]:
    from transformers import DataCollatorForTokenClassification

    return DataCollatorForTokenClassification(hf_tokenizer(model_dir))


def plain_loop(model: nn.Module, batches: list[dict], device: torch.device) -> float:
    """Trains on batches of tensors in bf16.  Returns the seconds of all batches but the first."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    ends = []
    for batch in batches:
        optimizer.zero_grad(set_to_none=True)
        with devices.autocast(device.type, "bf16"):
            loss = model(**batch).loss
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        ends.append(clock())
    return ends[-1] - ends[0]


def ancestor(model: nn.Module, batches: list, collate: Callable, device: torch.device) -> float:
    """Trains like the ancestor, in fp32.  Returns the seconds of all batches but the first."""
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


def trainer(model: nn.Module, batches: list, collate: Callable, device: torch.device) -> float:
    """Trains with transformers' Trainer, batches in this order.  Returns the seconds of all but the first."""
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
        runner.remove_callback(PrinterCallback)  # only the table goes to standard output
        runner.train()
    return watch.ends[-1] - watch.ends[0]
