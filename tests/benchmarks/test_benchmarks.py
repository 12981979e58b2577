"""Every benchmark runs once with --quick: all arms run, and their checks hold."""

import json

import pytest

from benchmarks import crf, data, infer, lengths, shares, startup, stream, train
from ner.errors import DataError
from tests.factories import needs_fused_bf16


@pytest.fixture
def quick(run_main, sample, tmp_path):
    """`quick(module)` returns the tables in their order, and the printed text."""

    def start(module, *argv):
        out = tmp_path / "out.json"
        ended = run_main(module, "--quick", "--data_dir", sample, "--threads", 1, "--out", out, *argv)
        assert ended.code == 0, ended.err
        return json.loads(out.read_text(encoding="utf-8"))["tables"], ended.out

    return start


@needs_fused_bf16  # the rivals compute in it
def test_train(quick):
    pytest.importorskip("accelerate")
    [table], printed = quick(train)
    arms = [train.ANCESTOR, train.TRAINER, train.GROUPED, train.OURS]
    assert [row["training"] for row in table["rows"]] == arms
    assert all(f"| {name} |" in printed for name in arms)
    truth, losses = table["losses"][train.ANCESTOR], table["losses"]
    for name, tolerance in ((train.EXACT, 1e-5), (train.OURS, 1e-2), (train.TRAINER, 1e-2)):
        assert losses[name]["loss"] == pytest.approx(truth["loss"], rel=tolerance)
        assert losses[name]["gradient_norm"] == pytest.approx(truth["gradient_norm"], rel=tolerance)
    for trained in table["trained"].values():
        assert trained["n_tokens"] + 2 * len(trained["lengths"]) == sum(trained["lengths"])
        assert sum(trained["lengths"]) <= trained["n_fed"]
    assert all(len(seconds["counted"]) == 1 for seconds in table["seconds"].values())


@needs_fused_bf16  # the rivals compute in it
def test_infer(quick):
    pytest.importorskip("transformers")
    [table], printed = quick(infer)
    agreement = table["tags_as_hf_fp32"]
    assert agreement["HF pipeline"] == agreement["this code, fp32"] == 1.0
    assert min(agreement.values()) > 0.95
    assert table["sentences"]["tagged"] == 24
    assert set(table["seconds"]) == set(agreement) - {"this code, fp32"}
    assert "bf16 ceiling: " in printed


def test_data(quick):
    pytest.importorskip("transformers")
    [features, scores], _ = quick(data)
    checks = {row["check"] for row in features["rows"] if "HF" in str(row)}
    assert checks == {"92 of 100 sentences identical, 8 more except for dropped tokens"}  # white space
    assert {row["check"] for row in scores["rows"]} == {"figures identical"}


def test_crf(quick):
    [table, share], _ = quick(crf)
    assert [row["check"] for row in table["rows"][1::3]] == ["100.0% of paths identical"] * 2
    for row in table["rows"][::3]:
        assert all(float(x) < 1e-4 for x in row["check"].removeprefix("off by ").split(", "))
    assert len(share["rows"]) == 1


def test_shares(quick):
    """Three tries: only milliseconds are measured, and other work on the machine falls on one kind."""
    for _ in range(3):
        [table], _ = quick(shares)
        columns = table["shares"].values()
        if all(max(column.values()) < 0.95 and column[shares.PRODUCTS] > 0.01 for column in columns):
            break
    assert list(table["shares"]) == ["training, tiny", "prediction, tiny"]
    for column in columns:
        assert sum(column.values()) == pytest.approx(1.0)
        assert all(0 <= share < 0.95 for share in column.values())
        assert column[shares.PRODUCTS] > 0.01
    assert table["rows"][0]["of the time"] == shares.PRODUCTS


@pytest.mark.slow
def test_stream(quick):
    [table], _ = quick(stream)
    assert [row["predict.py"] for row in table["rows"]] == ["0.01 MB", "0.02 MB"]
    assert {row["check"] for row in table["rows"]} == {"every line, in order"}


@pytest.mark.parametrize("module", [train, infer, data, startup], ids=lambda m: m.__name__)
def test_without_transformers_the_rivals_are_left_out(module, quick, no_transformers):
    tables, printed = quick(module)
    assert printed.startswith("without transformers")
    assert "(requirements-dev.txt)" in printed.splitlines()[0]
    arms = [next(iter(row.values())) for row in tables[0]["rows"]]
    assert len(arms) == 1
    assert "this code" in arms[0]


@pytest.mark.slow
@pytest.mark.parametrize("module", [lengths, startup], ids=lambda m: m.__name__)
def test_in_processes(module, quick):
    pytest.importorskip("transformers")
    [table], _ = quick(module)
    ours, theirs = ([row for row in table["rows"] if name in str(row)] for name in ("this code", "HF "))
    assert len(ours) == len(theirs) > 0
    if module is lengths:
        assert all(float(row["loss off by"]) < 1e-2 for row in ours)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:dynamo_pgo")  # torch's own
def test_infer_compiled(quick):
    pytest.importorskip("transformers")
    [table], _ = quick(infer, "--compile")
    assert table["tags_as_hf_fp32"][infer.COMPILED] > 0.99


def test_a_missing_data_set_is_one_line(run_main, tmp_path):
    ended = run_main(data, "--quick", "--data_dir", tmp_path / "none")
    assert ended.code == 2
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("module", "name", "value"),
    [
        (train, "rounds", 0),
        (train, "max_len", 513),
        (lengths, "lengths", 2),
        (data, "sentences", -1),
        (stream, "megabytes", "nan"),
    ],
)
def test_numbers_out_of_bounds_are_refused(module, name, value):
    with pytest.raises(DataError, match=f"--{name} {value}: expected"):
        module.parse_args([f"--{name}", str(value)])
