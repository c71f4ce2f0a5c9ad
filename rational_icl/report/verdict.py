"""The answer of a report, for whoever reads nothing else: which account, how sure, where not."""

import numpy as np

from rational_icl.comparison.inference import BETTER, OPEN, SAME
from rational_icl.comparison.verdict import Question, percent
from rational_icl.report.result import Analysis

_UNSEEN = {
    "leave_one_num_tasks_out": "task diversities that it has not seen",
    "late_steps": "later steps than it has seen",
    "large_num_tasks": "larger task diversities than it has seen",
    "small_num_tasks": "smaller task diversities than it has seen",
    "leave_one_run_out": "runs that it has not seen",
}
_BEATS = {
    "better": "It beats",
    "worse": "It does not beat",
    "equivalent": "It is level with",
    "undecided": "It cannot be told from",
}
_PARTS = {
    "later_steps": "in held-out cells at later steps",
    "larger_num_tasks": "in held-out cells at larger task diversity",
    "fitted": "in cells that were fitted",
}
_SMALL = 0.01
"""A difference in relative distance that is none to speak of."""
_FEWEST_CELLS = 10
"""Fitted cells for each parameter, below which a fit says little."""


def verdict(analysis: Analysis) -> list[str]:
    """The caveat that decides, if there is one; which account predicts best; where it fails."""
    answer = _compared(analysis) if analysis.comparison else _alone(analysis)
    texts = [*cautions(analysis), answer, worst(analysis), transition_times(analysis)]
    return [text for text in texts if text]


def cautions(analysis: Analysis) -> list[str]:
    """What makes all other numbers of a report doubtful, if anything does.

    That chains have not converged is told by itself, above all else.
    """
    fitted = analysis.frame[analysis.frame["region"] == "fitted"]
    diversities, params = fitted["num_tasks"].nunique(), len(analysis.fit.params)
    texts = []
    if len(fitted) < _FEWEST_CELLS * params or diversities < 3:
        texts.append(
            f"Only {len(fitted)} cells at {diversities} task diversities were fitted, by {params} "
            "parameters: too few to determine them, so read nothing into how well they fit."
        )
    if analysis.frame["step"].nunique() == 1:
        texts.append("There is one checkpoint, so that nothing is known of change over training.")
    if ended := analysis.fit.at_boundary:
        texts.append(
            f"The fit ended at the edge of the range of {' and '.join(ended)}: the account wants a "
            "value beyond it, so its parameters should not be read as measurements."
        )
    return texts


def worst(analysis: Analysis) -> str:
    """Where the account is furthest from what is seen, by task diversity, at the last step."""
    frame = analysis.frame
    last = frame[frame["step"] == frame.groupby("run")["step"].transform("max")]
    columns = ["relative_distance_id", "predicted_relative_distance_id"]
    by_diversity = last.groupby("num_tasks")[columns].mean()
    both = by_diversity.to_numpy()
    residual = np.abs(both[:, 1] - both[:, 0])
    if np.isnan(residual).all():
        return ""
    place = int(np.nanargmax(residual))
    observed, predicted = both[place]
    held_out = ", held out" if (last["region"] == "held_out").all() else ""
    if abs(observed - predicted) < _SMALL:
        return ""
    steps = last["step"].unique()
    when = f"{steps[0]:,}" if len(steps) == 1 else "of each run"
    return (
        f"At the last step ({when}{held_out}) the {analysis.fit.account.name} account fails most "
        f"at D = {by_diversity.index[place]}, with a relative distance of {predicted:.2f} where "
        f"the transformers' is {observed:.2f}."
    )


def transition_times(analysis: Analysis) -> str:
    """How far the account is off in when the first strategy takes over."""
    both = analysis.crossover.dropna(subset=["observed", "predicted"])
    if both.empty:
        return ""
    off = np.abs(np.log(both["predicted"].to_numpy() / both["observed"].to_numpy()))
    return (
        f"The {analysis.fit.account.name} account's crossover steps are off by a factor of "
        f"{np.exp(np.median(off)):.2g} in the median and {np.exp(off.max()):.2g} at worst, over "
        f"{len(both)} task diversities."
    )


def _alone(analysis: Analysis) -> str:
    """How much of the gap the only account closes."""
    name = analysis.fit.account.name
    told = [
        f"{percent(share)} {words}"
        for region, words in _PARTS.items()
        if (share := analysis.gap_closed(region)) is not None
    ]
    rivals = (
        "No other account was fitted, so that nothing is known of whether another predicts better: "
        "rational-icl compare tells."
    )
    if not told:
        return f"There is no gap for the {name} account to close. {rivals}"
    return (
        f"Of the gap between one constant mixture and the best mixture of every cell, the {name} "
        f"account closes {'; '.join(told)}. {rivals}"
    )


def _compared(analysis: Analysis) -> str:
    """Which account predicts best, and whether a theory beats the accounts without one."""
    assert analysis.comparison is not None
    questions = analysis.comparison.verdict.questions
    question = next((q for q in questions if not q.problem), questions[0])
    number = len(question.excess_left)
    if question.problem:
        return f"Of {number} accounts none can be called best: {question.problem}."
    text = (
        f"Of {number} accounts {question.best} best predicts {_UNSEEN[question.scheme]}: it "
        f"leaves {percent(question.excess_left[question.best])} of the gap."
    )
    table = question.against_best
    open_still = table.loc[table["verdict"].isin((OPEN, SAME)), "account"].tolist()
    if open_still:
        text += f" Not told from it: {', '.join(open_still)}."
    others = [q for q in questions if q is not question and not q.problem]
    return " ".join(filter(None, [text, _theory(question), _elsewhere(others)]))


def _theory(question: Question) -> str:
    if not (question.best_theory and question.best_benchmark):
        return ""
    table = question.against_benchmark
    row = table[table["account"] == question.best_theory].iloc[0]
    if not np.isfinite(row["difference"]):
        return ""
    left = question.excess_left
    subject = _BEATS.get(question.theory_verdict, "It is not compared with")
    if question.best != question.best_theory:
        subject = (
            f"The best theory is {question.best_theory}, which leaves "
            f"{percent(left[question.best_theory])}. {subject}"
        )
    low, high = sorted((row["lower"], row["upper"]))
    return (
        f"{subject} {question.best_benchmark}, the best account without theory "
        f"({percent(left[question.best_benchmark])}): {100 * row['difference']:+.1f} points of the "
        f"gap (90 %: {100 * low:+.1f} to {100 * high:+.1f})."
    )


def _elsewhere(questions: list[Question]) -> str:
    both = [asked for asked in questions if asked.best_theory and asked.best_benchmark]
    if not both:
        return ""
    won = sum(question.theory_verdict == BETTER for question in both)
    if len(both) == 1:
        answer = "a theory beats" if won else "no theory beats"
        return f"Under the other way of holding data out {answer} the accounts without theory."
    return (
        f"Under {won or 'none'} of the {len(both)} other ways of holding data out that allow a "
        "verdict, a theory beats the accounts without theory."
    )
