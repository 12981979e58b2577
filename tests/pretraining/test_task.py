"""A run of pretraining: losses, rates, metrics, checkpoints and its end."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from ner.errors import TrainingError
from ner.pretraining.params import PretrainConfig
from ner.pretraining.plaintext import open_text
from ner.pretraining.rows import MaskedLoader, Stream, hold_out
from ner.pretraining.task import Pretraining, evaluate, perplexity
from ner.training.optim import build_optimizer, parameter_groups
from ner.training.run import restore
from ner.training.run import run as run_task
from ner.training.step import Update

CPU = torch.device("cpu")


@pytest.fixture
def make_run(make_model, text_file, tmp_path):
    """`make_run(clock=..., **config)`: a run over the patterned text."""

    def make(*, clock=None, precision="fp32", model=None, tagged=(), plain=None, **options) -> Pretraining:
        known = {"block_len": 32, "batch_tokens": 256, "learning_rate": 0.01, "packing": "lines"}
        config = PretrainConfig(**(known | {"eval_steps": 50, "save_steps": 100} | options))
        model = model or make_model(
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2
        )
        model.lm.precision = precision
        plain = [text_file] if plain is None else plain
        text = open_text(plain, model.tokenizer, "char", tmp_path / "cache", tagged)
        model.lm.guess_tags(text.tag_names)
        train, held_out = (Stream(text, lines) for lines in hold_out(text.n_lines))
        rates = {"learning_rate": config.learning_rate, "head_learning_rate": config.learning_rate}
        return Pretraining(
            directory=tmp_path,
            config=config,
            model=model,
            update=Update(
                build_optimizer(parameter_groups(model.lm, weight_decay=0.01, **rates)),
                torch.amp.GradScaler("cpu", enabled=precision == "fp16"),
                config.clip_grad,
            ),
            train=MaskedLoader(train, model.tokenizer, config, seed=1),
            val=MaskedLoader(held_out, model.tokenizer, config),
            device=CPU,
            **({"clock": clock} if clock else {}),
        )

    return make


def read_metrics(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_learns_and_says_so(make_run, tmp_path):
    run = make_run(max_steps=100)
    run_task(run)
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [50, 100]
    for line in lines:
        assert list(line) == [
            *("step", "minutes", "tokens", "train_loss", "val_loss", "val_perplexity"),
            *("val_masked_accuracy", "learning_rate", "tokens_per_second"),
        ]
        assert line["val_perplexity"] == pytest.approx(math.exp(line["val_loss"]))
    uniform = math.log(len(run.model.tokenizer))
    assert lines[-1]["val_loss"] < lines[0]["val_loss"] < uniform
    assert lines[-1]["train_loss"] < uniform - 0.4
    assert lines[-1]["val_masked_accuracy"] > 0.4
    assert lines[-1]["tokens"] == pytest.approx(100 * 160, rel=0.1)
    assert (tmp_path / "best").resolve() == (tmp_path / "last").resolve() == tmp_path / "checkpoints/step-100"
    held_out = evaluate(run.model.lm, run.val, device=CPU)
    assert held_out["loss"] == lines[-1]["val_loss"]
    assert held_out["masked_accuracy"] == lines[-1]["val_masked_accuracy"]


@pytest.mark.usefixtures("float64")
def test_losses_are_means_over_all_that_was_hidden(make_run):
    run = make_run(max_steps=1, batch_tokens=64)
    lm, batches = run.model.lm, [make_batch() for make_batch in run.val.epoch(0)]
    assert len(batches) > 1
    with torch.no_grad():
        guesses = [lm(*batch.inputs("cpu")) for batch in batches]
    n = sum(len(batch.labels) for batch in batches)
    held_out = evaluate(lm, run.val, device=CPU)
    assert held_out == {
        "loss": pytest.approx(sum(g.loss.item() for g in guesses) / n),
        "masked_accuracy": pytest.approx(sum(g.n_correct.item() for g in guesses) / n),
        "tag_loss": 0.0,
        "tag_accuracy": 0.0,
    }


@pytest.mark.usefixtures("float64")
def test_tag_losses_are_means_over_all_tags(make_run, text_file, tagged_file):
    run = make_run(max_steps=1, batch_tokens=64, tagged=[tagged_file])
    lm, batches = run.model.lm, [make_batch() for make_batch in run.val.epoch(0)]
    assert len({batch.n_tags for batch in batches}) > 2
    loss, n_correct, n = 0.0, 0, 0
    with torch.no_grad():
        for batch in batches:
            scores = lm.tag_head(lm.encoder(batch.piece_ids, batch.piece_mask))
            for row, tags in zip(scores.log_softmax(-1), batch.tags.tolist(), strict=True):
                for logs, tag in zip(row, tags, strict=True):
                    if tag > 0:
                        loss -= logs[tag - 1].item()
                        n_correct += int(logs.argmax()) == tag - 1
                        n += 1
    held_out = evaluate(lm, run.val, device=CPU)
    assert held_out["tag_loss"] == pytest.approx(loss / n)
    assert held_out["tag_accuracy"] == pytest.approx(n_correct / n)
    # some lines held out have no tags, all others one a piece
    assert 0 < n < sum(batch.n_pieces for batch in batches)


def test_learns_tags_and_says_so(make_run, tagged_file, tmp_path):
    run = make_run(max_steps=100, plain=[], tagged=[tagged_file])
    run_task(run)
    lines = read_metrics(tmp_path)
    assert [list(line)[-3:] for line in lines] == [["train_tag_loss", "val_tag_loss", "val_tag_accuracy"]] * 2
    assert run.model.lm.tag_names == ("B-single", "B-double", "I-double", "B-triple", "I-triple")
    first, last = lines
    assert last["val_tag_loss"] < first["val_tag_loss"] < math.log(5)
    assert last["train_tag_loss"] < first["train_tag_loss"] < math.log(5) + 0.3
    assert last["val_tag_accuracy"] > 0.5
    assert last["val_loss"] < math.log(len(run.model.tokenizer))
    held_out = evaluate(run.model.lm, run.val, device=CPU)
    assert held_out["tag_loss"] == last["val_tag_loss"]
    assert held_out["tag_accuracy"] == last["val_tag_accuracy"]


@pytest.mark.usefixtures("float64")
def test_the_training_loss_of_tags_is_a_mean_over_tags(make_run, tagged_file, tmp_path):
    run = make_run(max_steps=1, tagged=[tagged_file], gradient_accumulation_steps=3)
    group = next(run.groups())
    with torch.no_grad():
        losses = [run.model.lm(*batch.inputs("cpu")).tag_loss.item() for batch in group]
    run_task(run)
    (line,) = read_metrics(tmp_path)
    n_tags = sum(int((batch.tags > 0).sum()) for batch in group)
    assert line["train_tag_loss"] == pytest.approx(sum(losses) / n_tags)


@pytest.mark.usefixtures("float64")
def test_accumulated_batches_weigh_by_their_hidden_pieces(make_run):
    run = make_run(max_steps=1, gradient_accumulation_steps=5, clip_grad=0)
    group = next(run.groups())
    assert len({len(batch.labels) for batch in group}) > 1
    run.masking_step(group, 0.0)
    lm = run.model.lm
    found = {name: p.grad.clone() for name, p in lm.named_parameters()}
    lm.zero_grad()
    losses = torch.stack([lm(*batch.inputs("cpu")).loss for batch in group])
    (losses.sum() / sum(len(batch.labels) for batch in group)).backward()
    for name, parameter in lm.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


@pytest.mark.usefixtures("float64")
def test_accumulated_batches_weigh_by_their_tags(make_run, tagged_file):
    run = make_run(
        max_steps=1, gradient_accumulation_steps=5, clip_grad=0, tag_weight=0.3, tagged=[tagged_file]
    )
    group = next(run.groups())
    n_masked = sum(len(batch.labels) for batch in group)
    n_tags = sum(int((batch.tags > 0).sum()) for batch in group)
    assert len({batch.n_tags / len(batch.labels) for batch in group}) > 2
    run.masking_step(group, 0.0)
    lm = run.model.lm
    found = {name: p.grad.clone() for name, p in lm.named_parameters()}
    lm.zero_grad()
    loss = 0.0
    for batch in group:
        loss = loss + lm(*batch.inputs("cpu")[:4]).loss / n_masked
        scores = lm.tag_head(lm.encoder(batch.piece_ids, batch.piece_mask)).flatten(0, 1)
        known = batch.tags.flatten() > 0
        tag_loss = nn.functional.cross_entropy(
            scores[known], batch.tags.flatten()[known] - 1, reduction="none"
        )
        loss = loss + 0.3 * tag_loss.sum() / n_tags
    loss.backward()
    assert found["tag_head.weight"].any()
    for name, parameter in lm.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


@pytest.mark.usefixtures("float64")
def test_tags_of_no_weight_teach_nothing(make_run, tagged_file):
    run = make_run(max_steps=1, clip_grad=0, tag_weight=0, tagged=[tagged_file])
    group = next(run.groups())
    run.masking_step(group, 0.0)
    lm = run.model.lm
    found = {name: p.grad.clone() for name, p in lm.encoder.named_parameters()}
    assert not lm.tag_head.weight.grad.any()
    lm.zero_grad()
    (lm(*group[0].inputs("cpu")[:4]).loss / len(group[0].labels)).backward()
    for name, parameter in lm.encoder.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)


def test_an_epoch_gives_every_batch_once_and_then_the_next_begins(make_run):
    run = make_run(max_steps=1, gradient_accumulation_steps=2)
    n_batches = len(run.train.epoch(0))
    groups, sizes = run.groups(), []
    while run.progress.epoch == 0:
        group = next(groups)
        if run.progress.epoch == 0:
            sizes.append(len(group))
            run.progress.batch += len(group)
    assert sum(sizes) == n_batches
    assert sizes[:-1] == [2] * (len(sizes) - 1)


def test_rate_by_steps(make_run):
    run = make_run(max_steps=10, warmup=0.2)
    rates = []
    for run.progress.step in range(10):
        rates.append(run.rate())
    assert np.argmax(rates) == 2
    assert rates[2] == 1.0
    assert 0 < rates[9] < rates[8] < 1
    assert min(rates) > 0


def test_rate_and_end_by_time(make_run, tmp_path):
    seconds = [0.0]

    def clock():
        seconds[0] += 3.0
        return seconds[0]

    run = make_run(clock=clock, max_minutes=2.0, max_steps=1, warmup=0.25, eval_steps=10, learning_rate=1.0)
    rates = []
    step = run.masking_step
    run.masking_step = lambda group, rate: rates.append(rate) or step(group, 0.01 * rate)
    run_task(run)
    # every step takes 3 of 120 seconds, every evaluation too
    assert len(rates) == 37
    assert run.record.seconds >= 120
    assert rates[0] < 0.001
    assert rates[5] == pytest.approx(15 / 30, abs=0.001)
    assert max(rates) > 0.95
    assert rates[-1] < 0.05
    lines = read_metrics(tmp_path)
    assert [line["step"] for line in lines] == [10, 20, 30, 37]
    assert lines[0]["minutes"] == 0.55
    assert lines[-1]["minutes"] == 2.05


def test_time_goes_on_where_it_stopped(make_run, tmp_path):
    def make(*, stop_after=None):
        seconds = [0.0]

        def clock():
            seconds[0] += 1.0
            if stop_after and seconds[0] > stop_after:
                raise KeyboardInterrupt
            return seconds[0]

        return make_run(clock=clock, max_minutes=0.5, save_steps=5, eval_steps=5)

    with pytest.raises(KeyboardInterrupt):
        run_task(make(stop_after=17))
    run = make()
    restore(run, (tmp_path / "last").resolve())
    assert run.record.seconds == 12
    assert run.share_done() == pytest.approx(12 / 30)
    run_task(run)
    assert run.progress.step == 10 + 15
    assert [line["step"] for line in read_metrics(tmp_path)] == [5, 10, 15, 20, 25]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_learns(make_run, tmp_path, precision):
    run_task(make_run(max_steps=40, eval_steps=20, precision=precision))
    first, last = read_metrics(tmp_path)
    assert last["val_loss"] < first["val_loss"]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_learns_tags(make_run, tagged_file, tmp_path, precision):
    run_task(make_run(max_steps=40, eval_steps=20, precision=precision, tagged=[tagged_file]))
    first, last = read_metrics(tmp_path)
    assert last["val_tag_loss"] < first["val_tag_loss"]


def test_a_loss_that_is_not_finite_ends_the_run(make_run, tmp_path):
    run = make_run(max_steps=5)
    with torch.no_grad():
        run.model.lm.predictions.bias[7] = float("nan")
    with pytest.raises(TrainingError, match=r"the loss is nan \(epoch 1, batch 1, step 1\)"):
        run_task(run)
    assert not (tmp_path / "checkpoints").exists()


def test_so_does_a_loss_of_tags(make_run, tagged_file):
    run = make_run(max_steps=1, tagged=[tagged_file])
    with torch.no_grad():
        run.model.lm.tag_head.bias[1] = float("nan")
    with pytest.raises(TrainingError, match="the loss is nan"):
        run_task(run)


def test_perplexity():
    assert perplexity(math.log(7)) == pytest.approx(7)
    assert perplexity(1e4) == math.inf
