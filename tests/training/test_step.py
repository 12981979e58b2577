"""An epoch of steps, and prediction: one division, true clipping, exact resuming, every precision."""

import copy
import dataclasses
import math
from functools import partial

import pytest
import torch

from ner.data.batches import Batches
from ner.data.sentence import Sentence
from ner.data.tokenizer import learn_vocabulary
from ner.encoders import ENCODERS
from ner.errors import TrainingError
from ner.heads import HEADS
from ner.inference.predict import predict
from ner.runtime.devices import random_state, set_random_state
from ner.tags import Span
from ner.training.optim import build_optimizer, parameter_groups
from ner.training.step import (
    MAX_SKIPPED,
    Progress,
    Update,
    describe_skipped,
    epoch_steps,
    optimiser_step,
)
from tests import factories
from tests.factories import make_targets

CPU = torch.device("cpu")
SENTENCES = [
    Sentence.with_spans(tuple("王小明在北京。"), (Span(0, 3, "PER"), Span(4, 6, "LOC"))),
    Sentence.with_spans(tuple("中国银行在上海"), (Span(0, 4, "ORG"), Span(5, 7, "LOC"))),
    Sentence.with_spans(
        tuple("上海市长王明访问中国银行上海。"), (Span(0, 2, "LOC"), Span(4, 6, "PER"), Span(8, 12, "ORG"))
    ),
    Sentence.with_spans(tuple("明明在中国银行"), (Span(0, 2, "PER"), Span(3, 7, "ORG"))),
    Sentence.with_spans(tuple("访问市长。"), ()),
    Sentence.with_spans(tuple("王明访问上海北京"), (Span(0, 2, "PER"), Span(4, 6, "LOC"), Span(6, 8, "LOC"))),
]
N_TOKENS = sum(len(sentence.tokens) for sentence in SENTENCES)
LABELS = ("LOC", "ORG", "PER")
EVERY_HEAD = pytest.mark.parametrize("head", HEADS)
EVERY_ENCODER = pytest.mark.parametrize("encoder", ENCODERS)


@pytest.fixture(scope="module")
def tokenizer():
    return learn_vocabulary(token for sentence in SENTENCES for token in sentence.tokens)


@pytest.fixture
def make_tagger(tokenizer):
    """`make_tagger(head="softmax", encoder="bert", dropout=0.0, seed=0)`: as a new model, in evaluation."""
    return partial(factories.make_tagger, labels=LABELS, fresh=True, vocab_size=len(tokenizer))


@pytest.fixture
def make_loader(tokenizer):
    def make(*, batch_tokens=20, seed=5, sentences=SENTENCES, gold=True) -> Batches:
        targets = make_targets(LABELS) if gold else None
        options = {"batch_tokens": batch_tokens, "targets": targets, "seed": seed}
        return factories.make_loader(sentences, tokenizer, **options)

    return make


def plain_descent(tagger, rate=1.0) -> torch.optim.Optimizer:
    """A step is the gradient itself, so that a test can read it off the weights."""
    return torch.optim.SGD([{"params": list(tagger.parameters()), "peak": rate}], lr=0.0)


def adamw(tagger, rate=3e-3) -> torch.optim.Optimizer:
    return build_optimizer(
        parameter_groups(tagger, learning_rate=rate, head_learning_rate=rate, weight_decay=0.01)
    )


def train(
    tagger,
    loader,
    optimizer,
    progress=None,
    *,
    on_step=lambda progress: None,
    rate=lambda step: 1.0,
    **options,
) -> Progress:
    """Trains to the end of an epoch; `options` are those of `Update` and of `epoch_steps`."""
    progress = progress or Progress()
    update = {name: options.pop(name) for name in ("scaler", "clip_grad", "fixed_scale") if name in options}
    for _ in epoch_steps(tagger, loader, Update(optimizer, **update), progress, rate=rate, **options):
        on_step(progress)
    return progress


def weights(tagger) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tagger.state_dict().items()}


def change(before: dict, after: dict) -> torch.Tensor:
    """All that a step changed, end to end."""
    return torch.cat(
        [(after[name] - before[name]).flatten() for name in before if before[name].is_floating_point()]
    )


@pytest.mark.usefixtures("float64")
@EVERY_HEAD
def test_accumulated_batches_equal_one_big_batch(make_tagger, make_loader, head):
    results = []
    for batch_tokens in (20, 100_000):
        tagger, loader = make_tagger(head), make_loader(batch_tokens=batch_tokens)
        before = weights(tagger)
        progress = train(tagger, loader, plain_descent(tagger), accumulation=len(loader))
        results.append((len(loader), change(before, weights(tagger)), progress))
    (n_small, small, small_progress), (n_big, big, big_progress) = results
    assert (n_small > 2, n_big) == (True, 1)
    assert small_progress.step == big_progress.step == 1
    assert small_progress.loss == pytest.approx(big_progress.loss)
    assert big.norm() > 0.1
    torch.testing.assert_close(small, big)


@pytest.mark.usefixtures("float64")
@EVERY_HEAD
def test_the_loss_is_divided_by_all_tokens_once(make_tagger, make_loader, head):
    tagger, oracle = make_tagger(head), make_tagger(head)
    loader = make_loader()
    before = weights(tagger)
    progress = train(tagger, loader, plain_descent(tagger), accumulation=len(loader))
    one_by_one = [oracle(loader.collate([i]))[1].sum() for i in range(len(SENTENCES))]
    mean = torch.stack(one_by_one).sum() / N_TOKENS
    mean.backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in oracle.parameters()])
    torch.testing.assert_close(change(before, weights(tagger)), -gradient)
    assert progress.loss == pytest.approx(mean.item())
    assert progress.n_tokens == N_TOKENS


def test_the_last_step_of_an_epoch_takes_what_is_left(make_tagger, make_loader):
    tagger, loader = make_tagger(), make_loader()
    steps = []
    progress = train(
        tagger, loader, adamw(tagger), accumulation=4, on_step=lambda p: steps.append((p.step, p.batch))
    )
    n_batches = len(loader)
    assert n_batches % 4
    assert steps[-1] == (math.ceil(n_batches / 4), n_batches)
    assert steps[:-1] == [(step, 4 * step) for step in range(1, len(steps))]
    assert progress.n_tokens == N_TOKENS
    progress.seconds = 1.5
    progress.next_epoch()
    assert dataclasses.asdict(progress) == {
        **{"epoch": 1, "batch": 0, "step": len(steps)},
        **{"loss_sum": 0.0, "n_tokens": 0, "n_taken": 0, "last_taken": 0, "seconds": 0.0},
    }


def test_the_rate_is_asked_for_every_step(make_tagger, make_loader):
    tagger, loader = make_tagger(), make_loader()
    before = weights(tagger)
    asked = []
    train(
        tagger, loader, plain_descent(tagger), Progress(step=7), rate=lambda step: asked.append(step) or 0.0
    )
    assert asked == list(range(7, 7 + len(loader)))
    assert change(before, weights(tagger)).norm() == 0


@EVERY_HEAD
@pytest.mark.parametrize(
    ("precision", "scale"), [("fp32", None), ("fp16", 128.0)], ids=["fp32", "fp16 scaled by 128"]
)
def test_clipping_bounds_the_true_gradient(make_tagger, make_loader, head, precision, scale):
    changes = {}
    for clip_grad in (0.0, 0.01, 1e6):
        tagger, loader = make_tagger(head), make_loader(batch_tokens=100_000)
        tagger.precision = precision
        scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
        before = weights(tagger)
        options = {"scaler": scaler, "fixed_scale": scale or 0.0}
        train(tagger, loader, plain_descent(tagger), clip_grad=clip_grad, **options)
        changes[clip_grad] = change(before, weights(tagger))
    free, bound = changes[0.0], changes[0.01]
    assert free.norm() > 0.1
    torch.testing.assert_close(changes[1e6], free, atol=1e-6, rtol=1e-3)
    assert bound.norm().item() == pytest.approx(0.01, rel=1e-3)
    assert torch.cosine_similarity(bound, free, dim=0) > 0.999


@EVERY_HEAD
@EVERY_ENCODER
@pytest.mark.parametrize("accumulation", [1, 2])
def test_resuming_in_the_middle_is_the_same_run(make_tagger, make_loader, head, encoder, accumulation):
    tagger, loader = make_tagger(head, encoder, dropout=0.3), make_loader()
    optimizer, progress = adamw(tagger), Progress(epoch=3)
    kept = {}

    def keep(now: Progress) -> None:
        if now.step == 2:
            kept["progress"] = dataclasses.replace(now)
            kept["weights"] = weights(tagger)
            kept["optimizer"] = copy.deepcopy(optimizer.state_dict())
            kept["random"] = random_state()

    torch.manual_seed(1)
    train(tagger, loader, optimizer, progress, accumulation=accumulation, on_step=keep)
    assert kept["progress"].batch == 2 * accumulation < len(loader)

    again = make_tagger(head, encoder, dropout=0.3, seed=9)
    again.load_state_dict(kept["weights"])
    optimizer_again = adamw(again)
    optimizer_again.load_state_dict(kept["optimizer"])
    set_random_state(kept["random"])
    progress_again = train(again, loader, optimizer_again, kept["progress"], accumulation=accumulation)
    assert progress_again == progress
    for name, tensor in weights(tagger).items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_an_epoch_has_an_order_of_its_own(make_tagger, make_loader):
    loader = make_loader()
    orders = [[i.tolist() for i in loader.batch_indices(epoch)] for epoch in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_training(make_tagger, make_loader, poison):
    tagger, loader = make_tagger(), make_loader()
    before = weights(tagger)
    with torch.no_grad():
        tagger.head.classifier.bias[0] = poison
    with pytest.raises(TrainingError, match=r"the loss is nan \(epoch 3, batch 2, step 8\)") as caught:
        train(tagger, loader, adamw(tagger), Progress(epoch=2, batch=1, step=7))
    assert "\n" not in str(caught.value)
    encoder = {name: tensor for name, tensor in before.items() if name.startswith("encoder")}
    assert all(torch.equal(tensor, tagger.state_dict()[name]) for name, tensor in encoder.items())


# every head over one encoder, one head over every encoder, and clipping on and off over one tagger
LEARNERS = [
    *((head, "bert", 1.0) for head in HEADS),
    *(("crf", encoder, 0.0) for encoder in ENCODERS),
]


@pytest.mark.parametrize(("head", "encoder", "clip_grad"), LEARNERS)
@pytest.mark.parametrize(
    ("precision", "scale", "fixed"),
    [("fp32", 0.0, 0.0), ("bf16", 0.0, 0.0), ("fp16", 2.0**16, 0.0), ("fp16", 128.0, 128.0)],
    ids=["fp32", "bf16", "fp16", "fp16 scaled by 128"],
)
def test_every_precision_learns(make_tagger, make_loader, head, encoder, precision, scale, fixed, clip_grad):
    tagger, loader = make_tagger(head, encoder, dropout=0.1), make_loader()
    tagger.precision = precision
    optimizer, progress = adamw(tagger, 2e-2), Progress()
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=bool(scale))
    losses = []
    for _ in range(10):
        options = {"scaler": scaler, "fixed_scale": fixed, "clip_grad": clip_grad}
        train(tagger, loader, optimizer, progress, **options)
        losses.append(progress.loss)
        progress.next_epoch()
    assert losses[-1] < 0.8 * losses[0], losses
    if fixed:
        assert scaler.get_scale() == fixed
    assert all(parameter.dtype == torch.float32 for parameter in tagger.parameters())
    assert all(parameter.isfinite().all() for parameter in tagger.parameters())
    _, loss = predict(tagger, loader, device=CPU)
    assert loss < losses[0]


def test_a_scale_that_overflows_skips_the_step_and_shrinks(make_tagger, make_loader):
    tagger, loader = make_tagger(), make_loader(batch_tokens=100_000)
    tagger.precision = "fp16"
    before = weights(tagger)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60)
    train(tagger, loader, adamw(tagger), scaler=scaler, clip_grad=1.0)
    assert scaler.get_scale() == 2.0**59
    assert change(before, weights(tagger)).norm() == 0


@pytest.mark.parametrize("clip_grad", [0.0, 1.0])
@pytest.mark.parametrize("fixed", [0.0, 1e30])
def test_steps_that_overflow_are_counted_and_bounded(make_tagger, make_loader, clip_grad, fixed):
    tagger, loader = make_tagger(), make_loader(batch_tokens=100_000)
    tagger.precision = "fp16"
    before, optimizer, progress = weights(tagger), adamw(tagger), Progress()
    scaler = torch.amp.GradScaler("cpu", init_scale=fixed or 2.0**100)
    options = {"scaler": scaler, "clip_grad": clip_grad, "fixed_scale": fixed}
    for n_skipped in range(1, MAX_SKIPPED):
        train(tagger, loader, optimizer, progress, **options)
        progress.next_epoch()
        assert (progress.step, progress.n_taken) == (n_skipped, 0)
        assert (
            describe_skipped(progress, Update(optimizer, scaler))
            == f"  {n_skipped} steps skipped as fp16 overflowed"
        )
    with pytest.raises(
        TrainingError, match=r"fp16 overflowed in 20 steps in a row \(epoch 20, batch 1, step 20\)"
    ):
        train(tagger, loader, optimizer, progress, **options)
    assert change(before, weights(tagger)).norm() == 0


def test_a_step_that_is_taken_ends_the_row(make_tagger, make_loader):
    tagger, loader = make_tagger(), make_loader(batch_tokens=100_000)
    tagger.precision = "fp16"
    optimizer, progress, scaler = adamw(tagger), Progress(), torch.amp.GradScaler("cpu", init_scale=1.0)
    for step in range(1, 3 * MAX_SKIPPED + 1):
        scale = 1.0 if step % MAX_SKIPPED == 0 else 1e30
        scaler.load_state_dict(scaler.state_dict() | {"scale": scale})
        train(tagger, loader, optimizer, progress, scaler=scaler)
        progress.next_epoch()
    assert (progress.n_taken, progress.last_taken) == (3, 3 * MAX_SKIPPED)


def test_the_batch_whose_loss_is_not_finite_is_named(make_tagger, make_loader, monkeypatch):
    tagger = make_tagger()
    factors = iter([1.0, 1.0, 1.0, math.nan])
    loss = tagger.head.loss
    monkeypatch.setattr(tagger.head, "loss", lambda *given: loss(*given) * next(factors))
    with pytest.raises(TrainingError, match=r"the loss is nan \(epoch 1, batch 4, step 2\)"):
        train(tagger, make_loader(), adamw(tagger), accumulation=2)


@pytest.mark.usefixtures("float64")
@EVERY_HEAD
def test_predictions_come_in_the_order_of_the_examples(make_tagger, make_loader, head):
    tagger = make_tagger(head, seed=2)
    with torch.no_grad():
        for parameter in tagger.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    sentences = SENTENCES[::-1] + SENTENCES[2:4]
    loader = make_loader(sentences=sentences, seed=None)
    found, loss = predict(tagger, loader, device=CPU)
    assert len(found) == len(sentences)
    assert len(loader) > 1
    assert any(answer["spans"] for answer in found)
    losses = 0.0
    for sentence, answer in zip(sentences, found, strict=True):
        (alone,), its_loss = predict(tagger, make_loader(sentences=[sentence], seed=None), device=CPU)
        spans, own = answer["spans"], alone["spans"]
        assert [s.span for s in spans] == [s.span for s in own]
        assert [s.score for s in spans] == pytest.approx([s.score for s in own])
        losses += its_loss * len(sentence.tokens)
    assert loss == pytest.approx(losses / sum(len(s.tokens) for s in sentences))
    without_gold, no_loss = predict(tagger, make_loader(sentences=sentences, gold=False), device=CPU)
    assert no_loss is None
    spans, same = ([[s.span for s in answer["spans"]] for answer in one] for one in (found, without_gold))
    assert same == spans


def test_prediction_has_no_dropout_and_leaves_no_gradient(make_tagger, make_loader):
    tagger, loader = make_tagger(dropout=0.5), make_loader()
    tagger.train()
    first, second = (predict(tagger, loader, device=CPU) for _ in range(2))
    assert first == second
    assert all(parameter.grad is None for parameter in tagger.parameters())


def test_nothing_to_predict(make_tagger, make_loader):
    assert predict(make_tagger(), make_loader(sentences=[], seed=None), device=CPU) == ([], None)


def test_no_weight_of_an_earlier_prediction_is_kept(make_tagger, make_loader):
    """Within one prediction what bf16 makes of a weight is kept; the weights may be others in the next."""
    tagger, loader = make_tagger(), make_loader()
    tagger.precision = "bf16"
    found = []
    for shift in (0.0, 0.5, -0.5):
        with torch.no_grad():
            for parameter in tagger.parameters():
                parameter.add_(shift)
        found.append(predict(tagger, loader, device=CPU))
    assert found[0] != found[1]
    assert found[0][1] == pytest.approx(found[2][1], rel=1e-4)
    assert not torch.is_autocast_enabled("cpu")


def fit(batches, **options) -> tuple[torch.nn.Linear, Progress]:
    """A linear model after one optimiser step on the mean output over all rows of the batches."""
    torch.manual_seed(0)
    model, progress = torch.nn.Linear(3, 1), Progress()
    n_rows = sum(map(len, batches))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    options = {"n_batches": len(batches)} | options
    update = Update(optimizer, clip_grad=options.pop("clip_grad", 0.0))
    optimiser_step(model, batches, lambda x: model(x).sum() / n_rows, update, progress, **options)
    return model, progress


def test_one_step_is_the_gradient_of_the_mean_over_all_batches():
    rows = torch.arange(18.0).view(6, 3)
    before, _ = fit([rows], check=lambda: None, clip_grad=1e-30)
    whole, _ = fit([rows])
    parts, progress = fit([rows[:1], rows[1:3], rows[3:]])
    torch.testing.assert_close(whole.weight, before.weight - rows.mean(0))
    torch.testing.assert_close(parts.weight, whole.weight)
    assert (progress.step, progress.batch) == (1, 3)


def test_a_check_that_fails_leaves_the_weights_alone():
    rows, seen = torch.ones(2, 3), []
    torch.manual_seed(0)
    model, progress = torch.nn.Linear(3, 1), Progress()
    before = model.weight.detach().clone()

    def check():
        seen.append(model.weight.grad.clone())
        raise TrainingError("no")

    update = Update(torch.optim.SGD(model.parameters(), lr=1.0))
    with pytest.raises(TrainingError):
        optimiser_step(model, [rows], lambda x: model(x).mean(), update, progress, n_batches=1, check=check)
    assert seen[0].any()
    assert torch.equal(model.weight, before)
    assert (progress.step, progress.batch) == (0, 0)
