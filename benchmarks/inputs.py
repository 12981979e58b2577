"""The inputs of a benchmark: its arguments, a built set, and one model directory that both sides open."""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import torch

from ner.annotations.spans import SpanInventory, read_labels
from ner.data import folder
from ner.data.batches import Batches
from ner.data.sentence import Sentence
from ner.data.tokenizer import WordPiece
from ner.data.tokenizer_files import load_tokenizer
from ner.data.windows import Windows, encode
from ner.inference.predict import predict
from ner.model.build import build_encoder, build_head
from ner.model.directory import load, save
from ner.model.tagger import Model, Tagger
from ner.runtime import devices, program
from ner.tags import TagSet

SIZES = {
    "base": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    "small": {
        "hidden_size": 312,
        "num_hidden_layers": 4,
        "num_attention_heads": 12,
        "intermediate_size": 1200,
    },
    "tiny": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
}
N_PIECES = 21128  # rows of bert-base-chinese's embedding, all of which the optimiser updates
OUTSIDE_SHARE = 0.88  # share of `O` in MSRA; decoding an entity costs time
VOCABULARY = Path(__file__).parents[1] / "pretrained" / "zh-small"
NO_LIMIT = 10**9
COUNTS = ("rounds", "batches", "batch_size", "sentences", "threads", "counts")
BUDGETS = ("training_tokens", "batch_tokens")
# bounds of an argument, or of each number in its list; the encoders have 512 positions
NUMBERS = dict.fromkeys((*COUNTS, *BUDGETS), (1, NO_LIMIT)) | dict.fromkeys(("max_len", "lengths"), (4, 512))
NUMBERS["megabytes"] = (0.001, 100_000)


def argument_parser(description: str | None, *, rounds: int = 3, **quick) -> argparse.ArgumentParser:
    """The options of all benchmarks; `quick` are further values that --quick sets."""
    parser = program.Parser(description)
    parser.add_argument(
        "--data_dir", type=Path, default=Path("data/msra"), help="a set made by build_dataset.py"
    )
    parser.add_argument(
        "--rounds", type=int, default=rounds, help=f"timed passes of every arm (default: {rounds})"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--device", help="cuda, cpu ... (default: a GPU if there is one)")
    parser.add_argument("--seed", type=int, default=2019)
    parser.add_argument("--out", type=Path, metavar="FILE", help="write every measured second as JSON")
    parser.add_argument(
        "--quick", action="store_true", help="a tiny model and little data, to test the benchmark"
    )
    parser.set_defaults(on_quick={"rounds": 1} | quick)
    return parser


def parse(parser: argparse.ArgumentParser, argv=None) -> argparse.Namespace:
    """Parses the arguments, applies --quick and checks the bounds."""
    args = parser.parse_args(argv)
    on_quick = vars(args).pop("on_quick")
    if args.quick:
        vars(args).update(on_quick)
    for name, value in vars(args).items():
        if name in NUMBERS:
            low, high = NUMBERS[name]
            for number in value if isinstance(value, list) else [value]:
                if number is not None and not low <= number <= high:
                    limit = f", at most {high}" if high < NO_LIMIT else ""
                    parser.error(f"--{name} {number}: expected {low} or more{limit}")
    return args


def add_sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sizes", nargs="+", choices=list(SIZES), default=["base", "small"], help="sizes of the encoder"
    )


def start(args: argparse.Namespace) -> torch.device:
    """Sets the seed and torch's threads; returns the device."""
    devices.set_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    return devices.pick_device(args.device)


def size_name(name: str) -> str:
    """base -> `base 12 x 768`."""
    return f"{name} {SIZES[name]['num_hidden_layers']} x {SIZES[name]['hidden_size']}"


def has_rivals(*packages: str) -> bool:
    """True if all packages are installed; prints which ones are missing."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if "transformers" not in missing:
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
    if missing:
        print(f"without {', '.join(missing)} (requirements-dev.txt): those rivals are left out\n")
    return not missing


def read(args: argparse.Namespace, split: str) -> list[Sentence]:
    """The sentences of an annotated split."""
    found = folder.read_split(args.data_dir, split)
    folder.check_gold(found, args.data_dir / split, ["spans"])
    return found.sentences


def vocabulary() -> WordPiece:
    """The vocabulary of the shipped encoder, filled up with spare pieces to bert-base-chinese's size."""
    shipped = load_tokenizer(VOCABULARY)
    spare = (f"[spare{number}]" for number in range(len(shipped), N_PIECES))
    return WordPiece((*shipped.vocabulary, *spare), shipped.normalisation)


def write_model(
    directory: Path,
    sizes: dict,
    args: argparse.Namespace,
    sentences: list[Sentence],
    *,
    head: str = "softmax",
) -> Model:
    """Saves a tagger with random weights.  A softmax head predicts `O` as often as MSRA has it."""
    devices.set_seed(args.seed)
    tokenizer = vocabulary()
    encoder = build_encoder({"name": "bert", **sizes}, vocab_size=len(tokenizer))
    tag_set = TagSet.from_labels(read_labels(args.data_dir), "BIO")
    classifier = build_head(head, encoder.width, {"spans": SpanInventory(tag_set)}, {"dropout": 0.1})
    unit = folder.read_unit(args.data_dir, sentences)
    model = Model(Tagger(encoder, classifier), tokenizer, unit, max_len=512)
    if head == "softmax":
        prefer_outside(model, sentences[:64])
    directory.mkdir(parents=True)
    save(directory, model)
    return model


def open_model(model_dir: Path, device: torch.device, precision: str) -> Model:
    model = load(model_dir)
    model.tagger.place(device, precision=precision)
    return model


def prefer_outside(model: Model, sentences: list[Sentence]) -> None:
    """Sets the bias of `O` so that OUTSIDE_SHARE of the tokens in these sentences are tagged `O`."""
    lead = []

    def collect(indices, batch, scores, losses, spans) -> None:
        outside = model.tag_set.index["O"]
        others = [tag for tag in range(scores.shape[-1]) if tag != outside]
        lead.append((scores[..., others].amax(-1) - scores[..., outside])[batch.mask])

    loader = Batches(encode(sentences, model.tokenizer), windows=Windows(model.max_len), batch_tokens=2048)
    predict(model.tagger, loader, device=torch.device("cpu"), on_batch=collect)
    bias = np.quantile(torch.cat(lead).numpy(), OUTSIDE_SHARE)
    with torch.no_grad():
        model.tagger.head.classifier.bias[model.tag_set.index["O"]] += float(bias)
