"""Published checkpoints: their configs, and the names of their tensors."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ner.config import from_mapping
from ner.encoders import ENCODERS
from ner.encoders.base import Encoder, EncoderConfig
from ner.errors import DataError
from ner.files import read_json

CONFIG_NAMES = ("config.json", "bert_config.json")
# Buffers that older versions of transformers wrote next to the weights; they only count 0, 1, 2.
COUNTING_BUFFERS = {"embeddings.position_ids", "embeddings.token_type_ids"}
SEGMENT_WEIGHT = "embeddings.token_type_embeddings.weight"
TASK_WEIGHT = "embeddings.task_type_embeddings.weight"
VOCABULARY_WEIGHT = "embeddings.word_embeddings.weight"
# tensors of training tasks and of losses, which a tagger may lack; the first parts of their names
KNOWN_UNUSED = {"pooler", "cls", "predictions", "sop_classifier", "seq_relationship", "position_ids", "loss"}
KNOWN_UNUSED |= {"discriminator_predictions", "generator_predictions", "generator_lm_head", "loss_fct"}
KNOWN_UNUSED |= {"vocab_transform", "vocab_layer_norm", "vocab_projector", "criterion"}
WRAPPERS = ("module", "_orig_mod")  # of DataParallel and torch.compile, parts of the names of tensors
MAX_NAMES = 4  # names of tensors in an error


class LoadReport(NamedTuple):
    """Which tensors of a file were loaded."""

    loaded: list[str]
    unused: list[str]

    def sentences(self, source: str | Path) -> list[str]:
        """Lines for the log; `source` is where the tensors came from."""
        return [f"{len(self.loaded)} tensors loaded from {source}", *self.notes]

    @property
    def notes(self) -> list[str]:
        """The line about what was not used, if there is anything."""
        return [f"not used: {grouped(self.unused)}"] if self.unused else []


def grouped(names: Iterable[str]) -> str:
    """Counts names by their first two parts: `cls.predictions (5), pooler.dense (2)`."""
    parts = (name.split(".") for name in names)
    counts = Counter(".".join(p[: max(1, min(2, len(p) - 1))]) for p in parts)
    return ", ".join(f"{stem} ({count})" for stem, count in counts.items())


def read_config(model_dir: str | Path) -> dict[str, Any]:
    """The values of a model directory's config file."""
    path = config_path(model_dir)
    if not path.is_file():
        if not Path(model_dir).is_dir():
            raise DataError(f"{model_dir}: no such directory; models are not downloaded by name")
        raise DataError(f"{model_dir}: no config, expected one of {', '.join(CONFIG_NAMES)}")
    return read_json(path)


def config_path(model_dir: str | Path) -> Path:
    """The config file of a model directory; if there is no such file, the path that it should have."""
    paths = [Path(model_dir) / name for name in CONFIG_NAMES]
    return next((path for path in paths if path.is_file()), paths[0])


def find_encoder(values: Mapping[str, Any], where: str | Path) -> tuple[type[Encoder], EncoderConfig]:
    """The encoder that a config file describes by `model_type` (default "bert"), and its options.

    DataError, beginning with `where`: an unknown architecture, a value that its options do not allow.
    """
    kinds = {name: kind for key, kind in ENCODERS.items() for name in kind.published_as or (key,)}
    model_type = values.get("model_type", "bert")
    if model_type not in list(kinds):
        raise DataError(f"{where}: model_type: got {model_type!r}, expected one of {', '.join(kinds)}")
    positions = values.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise DataError(f"{where}: position_embedding_type: got {positions!r}, expected 'absolute'")
    if values.get("is_decoder"):
        raise DataError(f"{where}: is_decoder: got true, expected false: an encoder")
    kind = kinds[model_type]
    own = {field.name: values[field.name] for field in fields(kind.Config) if field.name in values}
    return kind, from_mapping(kind.Config, own, str(where))


def unwrapped_names(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors without the parts of their names that wrappers added, and a line that says so.

    DataError if two tensors get the same name.
    """
    renamed: dict[str, Tensor] = {}
    for old, tensor in weights.items():
        name = ".".join(part for part in old.split(".") if part not in WRAPPERS)
        if name in renamed:
            raise DataError(f"weights: got {name} twice (again as {old}), expected it once")
        renamed[name] = tensor
    parts = {part for name in weights if name not in renamed for part in name.split(".")}
    taken = [f"`{part}.`" for part in WRAPPERS if part in parts]
    return renamed, [f"taken off the names of tensors: {', '.join(taken)}"] if taken else []


def unknown_parts(unused: Iterable[str], targets: Iterable[str]) -> list[str]:
    """Unused tensors that are neither of a known training task nor layers beyond those of the config."""
    numberless = {re.sub(r"\.\d+(?=\.)", "", name) for name in targets}
    names = [name for name in unused if name.partition(".")[0] not in KNOWN_UNUSED and name != TASK_WEIGHT]
    return [name for name in names if re.sub(r"\.\d+(?=\.)", "", name) not in numberless]


def published_names(
    weights: Mapping[str, Tensor], prefixes: Sequence[str] = ("bert.", "ernie."), *, use_task_id: bool = True
) -> dict[str, Tensor]:
    """Renames the tensors of a file as `Encoder.published_tensors` names them.

    With `use_task_id`, the config's key, it also adds ERNIE 3's vector of task 0 to the segment vectors:
    ERNIE 3 adds both to every piece, so the sum is the same.
    DataError if two tensors get the same name.
    """
    renamed: dict[str, Tensor] = {}
    for old, tensor in weights.items():
        name = old.removeprefix(next((prefix for prefix in prefixes if old.startswith(prefix)), ""))
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        if name in renamed:
            raise DataError(f"weights: got {name} twice (again as {old}), expected it once")
        renamed[name] = tensor
    if use_task_id and TASK_WEIGHT in renamed and SEGMENT_WEIGHT in renamed:
        task, segment = renamed.pop(TASK_WEIGHT), renamed[SEGMENT_WEIGHT]
        if task.dim() != 2 or segment.dim() != 2 or task.shape[1:] != segment.shape[1:]:
            expected = f"the width of {SEGMENT_WEIGHT}, {tuple(segment.shape)}"
            raise DataError(f"weights: {TASK_WEIGHT}: got {tuple(task.shape)}, expected {expected}")
        renamed[SEGMENT_WEIGHT] = segment.float() + task[0].float()
    return renamed


def load_tensors(
    targets: Mapping[str, Tensor], weights: Mapping[str, Tensor], *, where: str | Path = "weights"
) -> LoadReport:
    """Copies into every target the weight of the same name, in the target's dtype; an error copies nothing.

    targets  name -> tensor, as from `Encoder.published_tensors` or `state_dict`
    weights  name -> tensor of the target's shape, any float dtype
    DataError, beginning with `where`, if a weight is missing or has another shape.
    """
    missing = [name for name in targets if name not in weights]
    if missing:
        others = _some([name for name in weights if name not in targets])
        others = f"; the file has {others}" if others else ""
        n_missing = f"{len(missing)} of {len(targets)} tensors are missing"
        raise DataError(f"{where}: {n_missing}: {_some(missing)}{others}")
    for name, target in targets.items():
        check_fits(name, weights[name], target, where)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(weights[name])
    unused = [name for name in weights if name not in targets and name not in COUNTING_BUFFERS]
    return LoadReport(loaded=list(targets), unused=unused)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")


def check_fits(name: str, tensor: Tensor, target: Tensor, where: str | Path) -> None:
    """DataError if a tensor of a file cannot be copied into `target`."""
    got, expected = tuple(tensor.shape), tuple(target.shape)
    if name == VOCABULARY_WEIGHT and got[1:] == expected[1:] and got != expected:
        sizes = f"the vocabulary has {expected[0]} pieces and the embedding {got[0]} rows"
        raise DataError(f"{where}: {sizes}: they do not belong together")
    if got != expected:
        raise DataError(f"{where}: {name}: got shape {got}, expected {expected}")
    if tensor.is_floating_point() != target.is_floating_point():
        raise DataError(f"{where}: {name}: got {tensor.dtype}, expected {target.dtype}")
