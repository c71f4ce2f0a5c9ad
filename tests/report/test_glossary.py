"""Words are explained once, where they first stand, and alike in pages and documentation."""

import re
from pathlib import Path

from markupsafe import escape

from rational_icl.report.glossary import WORDS, explained

GLOSSARY = Path(__file__).parent.parent.parent / "docs" / "glossary.md"


def told(text: str) -> list[str]:
    return re.findall("<abbr title=[^>]*>([^<]*)</abbr>", text)


def test_a_word_is_explained_where_it_first_stands_only():
    first, second = explained(["Of 3 accounts an account wins in held out cells.", "One account."])
    assert told(first) == ["accounts", "held out", "cells"]
    assert told(second) == []
    assert str(escape(WORDS["account"])) in first


def test_parts_of_names_and_of_other_words_are_left_alone():
    (text,) = explained(["constant_account runs rational-gap a subaccount and accountant, gapless"])
    assert told(text) == ["runs"]


def test_the_longest_word_is_meant_and_plurals_are_too():
    (text,) = explained(["Best mixtures of task diversities; strategies in their settings"])
    assert told(text) == ["Best mixtures", "task diversities", "strategies", "settings"]


def test_letters_that_only_look_alike_are_no_words():
    (text,) = explained(["runſ and cellſ"])
    assert told(text) == []


def test_markup_in_a_text_stays_text():
    (text,) = explained(["<script>account</script> & \"run\" 'cell'"])
    assert "<script>" not in text
    assert told(text) == ["account", "run", "cell"]
    assert text.startswith("&lt;script&gt;<abbr")


def test_documentation_has_the_same_words_and_meanings():
    rows = re.findall(r"(?m)^\| \*\*(.+?)\*\* \| (.+) \|$", GLOSSARY.read_text(encoding="utf-8"))
    assert dict(rows) == WORDS
