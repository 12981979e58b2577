"""Opens model directories: a published encoder, a published token classifier, or what `save` wrote."""

import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ner.annotations.spans import SpanInventory
from ner.data.sentence import UNITS
from ner.data.tokenizer import WordPiece, load_tokenizer
from ner.data.windows import LONG_TEXT
from ner.data.words import guess_unit_of_vocabulary
from ner.encoders import published
from ner.encoders.base import Encoder
from ner.encoders.published import LoadReport, config_path, load_tensors
from ner.errors import DataError
from ner.model.build import build_head
from ner.model.features import build_features
from ner.model.manifest import check_model, check_sizes
from ner.model.saving import upper_tensors
from ner.model.tagger import Model, Tagger
from ner.tags import NON_TAGS, OUTSIDE, TagSet, guess_scheme
from ner.tensors import read_weights

# published embeddings may have a few more rows than the vocabulary has pieces (rounded sizes)
MAX_SPARE_ROWS = 127
PYTORCH_CRF = {"crf.transitions", "crf.start_transitions", "crf.end_transitions"}
BILOU = str.maketrans("LU", "ES")
MAX_TAGS = 2000  # `TagSet` makes a table of all pairs of tags
MIN_WINDOW, MAX_WINDOW = 8, 512  # pieces; the largest is a default only


class ModelDirectory:
    """A published or saved model directory.  Making this object reads every file once.

    DataError: no model directory, an unknown architecture, tensors or a vocabulary that do not fit.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        check_sizes(self.path)
        self.config: dict[str, Any] = published.read_config(self.path)
        self.where = str(config_path(self.path))
        "the config file, for errors"
        kind, options = published.find_encoder(self.config, self.where)
        self.tokenizer: WordPiece = load_tokenizer(self.path)
        self.weights = read_weights(self.path)
        "name -> tensor; names without the prefix, as `Encoder.published_tensors` has them"
        n_pieces = len(self.tokenizer)
        n_rows = self.config.get("vocab_size", n_pieces)
        if not isinstance(n_rows, int) or not 0 <= n_rows - n_pieces <= MAX_SPARE_ROWS:
            got = f"the vocabulary has {n_pieces} pieces"
            raise DataError(f"{self.path}: {got}, expected {n_rows} as its config says")
        self._check_amount(options, options.n_numbers(n_rows))
        self.encoder: Encoder = kind(options, vocab_size=n_rows)
        prefixes, use_task_id = (f"{kind.file_prefix}.", "ernie."), bool(self.config.get("use_task_id"))
        self.weights = published.published_names(self.weights, prefixes, use_task_id=use_task_id)
        self.report: LoadReport = load_tensors(
            self.encoder.published_tensors(), self.weights, where=self.path
        )

    def _check_amount(self, options: Any, n_expected: int) -> None:
        """DataError if the config describes far more than the weights hold, before memory is allocated."""
        n_tensors = len(self.weights)
        for name in options.layer_counts:
            if (count := getattr(options, name)) > n_tensors:
                raise DataError(f"{self.where}: {name}: got {count}, the weights have {n_tensors} tensors")
        n_held = sum(tensor.numel() for tensor in self.weights.values())
        if n_expected > 2 * n_held:
            got = f"an encoder of {n_expected:,} numbers"
            raise DataError(f"{self.where}: {got}, the weights have {n_held:,}")

    @cached_property
    def own(self) -> dict[str, Any]:
        """The values of the config under `ner`, which only our programs write."""
        own = self.config.get("ner", {})
        if not isinstance(own, dict):
            raise DataError(f"{self.where}: ner: got {own!r}, expected an object")
        return own

    @property
    def head_facts(self) -> dict[str, Any]:
        """What the head knows about the training data (`ner.tags.span_facts`), as `save` wrote it."""
        facts = {name: self.own[name] for name in ("max_span_len", "nested") if name in self.own}
        length, nested = facts.get("max_span_len", 1), facts.get("nested", False)
        if type(length) is not int or length < 1:
            raise DataError(f"{self.where}: max_span_len: got {length!r}, expected a whole number above 0")
        if not isinstance(nested, bool):
            raise DataError(f"{self.where}: nested: got {nested!r}, expected true or false")
        return facts

    @property
    def dropout(self) -> float:
        """The dropout before the classifier."""
        key = self.encoder.classifier_dropout_key
        dropout = 0.1 if self.config.get(key) is None else self.config[key]
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
        return [*(lines if spare else []), *report.sentences(self.path)]


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
    runs = sorted(directory.glob("seed-*"))
    run_expected = f"one run of this series, such as {runs[0]}" if runs else ""
    expected = run_expected or "a trained experiment or a model directory"
    raise DataError(f"{directory}: no config.json and no {name}/, expected {expected}")


def load(
    model_dir: str | Path,
    *,
    unit: str | None = None,
    max_len: int | None = None,
    long_text: str | None = None,
) -> Model:
    """Opens a model directory that can tag: one of ours, or a published token classifier of BERT's family.

    The options replace what is saved: how raw text is cut, the pieces a window, and what happens beyond it.
    DataError as for `ModelDirectory`, and if there are no tags or no classifier, or the window does not fit.
    """
    directory = ModelDirectory(model_dir)
    own, where, encoder = directory.own, directory.where, directory.encoder
    tag_set = read_tag_set(directory.config, scheme=own.get("scheme"), where=where)
    features = build_features(encoder, own.get("layers", "last"), own.get("context", "none"), where=where)
    width = features.width if features else encoder.width
    inventories = {"spans": SpanInventory(tag_set, **directory.head_facts)}
    options = {"dropout": directory.dropout}
    name = own.get("head", "crf" if directory.weights.keys() >= PYTORCH_CRF else "softmax")
    head = build_head(name, width, inventories, options, where=where)
    tagger = Tagger(encoder, head, features).eval()
    targets = upper_tensors(tagger)
    try:
        load_tensors(targets, directory.weights, where=directory.path)
    except DataError as error:
        raise DataError(f"{error}; only a directory trained for tagging has a classifier") from None
    loaded, unused = directory.report
    report = LoadReport([*loaded, *targets], [name for name in unused if name not in targets])
    unit, max_len = directory.unit_and_window(unit=unit, max_len=max_len)
    lines = tuple(directory.log_lines(report))
    return Model(tagger, directory.tokenizer, unit, max_len, lines, directory.long_text(long_text))


def published_tags(names: list[str]) -> list[str]:
    """Renames tags that published classifiers spell otherwise: B_PER, L- and U- (BILOU), bare labels (IO).

    DataError if a name is a placeholder such as LABEL_0.
    """
    parts = [re.fullmatch(r"([BIESMLU])[-_](.+)", name) for name in names]
    bare = not any(parts)
    tags = []
    for name, part in zip(names, parts, strict=True):
        if name == OUTSIDE or name in NON_TAGS:
            tags.append(name)
        elif re.fullmatch(r"LABEL_\d+", name):
            raise DataError(f"got the placeholder {name}, expected tags such as B-LOC")
        elif part is not None:
            tags.append(f"{part[1].translate(BILOU)}-{part[2]}")
        else:
            tags.append(f"I-{name}" if bare else name)
    return tags


def read_tag_set(config: Mapping, *, scheme: str | None, where: str | Path) -> TagSet:
    """The tags that a model's config lists under `id2label`; without a `scheme`, guesses it from the tags.

    DataError, beginning with `where`, if there are no tags or they do not belong to one scheme.
    """
    names = config.get("id2label")
    if not isinstance(names, dict) or not names:
        raise DataError(f"{where}: no id2label, expected a model trained for tagging")
    if len(names) > MAX_TAGS or not all(isinstance(name, str) for name in names.values()):
        raise DataError(f"{where}: id2label: expected names, {MAX_TAGS} at most")
    try:
        tags = published_tags([names[str(i)] for i in range(len(names))])
        return TagSet(tags, scheme or guess_scheme(set(tags) - set(NON_TAGS)))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{where}: id2label: {error}") from None
