"""The answer on top of a page: what is told first, and that it is what the numbers say."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from rational_icl.comparison.verdict import Question, Verdict
from rational_icl.report.result import Analysis
from rational_icl.report.verdict import cautions, verdict, worst

THEORY = {"rational": True, "kinetic": True, "surface": False, "constant_weights": False}


def analysis_of(frame: pd.DataFrame, **parts: Any) -> Any:
    """What a verdict reads of an analysis."""
    account = SimpleNamespace(name="rational")
    params = {"alpha": 0.5, "beta": 0.2, "gamma": 3.0}
    fit = SimpleNamespace(account=account, params=params, at_boundary=())
    fields = {
        "frame": frame, "fit": fit, "bayesian": None, "comparison": None,
        "gap_closed": {"fitted": 0.9, "later_steps": 0.75, "larger_num_tasks": 0.2}.get,
        "crossover": pd.DataFrame({"observed": [100.0, 40.0, None], "predicted": [50.0, 40.0, 1]}),
        **parts,
    }  # fmt: skip
    return Mock(spec=Analysis, **fields)


def frame_of(diversities: int = 4, steps: tuple[int, ...] = (10, 100, 1000)) -> pd.DataFrame:
    rows = [
        {"run": f"D{d}_s{s}", "num_tasks": 4 * 2**d, "step": step, "region": "fitted"}
        for d in range(diversities)
        for s in range(3)
        for step in steps
    ]
    frame = pd.DataFrame(rows)
    frame["relative_distance_id"] = 0.5
    frame["predicted_relative_distance_id"] = 0.5 + 0.01 * np.log2(frame["num_tasks"])
    return frame


def question(excess: dict[str, float], number: int = 8, scheme: str = "late_steps") -> Question:
    """A verdict on accounts whose excess differs by far more, or less, than it scatters."""
    noise = 1 + 0.01 * np.random.default_rng(0).standard_normal((number, 1))
    names = sorted(excess, key=lambda name: excess[name])
    values = pd.DataFrame(
        noise * np.array([[excess[name] for name in names]]), columns=pd.Index(names)
    )
    values.index = pd.Index([4 * 2**place for place in range(number)])
    return Question.of_excess(scheme, values, "constant_weights", THEORY, {})


def compared(*questions: Question) -> Any:
    return SimpleNamespace(verdict=Verdict(questions))


def test_the_caveat_that_decides_is_told_first():
    few = analysis_of(frame_of(diversities=2, steps=(10,)))
    texts = verdict(few)
    assert texts[:2] == cautions(few)
    assert texts[0].startswith("Only 6 cells at 2 task diversities were fitted, by 3 parameters")
    assert texts[1].startswith("There is one checkpoint")
    assert cautions(analysis_of(frame_of())) == []
    ended = analysis_of(frame_of())
    ended.fit.at_boundary = ("alpha",)
    assert verdict(ended)[0] == (
        "The fit ended at the edge of the range of alpha: the account wants a value beyond it, so "
        "its parameters should not be read as measurements."
    )


def test_an_account_by_itself_says_what_it_closes_and_that_rivals_are_missing():
    first, second, third = verdict(analysis_of(frame_of()))
    assert (
        "closes 75 % in held-out cells at later steps; 20 % in held-out cells at larger task "
        "diversity; 90 % in cells that were fitted." in first
    )
    assert "No other account was fitted" in first
    assert "rational-icl compare" in first
    assert second == worst(analysis_of(frame_of()))
    assert third.endswith(
        "off by a factor of 1.4 in the median and 2 at worst, over 2 task diversities."
    )
    nothing = analysis_of(frame_of(), gap_closed=lambda region: None)
    assert verdict(nothing)[0].startswith("There is no gap for the rational account to close.")


@pytest.mark.parametrize(
    ("surface", "words"),
    [
        (0.5, "rational best predicts later steps than it has seen: it leaves 10 % of the gap. It "
              "beats surface, the best account without theory (50 %): -40"),
        (0.05, "surface best predicts later steps than it has seen: it leaves 5 % of the gap. The "
               "best theory is rational, which leaves 10 %. It does not beat surface"),
        (0.1, "It is level with surface, the best account without theory (10 %): +0.0"),
    ],
)  # fmt: skip
def test_the_winner_is_named_and_what_a_theory_is_worth_beside_benchmarks(surface, words):
    excess = {"rational": 0.1, "kinetic": 0.4, "surface": surface, "constant_weights": 1.0}
    text = verdict(analysis_of(frame_of(), comparison=compared(question(excess))))[0]
    assert words in text
    assert text.startswith("Of 4 accounts ")


def test_what_cannot_be_told_from_the_winner_is_named():
    excess = {"rational": 0.1, "kinetic": 0.1, "surface": 0.4, "constant_weights": 1.0}
    text = verdict(analysis_of(frame_of(), comparison=compared(question(excess))))[0]
    assert "of the gap. Not told from it: kinetic. It beats surface" in text


def test_other_ways_of_holding_out_are_counted_and_none_is_passed_over():
    won = {"rational": 0.1, "surface": 0.5, "constant_weights": 1.0}
    lost = {"rational": 0.5, "surface": 0.1, "constant_weights": 1.0}
    schemes = ("leave_one_num_tasks_out", "late_steps", "large_num_tasks", "leave_one_run_out")
    questions = [
        question(excess, number, scheme)
        for excess, number, scheme in zip(
            (won, lost, won, lost), (3, 8, 8, 8), schemes, strict=True
        )
    ]
    text = verdict(analysis_of(frame_of(), comparison=compared(*questions)))[0]
    assert "surface best predicts later steps" in text  # the first has too few task diversities
    assert text.endswith(
        "Under 1 of the 2 other ways of holding data out that allow a verdict, a theory beats the "
        "accounts without theory."
    )
    one_other = verdict(analysis_of(frame_of(), comparison=compared(*questions[1:3])))[0]
    assert one_other.endswith(
        "Under the other way of holding data out a theory beats the accounts without theory."
    )
    bare = {"surface": 0.1, "constant_weights": 1.0}
    none = compared(*(question(bare, scheme=scheme) for scheme in schemes[1:]))
    assert "beats" not in verdict(analysis_of(frame_of(), comparison=none))[0]
    only = verdict(analysis_of(frame_of(), comparison=compared(questions[0])))[0]
    assert only.startswith("Of 3 accounts none can be called best: ")


def test_it_fails_most_where_it_is_furthest_off_at_the_end_of_runs():
    frame = frame_of()
    there = (frame["num_tasks"] == 8) & (frame["step"] == 1000)
    frame.loc[there, "relative_distance_id"] = 0.1
    assert worst(analysis_of(frame)) == (
        "At the last step (1,000) the rational account fails most at D = 8, with a relative "
        "distance of 0.53 where the transformers' is 0.10."
    )
    frame.loc[frame["num_tasks"] == 4, "step"] += 1  # these runs end later
    assert worst(analysis_of(frame)).startswith("At the last step (of each run) the rational")
    assert worst(analysis_of(frame.assign(relative_distance_id=np.nan))) == ""
    same = frame["predicted_relative_distance_id"] + 0.001
    assert worst(analysis_of(frame.assign(relative_distance_id=same))) == ""
