"""The part of a report that compares accounts: sentences, figures and JSON, from `Comparison`."""

import inspect
from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rational_icl import plotting
from rational_icl.comparison import Comparison
from rational_icl.comparison.tables import FITTED
from rational_icl.comparison.verdict import percent, points

ABLATIONS = (
    "rational",
    "rational_alpha_0",
    "rational_beta_1",
    "rational_gamma_1",
    "rational_linear_prior",
    "rational_fixed",
)
_COLUMNS = 4
SCHEME_WORDS = {
    "leave_one_num_tasks_out": "each D in turn",
    "late_steps": "late steps",
    "large_num_tasks": "large D",
    "small_num_tasks": "small D",
    "leave_one_run_out": "each run in turn",
}


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Record of the comparison for `report.json`."""
    return {
        "verdict": comparison.verdict.to_json(),
        "table": comparison.table.to_dict(orient="records"),
        "transitions": comparison.transitions.to_dict(orient="records"),
        "problems": dict(comparison.problems),
        "params": {name: dict(fit.params) for name, fit in comparison.fits.items()},
    }


def tables(comparison: Comparison) -> dict[str, pd.DataFrame]:
    """Tables of the comparison, by the name of their CSV file."""
    return {
        "comparison": comparison.table,
        "comparison_verdict": comparison.verdict.table,
        "comparison_runs": comparison.runs,
        "comparison_params": comparison.params,
        "comparison_transitions": comparison.transitions,
        "comparison_weights": comparison.weights,
    }


def overview(comparison: Comparison) -> list[dict[str, Any]]:
    """A row an account, best first: what it says, and the share of the gap that it leaves.

    Shares and their 90 % intervals over task diversities are text, one of each by scheme.
    """
    rows = []
    for name in comparison.table["account"].unique():
        if name not in comparison.fits:
            continue  # the ceiling, which leaves nothing
        account = comparison.fits[name].account
        shares = [_share(comparison.row(scheme, name)) for scheme in comparison.schemes]
        says = docstring(type(account)).partition("\n")[0].partition(" Source:")[0]
        rows.append({"account": name, "theory": account.theory, "says": says, "shares": shares})
    return rows


def docstring(kind: type) -> str:
    """Docstring that somebody wrote for a class; dataclasses without one have their signature."""
    text = inspect.getdoc(kind) or ""
    return "" if text.startswith(f"{kind.__name__}(") else text


def _share(row: pd.Series) -> dict[str, Any]:
    if row["status"] != FITTED:
        return {"text": "failed", "interval": "", "best": False}
    low, high = (row[f"excess_left_{end}"] for end in ("lower", "upper"))
    return {
        "text": percent(row["excess_left"]) if np.isfinite(row["excess_left"]) else "–",
        "interval": f"{points(low)} to {points(high)}" if low < high < np.inf else "",
        "best": row["verdict"] == "best",
    }


def sentences(comparison: Comparison, account: str) -> list[str]:
    """Sentences about the comparison: every verdict, and where the account stands."""
    texts = [question.text for question in comparison.verdict.questions]
    texts += [_of_account(comparison, scheme, account) for scheme in comparison.schemes]
    return [text for text in texts if text]


def _of_account(comparison: Comparison, scheme: str, account: str) -> str:
    row = comparison.row(scheme, account)
    if row["status"] != FITTED or not np.isfinite(row["excess_left"]):
        return ""
    text = (
        f"{scheme.replace('_', ' ').capitalize()}: the {account} account leaves "
        f"{percent(row['excess_left'])} of the gap and misses relative distance by "
        f"{row['relative_distance_error']:.3f}"
    )
    if np.isfinite(row["crossover_error"]):
        text += (
            f" and N* by a factor of {np.exp(row['crossover_error']):.1f} (of "
            f"{row['crossovers']:.0f} crossovers it misses {row['crossovers_missed']:.0f}, and it "
            f"sees {row['crossovers_false']:.0f} that are not there)"
        )
    return text + "."


def forest(comparison: Comparison, analysis: Any) -> Figure:
    """Share of the gap that every account leaves, by scheme."""
    schemes = comparison.schemes
    number = int(comparison.table.groupby("scheme").size().max())
    rows = -(-len(schemes) // 2)
    figure, axes = plt.subplots(
        rows, min(2, len(schemes)), figsize=(10.2, rows * (0.7 + 0.2 * number)),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for ax, scheme in zip(axes.flat, schemes, strict=False):
        plotting.plot_forest(comparison.table, scheme, ax=ax)
    for ax in axes.flat[len(schemes) :]:
        ax.set_axis_off()
    return figure


def account_maps(comparison: Comparison, analysis: Any) -> Figure:
    """Phase diagrams of all accounts beside the observed one."""
    return _maps(comparison, ["observed", *comparison.fits], difference=False)


def account_residuals(comparison: Comparison, analysis: Any) -> Figure:
    """Phase diagrams of all accounts less the observed one."""
    return _maps(comparison, list(comparison.fits), difference=True)


def _maps(comparison: Comparison, columns: list[str], *, difference: bool) -> Figure:
    rows = -(-len(columns) // _COLUMNS)
    figure, axes = plt.subplots(
        rows, _COLUMNS, figsize=(10.2, 1.75 * rows + 0.3), layout="constrained", squeeze=False,
        sharex=True, sharey=True,
    )  # fmt: skip
    for ax, column in zip(axes.flat, columns, strict=False):
        plotting.plot_account_map(comparison.weights, column, difference=difference, ax=ax)
        ax.label_outer()
    for ax in axes.flat[len(columns) :]:
        ax.set_axis_off()
    mesh = axes.flat[0].collections[0]
    words = "account − observed" if difference else "weight of the first strategy"
    figure.colorbar(mesh, ax=axes, label=words, shrink=0.6)
    return figure


def transitions(comparison: Comparison, analysis: Any) -> Figure:
    """Crossover steps N*(D) of every account."""
    figure, ax = plt.subplots(figsize=(8.6, 4.6), layout="constrained")
    plotting.plot_transitions(comparison.transitions, analysis.runs, ax=ax)
    return figure


def ablations(comparison: Comparison, analysis: Any) -> Figure:
    """Scores of the rational account and of its versions without one term."""
    figure, ax = plt.subplots(figsize=(8.6, 3.2), layout="constrained")
    there = [name for name in ABLATIONS if name in comparison.fits]
    plotting.plot_ablations(comparison.table, there, ax=ax)
    return figure


FIGURES: dict[str, Callable[[Comparison, Any], Figure]] = {
    make.__name__: make
    for make in (
        forest,
        account_maps,
        account_residuals,
        transitions,
        ablations,
    )
}
_SCORE_NAMES = {
    "excess_left": "share of gap left",
    "difference": "more than best",
    "lower": "from (90 %)",
    "upper": "to",
    "worse_at": "worse at D",
    "p": "p",
    "p_holm": "p, Holm",
    "verdict": "verdict",
    "stacking_weight": "stacking weight",
    "divergence": "divergence, nats",
    "relative_distance_error": "relative distance error",
    "crossover_error": "error of ln N*",
    "crossovers_missed": "N* missed",
    "crossovers_false": "N* false",
    "num_params": "parameters",
    "seconds": "seconds",
}


def score_names(comparison: Comparison) -> dict[str, str]:
    """Names that the page's tables give to columns of the comparison."""
    return {key: words for key, words in _SCORE_NAMES.items() if key in comparison.table}
