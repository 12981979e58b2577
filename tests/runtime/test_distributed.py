"""Two processes on the CPU train like one with twice the accumulation, and end together."""

import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from ner.annotations.span_scores import score
from ner.data.batches import Batches
from ner.data.sentence import Sentence
from ner.data.tokenizer import learn_vocabulary
from ner.errors import DataError, TrainingError
from ner.inference.predict import predict
from ner.model.tagger import Tagger, n_layers_of, train_from
from ner.runtime import distributed
from ner.tags import Span
from ner.training.objectives import Distillation, Likelihood, RDrop
from ner.training.step import LIKELIHOOD, Progress, Update, epoch_steps
from tests import factories
from tests.factories import make_targets
from tests.training.test_step import CPU, LABELS, SENTENCES, plain_descent

# of one token each, so that a chain has no transition to learn from
SHORT = [Sentence.with_spans(("京",), (Span(0, 1, "LOC"),)), Sentence.with_spans(("。",), ())]
ALL = [*SENTENCES, *SHORT]
TOKENIZER = learn_vocabulary(token for sentence in SENTENCES for token in sentence.tokens)
CASES = {
    "softmax": {},
    "crf": {"head": "crf", "clip_grad": 0.01},
    "span": {"head": "span", "encoder": "electra"},
    "global_pointer": {"head": "global_pointer", "encoder": "distilbert"},
    "two batches a step": {"accumulation": 2, "encoder": "albert"},
    "three batches a step": {"accumulation": 3, "head": "crf", "encoder": "lstm"},
    "two passes": {"objective": RDrop(weight=4.0)},
    "a layer above the chosen one": {"layers": 1, "accumulation": 2},
    "layers that join": {"joins": True, "head": "crf", "accumulation": 2},
    "layers computed again": {"again": True, "accumulation": 2},
    "a teacher": {"head": "crf", "objective": Distillation(weight=0.7, temperature=2.0)},
    "bf16": {"precision": "bf16", "accumulation": 2},
}


def make_tagger(head="softmax", encoder="bert", layers="last") -> Tagger:
    return factories.make_tagger(
        head, encoder, layers=layers, labels=LABELS, fresh=True, vocab_size=len(TOKENIZER), seed=3
    )


def make_loader(*, seed=5) -> Batches:
    generator, n_tags = np.random.default_rng(0), 2 * len(LABELS) + 1
    n_tokens = sum(len(sentence.tokens) for sentence in ALL)
    soft = generator.dirichlet(np.ones(n_tags), size=n_tokens).astype(np.float16)
    options = {"targets": make_targets(LABELS), "seed": seed, "soft_tags": soft}
    return factories.make_loader(ALL, TOKENIZER, batch_tokens=16, **options)


def trained(
    *,
    accumulation=1,
    objective=LIKELIHOOD,
    clip_grad=0.0,
    joins=False,
    again=False,
    precision="fp32",
    **parts,
) -> dict:
    """Trains a tagger for two epochs in all processes, and returns its weights, losses and predictions."""
    tagger, loader, progress, losses = make_tagger(**parts), make_loader(), Progress(), []
    tagger.precision = precision
    if precision == "bf16":  # autocast leaves float64 alone
        tagger.to(torch.float32)
    if again:
        tagger.encoder.recompute()
    replicas = distributed.wrap(tagger, some_unused=joins or parts.get("layers", "last") != "last")
    update = Update(plain_descent(tagger, 0.1), clip_grad=clip_grad)
    for _ in range(2):
        if joins:
            train_from(tagger, n_layers_of(tagger) - progress.epoch)
        options = {"rate": lambda step: 1.0, "accumulation": accumulation, "objective": objective}
        list(epoch_steps(replicas, loader, update, progress, **options))
        losses.append(progress.loss)
        progress.next_epoch()
    found, loss = predict(tagger, make_loader(seed=None), device=CPU, shared=True)
    return {
        "weights": {name: weight.detach().clone() for name, weight in tagger.state_dict().items()},
        "progress": dataclasses.asdict(progress),
        "n_steps": math.ceil(len(loader) / (accumulation * distributed.world_size())),
        "losses": [*losses, loss],
        "found": found,
    }


def fail_to_train() -> str:
    """The error of a loss that is not finite only in the second process."""
    factor = math.nan if distributed.rank() == 1 else 1.0
    with pytest.raises(TrainingError) as caught:
        trained(objective=lambda model, batch: Likelihood()(model, batch) * factor)
    return str(caught.value)


def raised(body) -> str:
    """The error that leaves a `synchronised` block around `body`, or "nothing"."""
    try:
        with distributed.synchronised():
            body()
    except (Exception, SystemExit) as error:
        return repr(error)
    return "nothing"


def fail(error, *ranks) -> None:
    if distributed.rank() in ranks:
        raise error


def make_one(folder) -> list[str]:
    (folder / f"made-{distributed.rank()}").touch()
    return sorted(path.name for path in folder.glob("made-*"))


def call_collectives(folder) -> dict:
    rank = distributed.rank()
    return {
        "all_sum": distributed.all_sum([rank, 0.25, math.nan if rank else 1.0]),
        "all_max": distributed.all_max([rank, -rank]),
        "all_gather": distributed.all_gather({"rank": rank}),
        "from_first": distributed.from_first(lambda: f"of {rank}"),
        "first_then_others": distributed.first_then_others(lambda: make_one(folder)),
        "no one": raised(lambda: None),
        "the second": raised(lambda: fail(DataError("mine"), 1)),
        "both": raised(lambda: fail(DataError(f"of {rank}"), 0, 1)),
        "training": raised(lambda: fail(TrainingError("mine"), 0)),
        "waiting": raised(lambda: fail(DataError("mine"), 0) or distributed.barrier()),
        "training fails": fail_to_train(),
    }


def work(rank, folder) -> None:
    """Runs all cases in one of two processes, in float64, as the fixture of that name in conftest.py does."""
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    results = {name: trained(**options) for name, options in CASES.items()}
    results["collectives"] = call_collectives(folder)
    (folder / f"{rank}.pickle").write_bytes(pickle.dumps(results))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> list[dict]:
    """The results of all cases in each of two processes."""
    folder = tmp_path_factory.mktemp("both")
    processes.spawn(work, (folder,), nprocs=2)
    return [pickle.loads((folder / f"{rank}.pickle").read_bytes()) for rank in (0, 1)]


def doubled(options: dict) -> dict:
    return options | {"accumulation": 2 * options.get("accumulation", 1)}


def rounding(case) -> float:
    """How far apart, relatively, two orders of summation may lead: a weight may round to either neighbour."""
    return torch.finfo(torch.bfloat16).eps if CASES[case].get("precision") == "bf16" else 1e-7


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(both, case):
    n_batches = len(make_loader())
    assert n_batches % 2, "expected one process without a batch in the last step"
    alone, (first, second) = trained(**doubled(CASES[case])), (results[case] for results in both)
    assert first["progress"] == second["progress"]
    assert first["losses"] == second["losses"] == pytest.approx(alone["losses"], rel=rounding(case))
    assert first["n_steps"] == alone["n_steps"]
    assert first["progress"] == alone["progress"]
    before = make_tagger(**{k: v for k, v in CASES[case].items() if k in ("head", "encoder", "layers")})
    largest = max(
        (weight - before.state_dict()[name]).abs().max() for name, weight in alone["weights"].items()
    )
    n_changed = 0
    for name, weight in alone["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], weight, rtol=0, atol=rounding(case) * largest)
        n_changed += not torch.equal(weight, before.state_dict()[name])
    assert n_changed > 5


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("case", CASES)
def test_two_processes_score_each_entity_once(both, case):
    gold, lengths = [s.spans for s in ALL], [len(s.tokens) for s in ALL]
    found = [results[case]["found"] for results in both]
    assert found[0] == found[1]
    tagger = make_tagger(**{k: v for k, v in CASES[case].items() if k in ("head", "encoder", "layers")})
    tagger.load_state_dict(both[0][case]["weights"])
    tagger.precision = CASES[case].get("precision", "fp32")
    if tagger.precision == "bf16":
        tagger.to(torch.float32)
    whole, loss = predict(tagger, make_loader(seed=None), device=CPU)
    assert found[0] == whole
    assert both[0][case]["losses"][-1] == pytest.approx(loss, rel=1e-6)
    scores = score(gold, [[one.span for one in answer["spans"]] for answer in found[0]], lengths)
    assert scores.total.n_gold == sum(map(len, gold))


def test_collective_functions(both):
    first, second = (results["collectives"] for results in both)
    for results in (first, second):
        assert results["all_sum"][:2] == [1.0, 0.5]
        assert math.isnan(results["all_sum"][2])
        assert results["all_max"] == [1.0, 0.0]
        assert results["all_gather"] == [{"rank": 0}, {"rank": 1}]
        assert results["from_first"] == "of 0"
    assert first["first_then_others"] == ["made-0"]
    assert second["first_then_others"] == ["made-0", "made-1"]


def test_an_error_in_one_process_ends_both_and_is_raised_once(both):
    first, second = (results["collectives"] for results in both)
    assert (first["no one"], second["no one"]) == ("nothing", "nothing")
    assert (first["the second"], second["the second"]) == ("SystemExit(2)", "DataError('mine')")
    assert (first["both"], second["both"]) == ("DataError('of 0')", "SystemExit(2)")
    assert (first["training"], second["training"]) == ("TrainingError('mine')", "SystemExit(1)")
    assert (first["waiting"], second["waiting"]) == ("DataError('mine')", "SystemExit(2)")
    expected = "the loss is nan (epoch 1, batch 2, step 1); a lower learning_rate may help"
    assert first["training fails"] == second["training fails"] == expected


def test_a_program_for_one_process_refuses_torchrun(monkeypatch):
    distributed.refuse_torchrun("a search")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    with pytest.raises(DataError, match="a search: got torchrun, expected one process"):
        distributed.refuse_torchrun("a search")


def test_in_one_process_nothing_is_exchanged():
    assert (distributed.world_size(), distributed.rank(), distributed.describe_processes()) == (1, 0, "")
    assert distributed.all_sum([1.5]) == distributed.all_max([1.5]) == [1.5]
    assert distributed.all_gather("mine") == ["mine"]
    assert distributed.first_then_others(lambda: "made") == distributed.from_first(lambda: "made") == "made"
    tagger = make_tagger()
    assert distributed.wrap(tagger, some_unused=True) is tagger
    assert raised(lambda: fail(DataError("mine"), 0)) == "DataError('mine')"
    with distributed.process_group():
        assert distributed.world_size() == 1
