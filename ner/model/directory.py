"""Opens model directories: a published encoder, a published token classifier, or what `save` wrote.

`resolve_model_dir` finds the directory, `ModelDirectory` reads it, `load` makes a `Model` of it.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

from ner.annotations import ANNOTATIONS
from ner.data.sentence import UNITS
from ner.data.tokenizer import WordPiece, load_tokenizer
from ner.data.windows import LONG_TEXT
from ner.data.words import guess_unit_of_vocabulary
from ner.encoders.base import Encoder
from ner.encoders.published import (
    LoadReport,
    config_path,
    find_encoder,
    load_encoder,
    load_tensors,
    published_names,
    read_config,
)
from ner.errors import DataError
from ner.model.build import build_head, head_kind
from ner.model.features import build_features
from ner.model.manifest import check_model, check_sizes
from ner.model.model import Model
from ner.model.saving import upper_tensors
from ner.model.tagger import Tagger
from ner.tensors import read_weights

# published embeddings may have a few more rows than the vocabulary has pieces (rounded sizes)
MAX_SPARE_ROWS = 127
PYTORCH_CRF = {"crf.transitions", "crf.start_transitions", "crf.end_transitions"}
MIN_WINDOW, MAX_WINDOW = 8, 512  # pieces; the largest is a default only


class ModelDirectory:
    """A published or saved model directory.  Making this object reads every file once.

    DataError: no model directory, an unknown architecture, a missing or misshapen tensor, a vocabulary that
    does not belong to the weights.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_sizes(self.path)
        self.config: dict[str, Any] = read_config(self.path)
        self.where = str(config_path(self.path))
        "the config file, for errors"
        kind, options = find_encoder(self.config, self.where)
        self.tokenizer: WordPiece = load_tokenizer(self.path)
        self.weights = read_weights(self.path)
        "name -> tensor; names without the prefix, as `Encoder.published_tensors` has them"
        n_rows = self._n_rows()
        self._check_amount(options, options.n_numbers(n_rows))
        self.encoder: Encoder = kind(options, vocab_size=n_rows)
        prefixes, use_task_id = (f"{kind.file_prefix}.", "ernie."), bool(self.config.get("use_task_id"))
        self.weights = published_names(self.weights, prefixes, use_task_id=use_task_id)
        self.report: LoadReport = load_encoder(self.encoder, self.weights, where=self.path)

    def _n_rows(self) -> int:
        """Rows of the embedding: as many as the vocabulary has pieces, or a few more."""
        n_pieces = len(self.tokenizer)
        n_rows = self.config.get("vocab_size", n_pieces)
        if not isinstance(n_rows, int) or not 0 <= n_rows - n_pieces <= MAX_SPARE_ROWS:
            raise DataError(
                f"{self.path}: the vocabulary has {n_pieces} pieces, expected {n_rows} as its config says"
            )
        return n_rows

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

    @cached_property
    def own(self) -> dict[str, Any]:
        """The values of the config under `ner`, which only our programs write."""
        own = self.config.get("ner", {})
        if not isinstance(own, dict):
            raise DataError(f"{self.where}: ner: got {own!r}, expected an object")
        return own

    @property
    def head_name(self) -> str:
        """The head that the config names, else a CRF if there are pytorch-crf's tensors, else softmax."""
        return self.own.get("head", "crf" if self.weights.keys() >= PYTORCH_CRF else "softmax")

    @property
    def dropout(self) -> float:
        """The dropout before the classifier."""
        key = self.encoder.classifier_dropout_key
        dropout = self.config.get(key)
        dropout = 0.1 if dropout is None else dropout
        if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise DataError(f"{self.where}: {key}: got {dropout!r:.40}, expected 0 <= p < 1")
        return dropout

    def unit_and_window(self, *, unit: str | None = None, max_len: int | None = None) -> tuple[str, int]:
        """How raw text is cut, and the pieces a window: as asked for, else as saved, else guessed."""
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
        return unit, max_len

    def long_text(self, asked: str | None = None) -> str:
        """What happens to pieces beyond a window: as asked for, else as saved."""
        name = asked or self.own.get("long_text", "windows")
        if name not in LONG_TEXT:
            raise DataError(f"{self.where}: long_text: got {name!r}, expected one of {', '.join(LONG_TEXT)}")
        return name

    def log_lines(self, report: LoadReport) -> list[str]:
        """How many tensors were loaded and which not, and the spare rows of the embedding."""
        n_pieces = len(self.tokenizer)
        spare = self.encoder.vocab_size - n_pieces
        lines = [f"the vocabulary has {n_pieces} pieces, {spare} rows of the embedding are spare"]
        return [*(lines if spare else []), *report.sentences(str(self.path))]


def open_encoder(model_dir: str | Path) -> tuple[Encoder, WordPiece, list[str]]:
    """Encoder and tokenizer of a model directory, and lines for the log; DataError as `ModelDirectory`."""
    directory = ModelDirectory(model_dir)
    return directory.encoder, directory.tokenizer, directory.log_lines(directory.report)


def resolve_model_dir(directory: str | Path, name: str = "best") -> Path:
    """A model directory as it is, or the checkpoint `name` of an experiment directory.

    DataError if it is neither, or if its manifest shows that a file is damaged.
    """
    directory = Path(directory)
    model_dir = directory if config_path(directory).is_file() else directory / name
    if model_dir.is_dir():
        check_model(model_dir)
        return model_dir
    if not directory.is_dir():
        raise DataError(f"{directory}: no such directory, expected a trained experiment or a model directory")
    series = sorted(path.name for path in directory.glob("seed-*"))
    expected = "a trained experiment or a model directory"
    if series:
        expected = f"one run of this series, such as {directory / series[0]}"
    raise DataError(f"{directory}: no config.json and no {name}/, expected {expected}")


def load(
    model_dir: str | Path,
    *,
    unit: str | None = None,
    max_len: int | None = None,
    long_text: str | None = None,
) -> Model:
    """Opens a model directory that can tag: one of ours, or a published token classifier of BERT's family.

    `unit` replaces the saved way of cutting raw text, `max_len` the pieces a window, `long_text` what happens
    to pieces beyond a window.
    DataError as for `ModelDirectory`, and if the directory has no tags or no classifier, or the window does
    not fit the encoder.
    """
    directory = ModelDirectory(model_dir)
    own, where, encoder = directory.own, directory.where, directory.encoder
    kind = head_kind(directory.head_name, where=where)
    inventories = {
        name: ANNOTATIONS[name].from_config(directory.config, where=where) for name in kind.annotations
    }
    layers, context = own.get("layers", "last"), own.get("context", "none")
    features = build_features(encoder, layers, context, where=where)
    width = features.width if features else encoder.width
    options = {"dropout": directory.dropout}
    head = build_head(directory.head_name, width, inventories, options, where=where)
    tagger = Tagger(encoder, head, features).eval()
    report = _load_upper(tagger, directory)
    unit, max_len = directory.unit_and_window(unit=unit, max_len=max_len)
    lines = tuple(directory.log_lines(report))
    return Model(tagger, directory.tokenizer, unit, max_len, lines, directory.long_text(long_text))


def _load_upper(tagger: Tagger, directory: ModelDirectory) -> LoadReport:
    """Fills head and features; returns the report of the whole tagger."""
    targets, weights = upper_tensors(tagger), directory.weights
    try:
        load_tensors(targets, weights, where=directory.path)
    except DataError as error:
        raise DataError(f"{error}; only a directory trained for tagging has a classifier") from None
    loaded, unused = directory.report
    return LoadReport([*loaded, *targets], [name for name in unused if name not in targets])
