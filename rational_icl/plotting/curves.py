"""Figures against training step or task diversity: lines and points."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from rational_icl.cells.crossovers import ALREADY, NOT_YET
from rational_icl.plotting.grids import mean_of_runs
from rational_icl.plotting.shared import (
    DIVERSITY_LABEL,
    STRATEGY_COLOURS,
    diversity_ticks,
    ordered,
    outline_fitted,
    scatter_regions,
    span_if_empty,
    step_axis,
    words,
    write_steps,
)


def plot_curves(
    frame: pd.DataFrame,
    *,
    predicted: str,
    observed: str = "relative_distance_id",
    ax: Axes | None = None,
) -> Axes:
    """Relative distance against training step: runs as points, the account's as lines.

    Held-out cells are open points; early, excluded ones are crosses.

    Args:
        frame: from `cell_agreement`.
        predicted: the column of the predicted relative distance.
        observed: the column of the observed relative distance.
    """
    ax = ax or plt.subplots(figsize=(6.6, 4.2), layout="constrained")[1]
    diversities = sorted(frame["num_tasks"].unique())
    palette = dict(zip(diversities, ordered(len(diversities)), strict=True))
    for diversity, cells in frame.groupby("num_tasks"):
        colour = palette[diversity]
        line = mean_of_runs(cells, predicted)
        ax.plot(line.columns, line.iloc[0], color=colour, label=f"{diversity}")
        scatter_regions(ax, cells, observed, colour=colour, size=11)
    span_if_empty(ax, frame["step"])
    step_axis(ax)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel(observed.replace("_", " "))
    ax.axhline(0.5, color="0.6", linewidth=0.6, zorder=0)
    lines = ax.legend(title="D", fontsize="small", loc="center left", bbox_to_anchor=(1, 0.62))
    ax.add_artist(lines)
    ax.legend(
        handles=[
            ax.scatter([], [], s=11, c="0.3", label="fitted"),
            ax.scatter([], [], s=11, facecolors="none", edgecolors="0.3", label="held out"),
            ax.scatter([], [], s=11, c="0.3", marker="x", label="early"),
            *ax.plot([], [], color="0.3", label="account"),
        ],
        fontsize="small",
        loc="center left",
        bbox_to_anchor=(1, 0.12),
    )
    return ax


def plot_weights(frame: pd.DataFrame, strategies: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Strategy weights against step: of best ID mixtures as points, the account's as lines.

    Held-out cells are open points; early, excluded ones are crosses.

    Args:
        frame: from `cell_agreement`, usually of one task diversity.
        strategies: names.
    """
    ax = ax or plt.subplots(figsize=(5.2, 3.4), layout="constrained")[1]
    for name, label, colour in zip(strategies, words(strategies), STRATEGY_COLOURS, strict=False):
        lines = mean_of_runs(frame, f"weight_{name}")
        ax.plot(lines.columns, lines.mean(), color=colour, label=label)
        scatter_regions(ax, frame, f"best_weight_id_{name}", colour=colour, size=8)
    step_axis(ax)
    ax.set(ylim=(-0.03, 1.03), ylabel="weight")
    return ax


def plot_measure(frame: pd.DataFrame, column: str, *, ax: Axes | None = None) -> Axes:
    """An agreement measure against step, averaged over runs, a line per task diversity.

    Lines are thick in fitted cells and thin in held-out ones; early steps are shaded.

    Args:
        frame: from `cell_agreement`.
        column: such as `total_variation_id`.
    """
    ax = ax or plt.subplots(figsize=(5.6, 3.4), layout="constrained")[1]
    diversities = sorted(frame["num_tasks"].unique())
    for diversity, colour in zip(diversities, ordered(len(diversities)), strict=True):
        rows = frame[frame["num_tasks"] == diversity]
        mean = mean_of_runs(rows, column).iloc[0]
        steps = rows.loc[rows["region"] == "fitted", "step"]
        fitted = (mean.index >= steps.min()) & (mean.index <= steps.max())
        ax.plot(mean.index, mean, color=colour, linewidth=0.7, label=f"{diversity:g}")
        ax.plot(mean.index, mean.where(fitted), color=colour, linewidth=2.2)
    early = frame.loc[frame["region"] == "excluded_early", "step"]
    if len(early):
        ax.axvspan(early.min(), early.max(), color="0.92", zorder=0)
    step_axis(ax)
    ax.set_ylim(0, None)
    ax.set_ylabel(column.replace("_", " "))
    ax.legend(
        title="D (thick: fitted,\nthin: held out,\nshaded: early)",
        fontsize="small",
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    return ax


def plot_losses(
    frame: pd.DataFrame, strategies: tuple[str, ...], *, ax: Axes | None = None
) -> Axes:
    """Loss of every strategy against task diversity: a point per run, a line through the means.

    Args:
        frame: one row per cell, with a column loss_K per strategy.
        strategies: names.
    """
    ax = ax or plt.subplots(figsize=(5.2, 3.4), layout="constrained")[1]
    runs = frame.drop_duplicates("run")
    for strategy, colour in zip(strategies, STRATEGY_COLOURS, strict=False):
        column = f"loss_{strategy}"
        sns.lineplot(
            runs, x="num_tasks", y=column, color=colour, errorbar=None, ax=ax, label=strategy
        )
        ax.scatter(runs["num_tasks"], runs[column], s=12, color=colour, alpha=0.7)
    ax.set(xscale="log", ylim=(0, None), xlabel=DIVERSITY_LABEL)
    ax.set_ylabel("loss (nats per prediction)")
    diversity_ticks(ax.xaxis, sorted(runs["num_tasks"].unique()))
    ax.legend(fontsize="small")
    return ax


def plot_crossovers(
    runs: pd.DataFrame,
    predicted: pd.DataFrame,
    frame: pd.DataFrame,
    *,
    label: str = "predicted",
    ax: Axes | None = None,
) -> Axes:
    """Crossovers N*(D): each run's observed one as a point, the account's as a line.

    Runs that do not cross are arrows at their first or last logged step. Everything outside the
    outline is held out, or early.

    Args:
        runs: from `run_crossovers`.
        predicted: columns num_tasks, predicted.
        frame: one row per cell with its `region`, from `cell_agreement`.
        label: of the line, for the legend.
    """
    ax = ax or plt.subplots(figsize=(5.2, 3.8), layout="constrained")[1]
    # runs of one task diversity side by side, so that none hides another
    x = runs["num_tasks"] * 1.07 ** (
        runs.groupby("num_tasks").cumcount()
        - (runs.groupby("num_tasks")["run"].transform("size") - 1) / 2
    )
    crossed = runs["step"].notna()
    ax.scatter(x[crossed], runs["step"][crossed], s=16, color="k", zorder=3, label="run")
    for status, column, marker, run_label in (
        (NOT_YET, "last_step", "^", "run, not by its last step"),
        (ALREADY, "first_step", "v", "run, before its first step"),
    ):
        rows = runs["status"] == status
        if rows.any():
            ax.scatter(
                x[rows], runs[column][rows], s=16, marker=marker, facecolors="none",
                edgecolors="k", linewidths=0.8, label=run_label,
            )  # fmt: skip
    line = predicted.dropna(subset="predicted")
    ax.plot(line["num_tasks"], line["predicted"], color=STRATEGY_COLOURS[0], label=label)
    span_if_empty(ax, frame["num_tasks"], frame["step"])
    ax.set(xscale="log", yscale="log", xlabel=DIVERSITY_LABEL, ylabel="crossover step N*")
    write_steps(ax.yaxis)
    outline_fitted(ax, frame, num_tasks_on_x=True)
    diversity_ticks(ax.xaxis, sorted(runs["num_tasks"].unique()))
    ax.legend(fontsize="small", loc="upper left")
    return ax
