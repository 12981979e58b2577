"""Published checkpoints: their configs, and the names of their tensors."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ner.encoders.albert import Albert
from ner.encoders.bert import Bert, BertConfig
from ner.encoders.distilbert import DistilBert, DistilBertConfig
from ner.encoders.electra import Electra
from ner.files import read_json

CONFIG_NAMES = ("config.json", "bert_config.json")
# `model_type` of a published config; other encoders have no published weights
PUBLISHED: dict[str, type[Bert]] = {
    "bert": Bert,
    "ernie": Bert,
    "electra": Electra,
    "albert": Albert,
    "distilbert": DistilBert,
}
# Buffers that older versions of transformers wrote next to the weights; they only count 0, 1, 2.
COUNTING_BUFFERS = {"embeddings.position_ids", "embeddings.token_type_ids"}
SEGMENT_WEIGHT = "embeddings.token_type_embeddings.weight"
TASK_WEIGHT = "embeddings.task_type_embeddings.weight"
VOCABULARY_WEIGHT = "embeddings.word_embeddings.weight"
N_NAMED = 4


class LoadReport(NamedTuple):
    """What became of the tensors of a file and of a module."""

    loaded: list[str]
    "names filled from the file"
    new: list[str]
    "names of the module that the file lacks; `load_encoder` never leaves any, a head may"
    unused: list[str]
    "names of the file that the module lacks"

    def sentences(self, source: str = "") -> list[str]:
        """The report in plain words, a line each; `source` says where the tensors came from."""
        origin = f" from {source}" if source else ""
        lines = [f"{len(self.loaded)} tensors loaded{origin}"]
        if self.new:
            lines.append(f"new, random until trained: {grouped(self.new)}")
        if self.unused:
            lines.append(f"not used: {grouped(self.unused)}")
        return lines


def grouped(names: Iterable[str]) -> str:
    """`cls.predictions (5), pooler.dense (2)`: the beginnings of the names, counted."""
    counts: dict[str, int] = {}
    for name in names:
        parts = name.split(".")
        stem = ".".join(parts[: max(1, min(2, len(parts) - 1))])
        counts[stem] = counts.get(stem, 0) + 1
    return ", ".join(f"{stem} ({count})" for stem, count in counts.items())


def read_config(model_dir: str | Path) -> dict[str, Any]:
    """The published config of a model directory, as it stands in its JSON file."""
    path = config_path(model_dir)
    if not path.is_file():
        if not Path(model_dir).is_dir():
            raise ValueError(f"{model_dir}: no such directory; models are not downloaded by name")
        raise ValueError(f"{model_dir}: no config, expected one of {', '.join(CONFIG_NAMES)}")
    return read_json(path)


def config_path(model_dir: str | Path) -> Path:
    """The config file of a model directory; where it has none, the one it should have."""
    paths = [Path(model_dir) / name for name in CONFIG_NAMES]
    return next((path for path in paths if path.is_file()), paths[0])


def encoder_config(values: Mapping[str, Any], where: str | Path) -> BertConfig | DistilBertConfig:
    """What a published config says of the encoder, `PUBLISHED[model_type]`; other keys are ignored.

    ValueError, beginning with `where`: an architecture that is not in `PUBLISHED`, sizes that do not fit.
    """
    model_type = values.get("model_type", "bert")
    if model_type not in list(PUBLISHED):
        accepted = ", ".join(PUBLISHED)
        raise ValueError(f"{where}: model_type: got {model_type!r}, expected one of {accepted}")
    positions = values.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise ValueError(f"{where}: position_embedding_type: got {positions!r}, expected 'absolute'")
    if values.get("is_decoder"):
        raise ValueError(f"{where}: is_decoder: got true, expected false: an encoder")
    kind = PUBLISHED[model_type].Config
    known = {field.name: values[field.name] for field in fields(kind) if field.name in values}
    try:
        return kind(**known)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def published_names(
    weights: Mapping[str, Tensor],
    prefixes: tuple[str, ...] = ("bert.", "ernie."),
    *,
    use_task_id: bool = True,
) -> dict[str, Tensor]:
    """The same tensors under today's names, as `own_tensors` has them.

    Strips the prefix where there is one, calls LayerNorm's gamma and beta weight and bias, and
    folds the vector that ERNIE 3 adds to every piece (task 0) into the segment vectors: a sum
    either way. `use_task_id` is the key of that name in the config; false leaves them apart.
    ValueError: two tensors end up under one name.
    """
    renamed: dict[str, Tensor] = {}
    for old, tensor in weights.items():
        prefix = next((prefix for prefix in prefixes if old.startswith(prefix)), "")
        name = old.removeprefix(prefix)
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        if name in renamed:
            raise ValueError(f"weights: got {name} twice (again as {old}), expected it once")
        renamed[name] = tensor
    if use_task_id and TASK_WEIGHT in renamed and SEGMENT_WEIGHT in renamed:
        task = renamed.pop(TASK_WEIGHT)
        segment = renamed[SEGMENT_WEIGHT]
        if task.dim() != 2 or segment.dim() != 2 or task.shape[1:] != segment.shape[1:]:
            raise ValueError(
                f"weights: {TASK_WEIGHT}: got {tuple(task.shape)}, "
                f"expected the width of {SEGMENT_WEIGHT}, {tuple(segment.shape)}"
            )
        renamed[SEGMENT_WEIGHT] = segment.float() + task[0].float()
    return renamed


def own_tensors(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a module under the names that a file has for them, without a prefix."""
    published_name = getattr(module, "published_name", str)
    return {published_name(name): tensor for name, tensor in module.state_dict().items()}


def load_encoder(
    module: nn.Module, weights: Mapping[str, Tensor], *, where: str | Path = "weights"
) -> LoadReport:
    """Fills every tensor of the module, in the module's dtype, or raises and changes nothing.

    weights  name -> tensor of the module's shape, any float dtype, as from `published_names`
    ValueError, beginning with `where`: a tensor that is missing or has another shape.
    """
    targets = own_tensors(module)
    missing = [name for name in targets if name not in weights]
    if missing:
        named = ", ".join(missing[:N_NAMED]) + (", ..." if len(missing) > N_NAMED else "")
        raise ValueError(f"{where}: {len(missing)} of {len(targets)} tensors of the encoder missing: {named}")
    for name, target in targets.items():
        check_fits(name, weights[name], target, where)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(weights[name])
    unused = [name for name in weights if name not in targets and name not in COUNTING_BUFFERS]
    return LoadReport(loaded=list(targets), new=[], unused=unused)


def check_fits(name: str, tensor: Tensor, target: Tensor, where: str | Path) -> None:
    got, expected = tuple(tensor.shape), tuple(target.shape)
    if name == VOCABULARY_WEIGHT and got[1:] == expected[1:] and got != expected:
        raise ValueError(
            f"{where}: the vocabulary has {expected[0]} pieces and the embedding {got[0]} rows: "
            f"they do not belong together"
        )
    if got != expected:
        raise ValueError(f"{where}: {name}: got shape {got}, expected {expected}")
    if tensor.is_floating_point() != target.is_floating_point():
        raise ValueError(f"{where}: {name}: got {tensor.dtype}, expected {target.dtype}")
