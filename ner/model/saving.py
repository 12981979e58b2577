"""Saves a model as a directory, and restores a tagger's weights from one."""

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from ner.annotations import ANNOTATIONS
from ner.config import to_json
from ner.heads import HEADS
from ner.model.model import Model
from ner.model.tagger import Tagger
from ner.tensors import read_weights, save_weights

FEATURES = "features."  # first part of the names of the features' tensors in a file


def save(model_dir: str | Path, model: Model) -> None:
    """Writes `config.json`, `model.safetensors` and the vocabulary into an existing directory.

    The tensors have the published names, so a softmax model over BERT or a relative opens in transformers'
    AutoModelForTokenClassification; the config of any other head names an architecture of its own.
    """
    model_dir = Path(model_dir)
    encoder = model.tagger.encoder
    tensors = {f"{encoder.file_prefix}.{name}": t for name, t in encoder.published_tensors().items()}
    tensors |= upper_tensors(model.tagger)
    (model_dir / "config.json").write_text(to_json(config_of(model)), encoding="utf-8")
    model.tokenizer.save(model_dir)
    save_weights(model_dir / "model.safetensors", tensors)


def restore_weights(model_dir: str | Path, tagger: Tagger) -> None:
    """Fills a tagger from a directory that `save` wrote of a tagger with the same parts and sizes.

    DataError if the weights cannot be read, RuntimeError if they belong to another tagger.
    """
    encoder = tagger.encoder
    own_names = {
        f"{encoder.file_prefix}.{encoder.published_name(name)}": f"encoder.{name}"
        for name in encoder.state_dict()
    }
    own_names |= {name: f"head.{name}" for name in tagger.head.state_dict()}
    tagger.load_state_dict({own_names.get(name, name): t for name, t in read_weights(model_dir).items()})


def upper_tensors(tagger: Tagger) -> dict[str, Tensor]:
    """The tensors of head and features under their names in a file."""
    features = tagger.features.state_dict() if tagger.features else {}
    return tagger.head.state_dict() | {FEATURES + name: tensor for name, tensor in features.items()}


def config_of(model: Model) -> dict:
    """The values of `config.json`: everything about a model except weights and vocabulary."""
    encoder, head, features = model.tagger.encoder, model.tagger.head, model.tagger.features
    head_name = next(name for name, kind in HEADS.items() if type(head) is kind)
    parts = [type(encoder).__name__]
    if features:
        parts.append("Features")
    if head_name != "softmax":
        parts.append(head_name.title().replace("_", ""))
    own = {"head": head_name}
    if features:
        own |= {"layers": features.layers, "context": features.kind}
    labels: dict = {}
    for name, inventory in head.inventories.items():
        keys = ANNOTATIONS[name].to_config(inventory, head.facts)
        own |= keys.pop("ner", {})
        labels |= keys
    own |= {"unit": model.unit, "max_len": model.max_len, "long_text": model.long_text}
    return {
        "architectures": [f"{''.join(parts)}ForTokenClassification"],
        "model_type": encoder.file_prefix,
        **asdict(encoder.config),
        "vocab_size": encoder.vocab_size,
        "pad_token_id": model.tokenizer.pad_id,
        encoder.classifier_dropout_key: head.dropout.p,
        **labels,
        "ner": own,
    }
