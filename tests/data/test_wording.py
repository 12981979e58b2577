"""Phrases of messages: counts, lists of lines, excerpts, aligned columns."""

from ner.data.wording import align_columns, count_noun, excerpt, list_lines, quote


def test_a_count_has_its_noun():
    assert count_noun(1, "line") == "1 line"
    assert count_noun(2000, "line") == "2,000 lines"
    assert count_noun(0, "entity", "entities") == "0 entities"


def test_lines_are_listed_up_to_ten():
    assert list_lines([3, 3]) == "line 3"
    assert list_lines([3, 5]) == "lines 3, 5"
    assert list_lines(range(1, 2000)).endswith("9, 10 and 1,989 more")


def test_long_text_is_truncated_and_stays_on_one_line():
    assert quote("a\n") == r"'a\n'"
    assert quote("x" * 20) == repr("x" * 20)
    assert quote("x" * 21) == repr("x" * 19 + "…")
    assert excerpt("a\u200b\n") == r"a\u200b\u000a"
    assert excerpt("x" * 61) == "x" * 59 + "…"


def test_columns_are_aligned_by_their_width_in_a_terminal():
    assert align_columns([["", "a"], ["人名", "10"], ["b", "-"]]) == "       a\n人名  10\nb      -"
