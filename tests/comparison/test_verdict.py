"""Verdicts in words and as records, on excess divergences made by hand."""

import json
from contextlib import suppress

import numpy as np
import pandas as pd
import pytest

from rational_icl import accounts
from rational_icl._arrays import json_value
from rational_icl._errors import FitError
from rational_icl.comparison.verdict import Question, Verdict, percent

FLOOR = "constant_weights"
THEORY = {"theory": True, "second": True, "surface": False, FLOOR: False}


def question(
    shares: dict[str, list[float]], scheme: str = "leave_one_num_tasks_out", failed=None
) -> Question:
    """From shares of the gap that accounts leave by task diversity, best account first."""
    units = len(next(iter(shares.values())))
    index = pd.Index(2 ** np.arange(2, units + 2), name="num_tasks")
    excess = pd.DataFrame({FLOOR: np.ones(units), **shares}, index=index)
    excess = excess[excess.mean().sort_values(kind="stable").index]
    return Question.of_excess(scheme, excess, FLOOR, THEORY, failed or {})


BAD, GOOD = [0.05, 0.06, 0.04, 0.05, 0.06], [0.01, 0.012, 0.011, 0.01, 0.009]


@pytest.mark.parametrize(
    ("theory", "surface", "verdict", "answer"),
    [
        (GOOD, BAD, "better", "Yes"),
        (BAD, GOOD, "worse", "No"),
        (GOOD, [one + 1e-4 for one in GOOD], "equivalent", "level"),
        ([0.1, 0.0, 0.2, 0.05, 0.0], [0.0, 0.12, 0.0, 0.1, 0.2], "undecided", "Undecided"),
    ],
)
def test_whether_a_theory_beats_what_has_none(
    theory: list[float], surface: list[float], verdict: str, answer: str
):
    asked = question({"theory": theory, "second": [0.5] * 5, "surface": surface})
    assert asked.theory_verdict == verdict
    assert asked.best_theory == "theory"
    assert asked.best_benchmark == "surface"
    assert answer in asked.text.split("Does a theory beat")[1]
    assert asked.num_tasks == (4, 8, 16, 32, 64)
    assert set(asked.against_benchmark["account"]) == {"theory", "second"}
    assert (asked.against_benchmark["reference"] == "surface").all()
    assert len(asked.against_best) == 3


def test_sentences_hold_the_numbers():
    asked = question({"theory": BAD, "second": [0.2] * 5, "surface": GOOD})
    row = asked.against_best.set_index("account").loc["theory"]
    assert row["verdict"] == "worse"
    text = asked.text
    for words in (
        "With each task diversity left out in turn (5), surface leaves least of the gap: 1 %",
        "Worse: theory, second, constant_weights",
        "theory, leaves 5.2 %, 4.2 points more than surface (90 %: 3.3 to 5",
        "at 5 of 5 D (p = 0.062; Holm over 3: 0.19)",
        "Holm over 2: 0.12)",
    ):
        assert words in text, words
    better = question({"theory": GOOD, "surface": BAD}).text
    assert "4.2 points less than surface (90 %: 3.3 to 5" in better
    assert "at 5 of 5 D" in better


def test_few_units_give_no_verdict_and_say_so():
    asked = question({"theory": BAD[:2], "surface": GOOD[:2]}, "small_num_tasks")
    assert asked.problem == "2 scored task diversities; a verdict needs 5"
    assert asked.theory_verdict == "no verdict"
    assert (asked.against_best["verdict"] == "no verdict").all()
    assert "no verdict (2 scored" in asked.text
    assert "surface 1.1 %" in asked.text  # what was measured is still told


def test_failed_accounts_are_named_and_enter_nothing():
    asked = question({"theory": BAD, "surface": GOOD}, failed={"second": "weights not finite"})
    assert asked.failed == {"second": "weights not finite"}
    assert "second (weights not finite)" in asked.text
    assert "second" not in set(asked.against_best["account"])
    assert asked.text.split(" Not ranked")[0] == question({"theory": BAD, "surface": GOOD}).text


def test_accounts_of_one_kind_are_not_set_against_the_other():
    asked = Question.of_excess(
        "late_steps",
        pd.DataFrame({"surface": GOOD, FLOOR: np.ones(5)}, index=pd.RangeIndex(5)),
        FLOOR,
        THEORY,
        {},
    )
    assert asked.best_theory == ""
    assert asked.theory_verdict == "no verdict"
    assert "Does a theory" not in asked.text


def test_all_accounts_may_fail():
    empty = pd.DataFrame(index=pd.Index([], name="num_tasks"))
    failed = {FLOOR: "broken", "theory": "too"}
    asked = Question.of_excess("late_steps", empty, FLOOR, THEORY, failed)
    assert "no account could be fitted" in asked.text
    assert json.loads(json.dumps(json_value(Verdict((asked,)).to_json()), allow_nan=False))


def test_the_verdict_is_text_a_table_and_records():
    asked = (
        question({"theory": BAD, "second": [0.2] * 5, "surface": GOOD}),
        question({"theory": BAD[:2], "surface": GOOD[:2]}, "large_num_tasks"),
    )
    verdict = Verdict(asked)
    assert str(verdict) == verdict.text == "\n".join(one.text for one in asked)
    assert verdict["large_num_tasks"] is asked[1]
    with pytest.raises(KeyError):
        verdict["late_steps"]
    table = verdict.table
    assert list(table)[:3] == ["scheme", "against", "account"]
    assert len(table) == 3 + 2 + 2 + 1
    records = json.loads(json.dumps(json_value(verdict.to_json()), allow_nan=False))
    assert [one["scheme"] for one in records] == ["leave_one_num_tasks_out", "large_num_tasks"]
    first, second = records
    assert first["best"] == "surface"
    assert first["theory_verdict"] == "worse"
    assert first["units"] == 5
    assert second["against_best"][0]["p"] is None
    assert second["problem"]
    assert verdict.summary["theory_verdict"].tolist() == ["worse", "no verdict"]


def test_accounts_know_whether_they_are_theories():
    of_two = {"logistic", "logistic_surface", "logistic_surface_curved", "scaling_collapse", FLOOR}
    of_more = {"multinomial_surface", "multinomial_surface_curved", FLOOR}
    two, three = ("memorizing", "generalizing"), ("memorizing", "generalizing", "constant")
    for strategies, bare in ((two, of_two), (three, of_more)):
        made = []
        for name in accounts.names():
            with suppress(FitError):  # which says how many it is of
                made.append(accounts.make(name, strategies))
        assert {account.name for account in made if not account.theory} == bare


def test_shares_are_written_without_exponents():
    written = [percent(share) for share in (0.0143, 0.309, 0.994, 0.997, 1.0, 1.39, 14.2)]
    assert written == ["1.4 %", "31 %", "99 %", "100 %", "100 %", "139 %", "1420 %"]
