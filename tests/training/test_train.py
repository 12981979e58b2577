"""What a run says before it begins."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from ner.training import train


@pytest.mark.parametrize(("n_tokens", "says"), [(1000, False), (5000, True)])
def test_sentences_that_are_documents_are_named_in_the_log(monkeypatch, caplog, n_tokens, says):
    monkeypatch.setattr(train, "n_layers_of", lambda tagger: 12)
    examples = type("Three", (), {"token_ends": np.arange(4) * n_tokens, "__len__": lambda self: 3})()
    task = SimpleNamespace(
        train=SimpleNamespace(examples=examples, batch_tokens=160_000),
        model=SimpleNamespace(tagger=SimpleNamespace(encoder=SimpleNamespace(width=768))),
        steps_an_epoch=5,
    )
    with caplog.at_level(logging.INFO), caplog.filtering(logging.Filter()):
        monkeypatch.setattr(train.log, "propagate", True)
        train.log_long_sentences(task, "bf16")
    line = (
        "5,000 tokens a sentence of train, as if whole documents: 160,000 pieces a batch, 5 steps an epoch, "
    )
    line += "about 50.1 GB while a transformer learns; --split_lines"
    assert (line in caplog.text) == says
    assert bool(caplog.text) == says
