"""Figures that compare accounts."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from rational_icl.plotting.grids import mean_of_runs
from rational_icl.plotting.shared import (
    DIVERSITY_LABEL,
    MEMORIZING_COLOURS,
    diversity_ticks,
    step_axis,
    write_steps,
)

_MARKERS = "osD^v<>Pp*"
_LEAST_SHARE = 1e-4


def account_colours(accounts: Sequence[str]) -> Mapping[str, tuple[float, float, float]]:
    """A colour for each account, the same in all figures of a report."""
    return dict(zip(accounts, sns.color_palette("husl", len(accounts)), strict=True))


def plot_forest(table: pd.DataFrame, scheme: str, *, ax: Axes | None = None) -> Axes:
    """Share of the gap that every account leaves under one way of holding data out.

    With 90 % intervals over task diversities, on a logarithmic axis, because .95 and .99 closed are
    a factor of five. Open markers have no theory in them. The dotted line is constant weights.

    Args:
        table: from `compare`.
        scheme: a value of its column scheme.
    """
    rows = table[(table["scheme"] == scheme) & (table["status"] == "fitted")]
    rows = rows[rows["excess_left"].notna()].sort_values("excess_left")
    ax = ax or plt.subplots(figsize=(5.0, 0.4 + 0.22 * len(rows)), layout="constrained")[1]
    y = np.arange(len(rows))[::-1]
    share = rows["excess_left"].to_numpy(dtype=float).clip(_LEAST_SHARE)
    ends = rows[["excess_left_lower", "excess_left_upper"]].to_numpy(dtype=float)
    ax.hlines(y, ends[:, 0].clip(_LEAST_SHARE), ends[:, 1], color="k", linewidth=1)
    theory = rows["theory"].to_numpy(dtype=bool)
    colours = np.where(theory, "k", "w")
    ax.scatter(share, y, c=colours, edgecolors="k", s=16, zorder=3)
    ax.axvline(1, color="0.5", linewidth=0.6, linestyle=":")
    ax.set_yticks(y, rows["account"].tolist(), fontsize="small")
    ax.set(xscale="log", xlabel="share of the gap left")
    ax.set_title(scheme.replace("_", " "), fontsize="medium")
    ax.margins(y=0.03)
    return ax


def plot_transitions(
    transitions: pd.DataFrame,
    runs: pd.DataFrame,
    *,
    accounts: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Crossovers N*(D) of accounts, with 90 % intervals, beside those of runs.

    Args:
        transitions: from `compare`.
        runs: from `run_crossovers`; those that crossed are drawn.
        accounts: which; all if None.
    """
    ax = ax or plt.subplots(figsize=(6.4, 4.2), layout="constrained")[1]
    names = list(transitions["account"].unique())
    colours = account_colours(names)
    for index, (name, rows) in enumerate(transitions.groupby("account", sort=False)):
        crossings = rows.dropna(subset=["predicted"])
        if crossings.empty or (accounts is not None and name not in accounts):
            continue
        shift = 1 + 0.006 * (index - len(names) / 2)  # so that intervals do not hide each other
        at, colour = crossings["num_tasks"] * shift, colours[str(name)]
        ax.plot(at, crossings["predicted"], color=colour, linewidth=1, alpha=0.9, label=str(name),
                marker=_MARKERS[index % len(_MARKERS)], markersize=3.5)  # fmt: skip
        ax.vlines(
            at, crossings["lower"], crossings["upper"], color=colour, linewidth=0.9, alpha=0.6
        )
    crossed = runs.dropna(subset=["step"])
    ax.scatter(crossed["num_tasks"], crossed["step"], c="k", s=18, zorder=5, label="runs")
    if len(crossed):
        steps = crossed["step"]
        ax.set_ylim(max(1.0, steps.min() / 30), steps.max() * 300)
    ax.set(xscale="log", yscale="log", xlabel=DIVERSITY_LABEL, ylabel="crossover step N*")
    write_steps(ax.yaxis)
    diversity_ticks(ax.xaxis, sorted(transitions["num_tasks"].unique()))
    ax.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def plot_ablations(table: pd.DataFrame, accounts: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Share of the floor-to-ceiling gap that each ablation closes, by scheme.

    Args:
        table: from `compare`.
        accounts: the whole account first.
    """
    ax = ax or plt.subplots(figsize=(6.4, 3.0), layout="constrained")[1]
    rows = table[table["account"].isin(accounts) & table["gap_closed"].notna()]
    schemes = list(rows["scheme"].unique())
    width = 0.8 / max(len(schemes), 1)
    colours = sns.color_palette("deep", len(schemes))
    for index, scheme in enumerate(schemes):
        closed = rows[rows["scheme"] == scheme].set_index("account")["gap_closed"]
        names = [name for name in accounts if name in closed]
        centre = np.array([accounts.index(name) for name in names]) + (index + 0.5) * width - 0.4
        share = closed[names].clip(lower=-0.25)
        ax.bar(centre, share, width * 0.92, color=colours[index], label=scheme.replace("_", " "))
        for x, y, name in zip(centre, share, names, strict=True):
            if closed[name] < y:
                ax.annotate("▼", (x, y), ha="center", va="bottom", fontsize=6)
    ax.axhline(1, color="0.5", linewidth=0.6, linestyle=":")
    ax.axhline(0, color="0.3", linewidth=0.6)
    ax.set_xticks(range(len(accounts)), [name.replace("_", "\n") for name in accounts], fontsize=7)
    ax.set_ylabel("share of gap closed, held out")
    ax.legend(fontsize="x-small", loc="lower left", ncols=2)
    return ax


def plot_account_map(
    weights: pd.DataFrame, column: str, *, difference: bool = False, ax: Axes | None = None
) -> Axes:
    """Small phase diagram of one account, without a colour bar; unusable early steps hatched.

    Args:
        weights: `Comparison.weights`.
        column: `observed` or the name of an account.
        difference: the account less what is observed, red where it memorizes too much.
    """
    ax = ax or plt.subplots(figsize=(2.4, 1.9), layout="constrained")[1]
    values = weights[column] - (weights["observed"] if difference else 0)
    grid = mean_of_runs(weights.assign(shown=values), "shown")
    colours = {"cmap": "RdBu_r", "vmin": -0.6, "vmax": 0.6} if difference else {
        "cmap": sns.blend_palette(MEMORIZING_COLOURS, as_cmap=True),
        "vmin": 0.0,
        "vmax": 1.0,
    }  # fmt: skip
    steps, rows = grid.columns.to_numpy(dtype=float), np.arange(len(grid) + 1)
    edge = np.sqrt(steps[1:] * steps[:-1]) if len(steps) > 1 else np.empty(0)
    sides = np.concatenate([[steps[0] * 0.9], edge, [steps[-1] * 1.1]])
    ax.pcolormesh(sides, rows, grid.to_numpy(), rasterized=True, **colours)
    # steps of any run before the first that is usable
    usable = weights.loc[weights["usable"], "step"]
    number = int(np.searchsorted(steps, usable.min() if len(usable) else np.inf))
    if number:
        end = sides[number]
        ax.axvspan(sides[0], end, fill=False, hatch="////", edgecolor="0.4", linewidth=0)
    step_axis(ax)
    ax.set_yticks(rows[:-1] + 0.5, [f"{num_tasks:g}" for num_tasks in grid.index], fontsize=6)
    ax.set_title(column.replace("_", " "), fontsize="small")
    return ax


def plot_recovery(
    recovered: pd.DataFrame, scheme: str | None = None, *, ax: Axes | None = None
) -> Axes:
    """Share of simulated logs that each account wins, by the account they were simulated from.

    Args:
        recovered: from `model_recovery`.
        scheme: a value of its column scheme; the first if None.
    """
    recovered = recovered[recovered["scheme"] == (scheme or recovered["scheme"].iloc[0])]
    won = recovered[recovered["won"]]
    names = list(recovered["truth"].unique())
    share = pd.crosstab(won["truth"], won["account"], normalize="index")
    share = share.reindex(index=names, columns=names, fill_value=0.0)
    ax = ax or plt.subplots(figsize=(5.2, 4.4), layout="constrained")[1]
    sns.heatmap(share, vmin=0, vmax=1, cmap="Greys", annot=True, fmt=".1f", cbar=False, ax=ax)
    ax.set(xlabel="account that wins", ylabel="account that runs were simulated from")
    return ax
