import pytest

import predict
from ner.errors import DataError
from ner.inference.predict import compile_encoder
from ner.model.directory import load
from tests.test_predict import ODD_LINES, check_entities, lines_of, without_scores, write_model


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
def test_a_compiled_encoder_says_the_same(tmp_path, run_main):
    """Texts of many lengths, and of more than a window, through one compiled program."""
    model_dir = write_model(tmp_path / "model")
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(ODD_LINES * 2 + ["中国北京" * n for n in range(1, 12)]), encoding="utf-8")
    options = ["--model_dir", model_dir, path, "--batch_tokens", 90]
    plain, compiled = (lines_of(run_main(predict, *options, *more)) for more in ([], ["--compile"]))
    for before, after in zip(plain, compiled, strict=True):
        check_entities(after)
        assert without_scores(after) == without_scores(before)
        scores = [[entity["score"] for entity in line["entities"]] for line in (before, after)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_it_is_refused_where_it_cannot_be(tmp_path, run_main, monkeypatch):
    options = ["--text", "王", "--compile"]
    ended = run_main(predict, "--model_dir", write_model(tmp_path / "lstm", encoder="lstm"), *options)
    assert (ended.code, ended.out) == (2, "")
    assert "--compile: expected BERT or a relative of it" in ended.err
    model = load(write_model(tmp_path / "bert"))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("no such compiler",))
    with pytest.raises(DataError, match="compiler found"):
        compile_encoder(model.tagger)
