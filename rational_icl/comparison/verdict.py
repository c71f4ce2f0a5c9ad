"""Verdicts of a comparison, one for every way of holding data out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rational_icl.comparison.inference import (
    BETTER,
    NO_VERDICT,
    OPEN,
    SAME,
    WORSE,
    contrasts,
    no_verdict,
)

_QUESTIONS = {
    "leave_one_num_tasks_out": "With each task diversity left out in turn",
    "late_steps": "At later steps, held out",
    "large_num_tasks": "At larger task diversities, held out",
    "small_num_tasks": "At smaller task diversities, held out",
    "leave_one_run_out": "In runs left out one by one, their sisters of other seeds fitted",
}
_ANSWERS = {BETTER: "yes", WORSE: "no", SAME: "no, it is level with them", OPEN: "undecided"}
_MOST_LISTED = 6


@dataclass(frozen=True)
class Question:
    """Verdict under one way of holding data out.

    Args:
        scheme: its name.
        num_tasks: the scored task diversities, the units.
        excess_left: E of every account that could be fitted, best first.
        best, best_theory, best_benchmark: accounts; empty where there is none.
        against_best: every other account against the best, see `inference.contrasts`.
        against_benchmark: every theory against the best account without theory.
        problem: why there is no verdict; empty if there is one.
        failed: why accounts are not ranked, by name.
    """

    scheme: str
    num_tasks: tuple[int, ...]
    excess_left: Mapping[str, float]
    best: str
    best_theory: str
    best_benchmark: str
    against_best: pd.DataFrame
    against_benchmark: pd.DataFrame
    problem: str
    failed: Mapping[str, str]

    @classmethod
    def of_excess(
        cls,
        scheme: str,
        excess: pd.DataFrame,
        floor: str,
        theory: Mapping[str, bool],
        failed: Mapping[str, str],
    ) -> "Question":
        """Verdict from excess divergences.

        Args:
            scheme: name.
            excess: nats, one row per task diversity and one column per account, best first.
            floor: the name of constant weights, which may be missing from `excess`.
            theory: whether accounts are theories.
            failed: see above.
        """
        names = [str(name) for name in excess]
        gap = float(excess[floor].mean()) if floor in excess else float("nan")
        problem = no_verdict(gap, len(excess)) if floor in excess else (
            f"constant weights, which every account is measured by, failed: {failed[floor]}"
        )  # fmt: skip
        theories = [name for name in names if theory[name]]
        best = names[0] if names else ""
        benchmark = next((name for name in names if not theory[name]), "")
        return cls(
            scheme=scheme,
            num_tasks=tuple(int(diversity) for diversity in excess.index),
            excess_left={name: float(excess[name].mean()) / gap for name in names},
            best=best,
            best_theory=theories[0] if theories else "",
            best_benchmark=benchmark,
            against_best=contrasts(excess, best, names[1:], gap),
            against_benchmark=contrasts(excess, benchmark, theories if benchmark else [], gap),
            problem=problem,
            failed=dict(failed),
        )

    @property
    def theory_verdict(self) -> str:
        """Verdict on the best theory against the best account without theory."""
        table = self.against_benchmark
        rows = table[table["account"] == self.best_theory]
        return str(rows["verdict"].iloc[0]) if len(rows) else NO_VERDICT

    @property
    def text(self) -> str:
        """The verdict in sentences, the best account first."""
        parts = [self._ranking(), self._theories()]
        if self.failed:
            listed = "; ".join(f"{name} ({why})" for name, why in self.failed.items())
            parts.append(f"Not ranked, because they failed: {listed}.")
        return " ".join(part for part in parts if part)

    def _ranking(self) -> str:
        opening = f"{_QUESTIONS[self.scheme]} ({len(self.num_tasks)})"
        if not self.best:
            return f"{opening}, no account could be fitted."
        if self.problem:
            shown = self.best
            if np.isfinite(self.excess_left[self.best]):
                shown = ", ".join(f"{name} {percent(share)}" for name, share in self._leading())
                shown = f"shares of the gap that are left: {shown}"
            else:
                shown = f"nearest is {shown}"
            return f"{opening}: no verdict ({self.problem}); {shown}."
        text = f"{opening}, {self.best} leaves least of the gap: {self._left(self.best)}."
        table = self.against_best
        for verdict, words in ((SAME, "Equivalent to it"), (OPEN, "Undecided against it")):
            names = table.loc[table["verdict"] == verdict, "account"].tolist()
            if names:
                text += f" {words}: {_listed(names)}."
        worse = table[table["verdict"] == WORSE]
        if len(worse):
            nearest = worse.iloc[0]
            text += f" Worse: {_listed(worse['account'].tolist())}; the nearest of these, "
            text += f"{nearest['account']}, leaves {self._against(nearest, len(table))}."
        return text

    def _leading(self) -> list[tuple[str, float]]:
        return list(self.excess_left.items())[:_MOST_LISTED]

    def _theories(self) -> str:
        if not (self.best_theory and self.best_benchmark):
            return ""
        table = self.against_benchmark
        best = table[table["account"] == self.best_theory].iloc[0]
        opening = "Does a theory beat the accounts without theory?"
        if self.problem:
            is_comparable = not np.isnan(best["difference"])
            more = _more(best["difference"]) if is_comparable else "not comparable"
            return (
                f"{opening} No verdict; the best theory, {self.best_theory}, against "
                f"{self.best_benchmark}: {more}."
            )
        answer = _ANSWERS[self.theory_verdict].capitalize()
        return (
            f"{opening} {answer}: {self.best_theory}, the best theory, leaves "
            f"{self._against(best, len(table))}."
        )

    def _left(self, account: str) -> str:
        return percent(self.excess_left[account])

    def _against(self, row: pd.Series, family: int) -> str:
        sign = 1 if row["difference"] >= 0 else -1
        low, high = sorted((sign * row["lower"], sign * row["upper"]))
        where = row["worse_at"] if sign > 0 else row["units"] - row["worse_at"]
        return (
            f"{self._left(row['account'])}, {_more(row['difference'])} than "
            f"{row['reference']} (90 %: {points(low)} to {points(high)}), at {where} of "
            f"{row['units']} D (p = {row['p']:.2g}; Holm over {family}: {row['p_holm']:.2g})"
        )


@dataclass(frozen=True)
class Verdict:
    """Verdicts on which accounts predict best, one question a way of holding data out.

    Args:
        questions: in the order of the schemes.
    """

    questions: tuple[Question, ...]

    def __str__(self) -> str:
        return self.text

    def __getitem__(self, scheme: str) -> Question:
        """Verdict under one scheme.

        Raises:
            KeyError: it was not used.
        """
        by_scheme = {question.scheme: question for question in self.questions}
        return by_scheme[scheme]

    @property
    def text(self) -> str:
        """Paragraphs, one for every question."""
        return "\n".join(question.text for question in self.questions)

    @property
    def table(self) -> pd.DataFrame:
        """Table of all contrasts: scheme, against (`best` or `benchmark`), and as `contrasts`."""
        parts = [
            rows.assign(scheme=question.scheme, against=against)
            for question in self.questions
            for against, rows in (
                ("best", question.against_best),
                ("benchmark", question.against_benchmark),
            )
            if len(rows)
        ]
        keys = ["scheme", "against"]
        if not parts:
            return pd.DataFrame(columns=keys)
        table = pd.concat(parts, ignore_index=True)
        return table[keys + [name for name in table if name not in keys]]

    @property
    def summary(self) -> pd.DataFrame:
        """Table with a row for every question, without its contrasts."""
        names = ("scheme", "best", "best_theory", "best_benchmark", "theory_verdict", "problem")
        rows = [
            {name: getattr(question, name) for name in names} | {"units": len(question.num_tasks)}
            for question in self.questions
        ]
        return pd.DataFrame(rows)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain records, a question each, for `report.json`."""
        rows = self.summary.to_dict(orient="records")
        return [
            {
                **{str(key): value for key, value in row.items()},
                "num_tasks": list(question.num_tasks),
                "excess_left": dict(question.excess_left),
                "against_best": question.against_best.to_dict(orient="records"),
                "against_benchmark": question.against_benchmark.to_dict(orient="records"),
                "failed": dict(question.failed),
                "text": question.text,
            }
            for row, question in zip(rows, self.questions, strict=True)
        ]


def percent(share: float) -> str:
    """Share of the gap as a percentage, to two digits."""
    return f"{points(share)} %"


def points(share: float) -> str:
    """In hundredths, to two digits or to whole ones, never with an exponent above 99."""
    points = 100 * share
    return f"{points:.2g}" if abs(points) < 99.5 else f"{points:.0f}"


def _more(difference: float) -> str:
    return f"{points(abs(difference))} points {'more' if difference >= 0 else 'less'}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_LISTED
    mark = "; " if any("," in name for name in names) else ", "
    return mark.join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
