"""audit.md, audit.json and the summary."""

import json

from ner.data.audit import CHECKS, Finding, audit
from ner.data.audit.report import N_LISTED, WORDS, as_files, as_page, summary


def test_clean_data_have_no_findings(make_corpus):
    corpus = make_corpus(train=["北京", "上海"], test=["南京"])
    found = audit(corpus)
    assert summary(corpus, found) == ["audit: nothing found"]
    assert as_page(corpus, found).count("##") == 0


def test_the_page_is_truncated_and_the_json_is_complete(make_corpus):
    corpus = make_corpus(train=["北京"])
    findings = [Finding(f"f{i}", [f"x:{j}" for j in range(i)], {"i": i}) for i in range(1, 2 * N_LISTED)]
    found = {name: [] for name in CHECKS} | {"markup_remains": findings}
    lines = as_page(corpus, found).splitlines()
    assert sum(line.startswith("    x:0: f") for line in lines) == N_LISTED
    assert f"And {N_LISTED - 1} more." in lines
    assert "    x:0: f1" in lines
    assert "    x:0: f3 (also x:1, x:2)" in lines
    assert "    x:0: f9 (also x:1, x:2, 6 more)" in lines
    values = json.loads(as_files(corpus, found)["audit.json"])
    assert values["counts"]["markup_remains"] == len(findings)
    assert [len(f["places"]) for f in values["findings"]["markup_remains"]] == list(range(1, 2 * N_LISTED))


def test_every_check_has_its_words():
    assert list(WORDS) == list(CHECKS)
