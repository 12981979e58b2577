import shutil
import time

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import inputs, timing
from ner.encoders import Bert

TINY = inputs.SIZES["tiny"]


def test_arms_take_turns_and_the_first_pass_is_not_counted():
    ran = []

    def arm(name, seconds):
        left = iter(seconds)

        def run():
            ran.append(name)
            return next(left), f"{name} {len(ran)}"

        return run

    arms = {"a": arm("a", [9.0, 1.0, 2.0, 6.0]), "b": arm("b", [8.0, 4.0, 3.0, 5.0])}
    measured = timing.interleave(arms, rounds=3)
    assert ran == list("abbaabba")
    assert measured["a"].seconds == [1.0, 2.0, 6.0]
    assert (measured["a"].first, measured["b"].first) == (9.0, 8.0)
    assert (measured["a"].median, measured["b"].median) == (2.0, 4.0)
    assert (measured["a"].result, measured["b"].result) == ("a 1", "b 2")


def test_an_arm_is_timed_as_a_whole():
    seconds, result = timing.timed(lambda: time.sleep(0.05) or "done")()
    assert result == "done"
    assert 0.05 <= seconds < 5


def test_evenly_spaced():
    items = list(range(100))
    assert timing.evenly_spaced(items, lambda x: -x, 4) == [87, 62, 37, 12]
    assert timing.evenly_spaced(items, float, 1) == [50]
    assert timing.evenly_spaced(items[:3], float, 9) == items[:3]
    assert timing.evenly_spaced([], float, 2) == []
    assert np.mean(timing.evenly_spaced(items, float, 10)) == pytest.approx(np.mean(items), abs=1)


@pytest.mark.parametrize("shape", [(3, 8), (1, 24)])
def test_flop_equal_torchs_count(shape):
    encoder = Bert(Bert.Config(**TINY), vocab_size=10).eval()
    ids = torch.ones(shape, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(ids, ids.bool())
    assert timing.forward_flop(TINY, [shape]) == counter.get_total_flops()
    assert timing.forward_flop(TINY, [shape, shape]) == 2 * counter.get_total_flops()


def test_the_ceiling_is_matrix_products_only():
    arm = timing.ceiling(TINY, 8, torch.device("cpu"))
    seconds, per_second = arm()
    assert per_second * seconds == pytest.approx(arm.flop)
    without_attention = timing.forward_flop(TINY, [(8, 1)]) / 2 - 8 * 4 * TINY["hidden_size"]
    assert arm.flop == without_attention  # of one of the two layers


def test_peak_memory_is_the_maximum():
    before = timing.peak_memory()
    array = np.ones(before // 8 + 25_000_000)  # 200 MB more than before
    del array
    assert timing.peak_memory() >= before + 150_000_000


def test_a_separate_process(sample, tmp_path):
    folder = shutil.copytree(sample, tmp_path / "set")
    inputs.vocabulary().save(folder)
    values = {"arm": "this code", "data_dir": str(folder), "threads": 1, "started": time.time()}
    found = timing.in_process("benchmarks.startup", values)
    n_tokens = len((sample / "train" / "sentences.txt").read_text(encoding="utf-8").split())
    assert found["n_pieces"] == n_tokens  # a set of characters
    assert 0 < found["first_epoch"] < found["seconds"]
    assert found["peak_memory"] > 50e6


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="AttributeError"):
        timing.in_process("benchmarks.startup", {"arm": "no such"})
