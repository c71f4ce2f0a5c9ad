"""The part of a report that compares accounts: sentences, figures and JSON, from `Comparison`."""

from collections.abc import Callable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rational_icl import plotting
from rational_icl.comparison import Comparison
from rational_icl.comparison.tables import FLOOR

ABLATIONS = (
    "rational",
    "rational_alpha_0",
    "rational_beta_1",
    "rational_gamma_1",
    "rational_linear_prior",
    "rational_fixed",
)
_WITHOUT_THEORY = (
    "logistic_surface",
    "logistic_surface_curved",
    "scaling_collapse",
    "logistic",
    FLOOR,
)
_CLEAR = 2.0
"""Standard errors from which a difference is called one."""
_WORDS = {
    "late_steps": "at late steps",
    "large_num_tasks": "at large task diversities",
    "small_num_tasks": "at small task diversities",
    "leave_one_run_out": "in runs left out one by one",
    "leave_one_num_tasks_out": "in task diversities left out one by one",
}
_POOR = 0.9
_COLUMNS = 4
_MOST_LISTED = 4


def to_json(comparison: Comparison) -> dict[str, Any]:
    """For `report.json`."""
    return {
        "table": comparison.table.to_dict(orient="records"),
        "transitions": comparison.transitions.to_dict(orient="records"),
        "problems": dict(comparison.problems),
        "params": {name: dict(fit.params) for name, fit in comparison.fits.items()},
    }


def tables(comparison: Comparison) -> dict[str, pd.DataFrame]:
    """The CSV files of a report."""
    return {
        "comparison": comparison.table,
        "comparison_runs": comparison.runs,
        "comparison_params": comparison.params,
        "comparison_transitions": comparison.transitions,
        "comparison_weights": comparison.weights,
    }


def sentences(comparison: Comparison, account: str) -> list[str]:
    """Which account predicts which part of the data, by how much, and where all fail."""
    found = []
    for scheme in comparison.schemes:
        found += [_best(comparison, scheme), _of_account(comparison, scheme, account)]
    return [one for one in (*found, _earned(comparison, account), _failed(comparison)) if one]


def _best(comparison: Comparison, scheme: str) -> str:
    ranked = _ranked(comparison, scheme)
    if ranked.empty:
        return f"Held out {_WORDS[scheme]}, no account could be fitted."
    best = ranked.iloc[0]
    text = (
        f"Held out {_WORDS[scheme]}, {best['account']} predicts best (stacking weight "
        f"{best['stacking_weight']:.2f}), closing {100 * best['gap_closed']:.0f} % of the gap "
        "between constant weights and the best mixtures"
    )
    rest = ranked.iloc[1:]
    level = rest[rest["elpd_difference"] > -_CLEAR * rest["elpd_difference_se"]]["account"]
    if len(level):
        shown = ", ".join(level[:_MOST_LISTED])
        more = f" and {len(level) - _MOST_LISTED} more" if len(level) > _MOST_LISTED else ""
        text += f"; within two standard errors of it are {shown}{more}"
    closest = ranked["gap_closed"].max()
    if closest < _POOR:
        text += f". All accounts fail here: none closes more than {100 * closest:.0f} % of the gap"
    return text + "."


def _of_account(comparison: Comparison, scheme: str, account: str) -> str:
    ranked = _ranked(comparison, scheme)
    own = ranked[ranked["account"] == account]
    if own.empty or ranked.iloc[0]["account"] == account:
        return ""
    row = own.iloc[0]
    text = (
        f"The {account} account is {-row['elpd_difference']:.0f} ± {row['elpd_difference_se']:.0f} "
        f"nats of log predictive density behind it over {_num_runs(comparison, scheme)} runs, "
        f"closes {100 * row['gap_closed']:.0f} % of the gap, and misses relative distance by "
        f"{row['relative_distance_error']:.3f}"
    )
    if np.isfinite(row["crossover_error"]):
        text += f" and N* by a factor of {np.exp(row['crossover_error']):.1f}"
    return text + "."


def _earned(comparison: Comparison, account: str) -> str:
    """Whether the theory beats what has no theory in it."""
    lost, won = [], []
    for scheme in comparison.schemes:
        ranked = _ranked(comparison, scheme)
        bare = ranked[ranked["account"].isin(_WITHOUT_THEORY)]
        own = ranked[ranked["account"] == account]
        if bare.empty or own.empty:
            continue
        rival = bare.iloc[0]["account"]
        apart, error = _apart(comparison, scheme, account, rival)
        words = f"{_WORDS[scheme]} (by {abs(apart):.0f} ± {error:.0f} nats, {rival})"
        if abs(apart) > _CLEAR * error:
            (won if apart > 0 else lost).append(words)
    if not lost and not won:
        return (
            f"Nowhere is the {account} account told apart, by two standard errors, from the best "
            "of the accounts without theory."
        )
    parts = []
    if won:
        parts.append(f"it beats the best account without theory {'; '.join(won)}")
    if lost:
        parts.append(f"an account without theory predicts better {'; '.join(lost)}")
    return f"Does the {account} account earn its place? Held out, {', but '.join(parts)}."


def _apart(comparison: Comparison, scheme: str, one: str, other: str) -> tuple[float, float]:
    """Difference in elpd of two accounts, and its standard error over runs."""
    runs = comparison.runs[comparison.runs["scheme"] == scheme]
    wide = runs.pivot(index=["num_tasks", "run"], columns="account", values="log_density")
    apart = wide[one] - wide[other]
    return float(apart.sum()), float(np.sqrt(len(apart)) * apart.std())


def _failed(comparison: Comparison) -> str:
    table = comparison.table
    bad = table[~table["status"].isin(["fitted", "ceiling"])]
    reasons = dict(zip(bad["account"], bad["status"], strict=True))
    if not reasons:
        return ""
    listed = "; ".join(f"{name} ({why})" for name, why in reasons.items())
    return f"Not ranked, because they could not be fitted: {listed}."


def _ranked(comparison: Comparison, scheme: str) -> pd.DataFrame:
    table = comparison.table
    return table[(table["scheme"] == scheme) & (table["status"] == "fitted")]


def _num_runs(comparison: Comparison, scheme: str) -> int:
    return comparison.runs.loc[comparison.runs["scheme"] == scheme, "run"].nunique()


def forest(comparison: Comparison, analysis: Any) -> Figure:
    """Distance of every account from the best, by scheme."""
    return _forests(comparison, "elpd_difference")


def forest_divergence(comparison: Comparison, analysis: Any) -> Figure:
    """The same in divergence of next-token predictions."""
    return _forests(comparison, "divergence_difference")


def _forests(comparison: Comparison, score: str) -> Figure:
    schemes = comparison.schemes
    number = int(comparison.table.groupby("scheme").size().max())
    rows = -(-len(schemes) // 2)
    figure, axes = plt.subplots(
        rows, min(2, len(schemes)), figsize=(10.2, rows * (0.7 + 0.2 * number)),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for ax, scheme in zip(axes.flat, schemes, strict=False):
        plotting.plot_forest(comparison.table, scheme, score=score, ax=ax)
    for ax in axes.flat[len(schemes) :]:
        ax.set_axis_off()
    return figure


def account_maps(comparison: Comparison, analysis: Any) -> Figure:
    """Phase diagrams of all accounts beside the observed one."""
    return _maps(comparison, ["observed", *comparison.fits], difference=False)


def account_residuals(comparison: Comparison, analysis: Any) -> Figure:
    """The same less what is observed."""
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
    """N*(D) of every account."""
    figure, ax = plt.subplots(figsize=(8.6, 4.6), layout="constrained")
    plotting.plot_transitions(comparison.transitions, analysis.runs, ax=ax)
    return figure


def ablations(comparison: Comparison, analysis: Any) -> Figure:
    """What the rational account loses with each of its terms."""
    figure, ax = plt.subplots(figsize=(8.6, 3.2), layout="constrained")
    there = [name for name in ABLATIONS if name in comparison.fits]
    plotting.plot_ablations(comparison.table, there, ax=ax)
    return figure


FIGURES: dict[str, Callable[[Comparison, Any], Figure]] = {
    make.__name__: make
    for make in (
        forest,
        forest_divergence,
        account_maps,
        account_residuals,
        transitions,
        ablations,
    )
}
_SCORE_NAMES = {
    "elpd": "ELPD",
    "elpd_difference": "less best",
    "elpd_difference_se": "± over runs",
    "elpd_difference_se_num_tasks": "± over D",
    "stacking_weight": "stacking weight",
    "divergence": "divergence, nats",
    "gap_closed": "gap closed",
    "relative_distance_error": "relative distance error",
    "crossover_error": "error of ln N*",
    "crossovers_missed": "N* missed",
    "num_params": "parameters",
    "effective_params": "effective",
    "seconds": "seconds",
}


def score_names(comparison: Comparison) -> dict[str, str]:
    """Columns of the page's tables, and what they are called there."""
    return {key: words for key, words in _SCORE_NAMES.items() if key in comparison.table}
