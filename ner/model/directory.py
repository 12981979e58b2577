"""Model directories: opens what was published or what `save` wrote, and saves."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from ner.annotations import ANNOTATIONS
from ner.annotations.tag_spelling import name_tags
from ner.config import choose, to_json
from ner.data.sentence import UNITS
from ner.data.tokenizer import WordPiece
from ner.data.tokenizer_files import check_class, load_tokenizer
from ner.data.windows import LONG_TEXT
from ner.data.word_rules import read_rules
from ner.data.words import guess_unit_of_vocabulary
from ner.encoders import Encoder, published
from ner.errors import DataError
from ner.heads import HEADS
from ner.model.build import build_head
from ner.model.features import build_features
from ner.model.manifest import check_model, check_sizes
from ner.model.tagger import Model, Tagger
from ner.tensors import read_weights, save_weights, weight_files

# published embeddings may have a few more rows than the vocabulary has pieces (rounded sizes)
MAX_SPARE_ROWS = 127
WEIGHT_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".npz"}
# what programs of training, ours included, leave beside a model
TRAINING_FILE = re.compile(r"training_|learning_weights\.|optimizer|scheduler|scaler|rng_state")
PYTORCH_CRF = {"crf.transitions", "crf.start_transitions", "crf.end_transitions"}
MIN_WINDOW, MAX_WINDOW = 8, 512  # pieces; the largest is a default only


class ModelDirectory:
    """A published or saved model directory.  Making this object reads every file once.

    DataError: no model directory, an unknown architecture, tensors or a vocabulary that do not fit.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_sizes(self.path)
        self.config: dict[str, Any] = published.read_config(self.path)
        self.where = str(published.config_path(self.path))
        "the config file, for errors"
        self.own: dict[str, Any] = self.config.get("ner", {})
        "the values of the config that only our programs write"
        if not isinstance(self.own, dict):
            raise DataError(f"{self.where}: ner: got {self.own!r}, expected an object")
        kind, options = published.find_encoder(self.config, self.where)
        check_class(self.config, self.where)
        self.tokenizer: WordPiece = load_tokenizer(self.path)
        self.weights, unwrapped = published.unwrapped_names(read_weights(self.path))
        "name -> tensor; names without the prefix, as `Encoder.published_tensors` has them"
        self.notes = [*_unused_files(self.path), *unwrapped, *self.tokenizer.notes]
        "lines for people about what was not used or assumed, besides tensors"
        n_pieces = len(self.tokenizer)
        n_rows = self.config.get("vocab_size", n_pieces)
        if not isinstance(n_rows, int) or not 0 <= n_rows - n_pieces <= MAX_SPARE_ROWS:
            got = f"the vocabulary has {n_pieces} pieces"
            raise DataError(f"{self.path}: {got}, expected {n_rows} as its config says")
        self._check_amount(options, options.n_numbers(n_rows))
        self.encoder: Encoder = kind(options, vocab_size=n_rows)
        prefixes, use_task_id = (f"{kind.file_prefix}.", "ernie."), bool(self.config.get("use_task_id"))
        self.weights = published.published_names(self.weights, prefixes, use_task_id=use_task_id)
        targets = self.encoder.published_tensors()
        self.report = published.load_tensors(targets, self.weights, where=self.path)

    def _check_amount(self, options: Any, n_expected: int) -> None:
        """DataError if the config describes far more than the weights hold, before memory is allocated.

        Smaller differences are found tensor by tensor when the weights are loaded.
        """
        n_tensors = len(self.weights)
        for name in options.layer_counts:
            if (count := getattr(options, name)) > n_tensors:
                raise DataError(f"{self.where}: {name}: got {count}, the weights have {n_tensors} tensors")
        n_held = sum(tensor.numel() for tensor in self.weights.values())
        if n_expected > 2 * n_held:
            raise DataError(
                f"{self.where}: an encoder of {n_expected:,} numbers, the weights have {n_held:,}"
            )

    def reading(
        self, *, unit: str | None = None, max_len: int | None = None, long_text: str | None = None
    ) -> dict[str, Any]:
        """How raw text is cut and read, as fields of `Model`: as asked for, else as saved, else guessed."""
        unit = unit or self.own.get("unit") or guess_unit_of_vocabulary(self.tokenizer.vocabulary)
        if unit not in UNITS:
            raise DataError(f"{self.path}: unit {unit!r}, expected char or word")
        limit = self.encoder.max_positions
        max_len = self.own.get("max_len") if max_len is None else max_len
        if max_len is None:
            max_len = min(MAX_WINDOW, limit or MAX_WINDOW)
        if not isinstance(max_len, int) or max_len < MIN_WINDOW or (limit and max_len > limit):
            most = f"at most {limit} as the encoder has positions" if limit else "any number above"
            raise DataError(f"max_len: got {max_len}, expected {MIN_WINDOW} or more, {most}")
        long_text = long_text or self.own.get("long_text", "windows")
        choose(long_text, LONG_TEXT, f"{self.where}: long_text")
        words = read_rules(self.own.get("words"), self.where)
        return {"unit": unit, "max_len": max_len, "long_text": long_text, "words": words}

    @property
    def head_name(self) -> str:
        """The head that the directory states, or that its tensors show."""
        return self.own.get("head", "crf" if self.weights.keys() >= PYTORCH_CRF else "softmax")

    def log_lines(self, report: published.LoadReport | None = None) -> tuple[str, ...]:
        """The spare rows of the embedding, and what was loaded: the encoder alone, or as `report` says."""
        n_pieces, report = len(self.tokenizer), report or self.report
        spare = self.encoder.vocab_size - n_pieces
        line = f"the vocabulary has {n_pieces} pieces, {spare} rows of the embedding are spare"
        return (*([line] if spare else []), *report.sentences(self.path), *self.notes)


def _unused_files(path: Path) -> list[str]:
    """The line about files of weights that are not read, other than a state of training."""
    names = [file.name for file in sorted(path.iterdir()) if file.suffix in WEIGHT_SUFFIXES]
    unused = [name for name in names if not TRAINING_FILE.match(name) and name not in weight_files(path)]
    return [f"not used: {', '.join(unused)}"] if unused else []


def resolve_model_dir(directory: str | Path, name: str = "best") -> Path:
    """A model directory as it is, or the checkpoint `name` of an experiment directory.

    DataError if it is neither, or if its manifest shows that a file is damaged.
    """
    directory = Path(directory)
    model_dir = directory if published.config_path(directory).is_file() else directory / name
    if model_dir.is_dir():
        check_model(model_dir)
        return model_dir
    expected = "a trained experiment or a model directory"
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory, expected {expected}")
    if series := sorted(directory.glob("seed-*")):
        expected = f"one run of this series, such as {series[0]}"
    raise DataError(f"{directory}: no config.json and no {name}/, expected {expected}")


def load(
    model_dir: str | Path,
    *,
    unit: str | None = None,
    max_len: int | None = None,
    long_text: str | None = None,
    scheme: str | None = None,
    label_names: Sequence[str] | None = None,
) -> Model:
    """Opens a model directory that can tag: one of ours, or a published token classifier of BERT's family.

    The options replace what is saved: how raw text is cut, the pieces a window, what happens beyond it, the
    scheme of the tags and their names.  DataError as for `ModelDirectory`, and if there are no tags or no
    classifier, if a part is not known, or the window does not fit.
    """
    directory = ModelDirectory(model_dir)
    own, where, encoder = directory.own, directory.where, directory.encoder
    config = directory.config | {"ner": own | ({"scheme": scheme} if scheme else {})}
    if label_names:
        config["id2label"] = name_tags(config.get("id2label"), label_names)
    name = directory.head_name
    inventories = {
        kind: ANNOTATIONS[kind].from_config(config, where=where)
        for kind in HEADS[choose(name, HEADS, f"{where}: head")].annotations
    }
    features = build_features(encoder, own.get("layers", "last"), own.get("context", "none"), where=where)
    width = features.width if features else encoder.width
    options = {"dropout": _classifier_dropout(directory)}
    tagger = Tagger(encoder, build_head(name, width, inventories, options, where=where), features).eval()
    targets, (loaded, unused) = upper_tensors(tagger), directory.report
    try:
        published.load_tensors(targets, directory.weights, where=directory.path)
    except DataError as error:
        raise DataError(f"{error}; only a directory trained for tagging has a classifier") from None
    report = published.LoadReport([*loaded, *targets], [name for name in unused if name not in targets])
    if unknown := published.unknown_parts(report.unused, encoder.published_tensors()):
        expected = "expected an encoder and its classifier alone"
        raise DataError(
            f"{directory.path}: got tensors of other parts, {published.grouped(unknown)}; {expected}"
        )
    facts = directory.reading(unit=unit, max_len=max_len, long_text=long_text)
    facts |= {"report": directory.log_lines(report), "notes": (*report.notes, *directory.notes)}
    facts["scheme_from"] = "option" if scheme else "config" if "scheme" in own else "guess"
    return Model(tagger, directory.tokenizer, **facts)


def _classifier_dropout(directory: ModelDirectory) -> float:
    key = directory.encoder.classifier_dropout_key
    dropout = directory.config.get(key)
    dropout = 0.1 if dropout is None else dropout
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise DataError(f"{directory.where}: {key}: got {dropout!r:.40}, expected 0 <= p < 1")
    return dropout


def save(model_dir: str | Path, model: Model) -> None:
    """Writes `config.json`, `model.safetensors` and the vocabulary into an existing directory.

    The tensors have the published names, so a softmax model over BERT or a relative opens in transformers'
    AutoModelForTokenClassification; the config of any other head names an architecture of its own.
    """
    model_dir = Path(model_dir)
    (model_dir / "config.json").write_text(to_json(config_of(model)), encoding="utf-8")
    model.tokenizer.save(model_dir)
    save_weights(model_dir / "model.safetensors", all_tensors(model.tagger))


def restore_weights(model_dir: str | Path, tagger: Tagger) -> None:
    """Fills a tagger from a directory that `save` wrote of a tagger with the same parts and sizes.

    DataError if the weights cannot be read or belong to another tagger.
    """
    if unused := published.load_tensors(all_tensors(tagger), read_weights(model_dir)).unused:
        raise DataError(f"weights: got {published.grouped(unused)}, expected no more than the tagger has")


def all_tensors(tagger: Tagger) -> dict[str, Tensor]:
    """The tensors of a tagger under their names in a file."""
    encoder = tagger.encoder
    tensors = {f"{encoder.file_prefix}.{name}": t for name, t in encoder.published_tensors().items()}
    return tensors | upper_tensors(tagger)


def upper_tensors(tagger: Tagger) -> dict[str, Tensor]:
    """The tensors of head and features under their names in a file."""
    features = tagger.features.state_dict() if tagger.features else {}
    return tagger.head.state_dict() | {f"features.{name}": tensor for name, tensor in features.items()}


def config_of(model: Model) -> dict:
    """The values of `config.json`: everything about a model except weights and vocabulary."""
    encoder, head, features = model.tagger.encoder, model.tagger.head, model.tagger.features
    head_name = next(name for name, kind in HEADS.items() if type(head) is kind)
    kind = "" if head_name == "softmax" else head_name.title().replace("_", "")
    own = {"head": head_name}
    if features:
        kind, own = f"Features{kind}", own | {"layers": features.layers, "context": features.kind}
    labels: dict = {}
    for name, inventory in head.inventories.items():
        keys = ANNOTATIONS[name].to_config(inventory, head.facts)
        own |= keys.pop("ner", {})
        labels |= keys
    own |= {"unit": model.unit, "max_len": model.max_len, "long_text": model.long_text}
    own |= {"words": model.words._asdict()} if model.words else {}
    return {
        "architectures": [f"{type(encoder).__name__}{kind}ForTokenClassification"],
        "model_type": encoder.file_prefix,
        **asdict(encoder.config),
        "vocab_size": encoder.vocab_size,
        "pad_token_id": model.tokenizer.pad_id,
        encoder.classifier_dropout_key: head.dropout.p,
        **labels,
        "ner": own,
    }
