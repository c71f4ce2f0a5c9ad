"""One function per figure. Each draws on the `Axes` it is given, or a new one, and returns it.

All take tidy frames with the column words of the rest of the package: num_tasks, step, run, region.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_rgb
from matplotlib.patches import Patch, Rectangle

from rational_icl.transitions import ALREADY, NOT_YET

STRATEGY_COLOURS = ("#c1442e", "#2f6f9f", "#e3b23c", "#4d9a63", "#7d5ba6", "#333333")
"""Chosen so that no mixture of two looks like a third of the first four."""
_DIVERSITY_LABEL = "task diversity D"
_STEP_LABEL = "training step N"


def plot_map(
    frame: pd.DataFrame,
    column: str,
    *,
    ax: Axes | None = None,
    difference: bool = False,
    label: str | None = None,
) -> Axes:
    """A quantity over (D, N), averaged over runs, on logarithmic axes; grey where undefined.

    Args:
        frame: one row per cell; with a `region` column, the fitted rectangle is outlined and early
            cells are hatched.
        column: what to colour by.
        difference: diverging colours about zero instead of sequential ones from 0 to 1.
        label: of the colour bar; the column's name if None.
    """
    ax = ax or plt.subplots(figsize=(5.2, 3.6), layout="constrained")[1]
    grid = frame.groupby(["num_tasks", "step"])[column].mean().unstack()
    steps, diversities = _edges(grid.columns), _edges(grid.index)
    if difference:
        most = max(float(np.nanmax(np.abs(grid.to_numpy()))), 1e-9)
        colours: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    else:
        colours = {"cmap": _memorizing_map(), "vmin": 0.0, "vmax": 1.0}
    ax.set_facecolor("0.75")  # where undefined
    mesh = ax.pcolormesh(steps, diversities, grid.to_numpy(), rasterized=True, **colours)
    ax.set(xscale="log", yscale="log", xlabel=_STEP_LABEL, ylabel=_DIVERSITY_LABEL)
    ax.set_yticks(grid.index.to_numpy(), [f"{value:g}" for value in grid.index])
    ax.set_yticks([], minor=True)
    ax.figure.colorbar(mesh, ax=ax, label=label or column)
    if "region" in frame:
        _mark_regions(ax, frame, grid)
    return ax


def plot_strategies(
    frame: pd.DataFrame, prefix: str, strategies: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Which strategies show over (D, N): each has a colour, mixtures mix them; grey if undefined.

    Args:
        frame: one row per cell; averaged over runs.
        prefix: of the weights' columns, `weight_` or such as `best_weight_id_`.
        strategies: names.
    """
    ax = ax or plt.subplots(figsize=(6.2, 3.6), layout="constrained")[1]
    weights = [
        frame.groupby(["num_tasks", "step"])[prefix + name].mean().unstack() for name in strategies
    ]
    pure = np.array([to_rgb(colour) for colour in STRATEGY_COLOURS[: len(strategies)]])
    # light adds up, not the numbers that encode it (gamma 2.2)
    light = np.einsum("kds,kc->dsc", np.stack([one.to_numpy() for one in weights]), pure**2.2)
    ax.set_facecolor("0.75")
    steps, diversities = _edges(weights[0].columns), _edges(weights[0].index)
    shown = np.ma.masked_invalid(np.clip(light, 0, 1) ** (1 / 2.2))
    ax.pcolormesh(steps, diversities, shown, rasterized=True)
    ax.set(xscale="log", yscale="log", xlabel=_STEP_LABEL, ylabel=_DIVERSITY_LABEL)
    ax.set_yticks(weights[0].index.to_numpy(), [f"{value:g}" for value in weights[0].index])
    ax.set_yticks([], minor=True)
    if "region" in frame:
        _outline_fitted(ax, frame, num_tasks_on_x=False)
    ax.legend(
        handles=[Patch(color=c, label=n) for c, n in zip(pure, _words(strategies), strict=True)],
        title="pure strategy\n(mixtures: mixed colour)",
        fontsize="small",
        title_fontsize="small",
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    return ax


def plot_weights(frame: pd.DataFrame, strategies: Sequence[str], *, ax: Axes | None = None) -> Axes:
    """Weights against step: of best ID mixtures as points, the account's as lines.

    Args:
        frame: from `cell_agreement`, usually of one task diversity.
        strategies: names.
    """
    ax = ax or plt.subplots(figsize=(5.2, 3.4), layout="constrained")[1]
    lines = frame.groupby("step")[[f"weight_{name}" for name in strategies]].mean()
    for name, words, colour in zip(strategies, _words(strategies), STRATEGY_COLOURS, strict=False):
        ax.plot(lines.index, lines[f"weight_{name}"], color=colour, label=words)
        ax.scatter(frame["step"], frame[f"best_weight_id_{name}"], s=6, color=colour, alpha=0.6)
    ax.set(xscale="log", ylim=(-0.03, 1.03), xlabel=_STEP_LABEL, ylabel="weight")
    return ax


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
    palette = dict(zip(diversities, _ordered(len(diversities)), strict=True))
    styles = {"fitted": ("o", True), "held_out": ("o", False), "excluded_early": ("x", True)}
    for diversity, cells in frame.groupby("num_tasks"):
        colour = palette[diversity]
        line = cells.groupby("step")[predicted].mean()
        ax.plot(line.index, line, color=colour, label=f"{diversity}")
        for region, (marker, filled) in styles.items():
            rows = cells[cells["region"] == region]
            open_circle: dict[str, Any] = {"facecolors": "none", "edgecolors": [colour]}
            face: dict[str, Any] = {"c": [colour]} if filled else open_circle
            ax.scatter(
                rows["step"], rows[observed], s=11, marker=marker, linewidths=0.7, alpha=0.8, **face
            )
    ax.set(xscale="log", ylim=(-0.03, 1.03), xlabel=_STEP_LABEL)
    ax.set_ylabel("relative distance (1 = memorizing)")
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


def plot_crossovers(
    runs: pd.DataFrame, predicted: pd.DataFrame, frame: pd.DataFrame, *, ax: Axes | None = None
) -> Axes:
    """N*(D): each run's observed crossover as a point, the account's as a line.

    Runs that do not cross are arrows at their first or last logged step. Everything outside the
    outline is held out, or early.

    Args:
        runs: from `run_crossovers`.
        predicted: columns num_tasks, predicted.
        frame: one row per cell with its `region`, from `cell_agreement`.
    """
    ax = ax or plt.subplots(figsize=(5.2, 3.8), layout="constrained")[1]
    # runs of one task diversity side by side, so that none hides another
    place = runs["num_tasks"] * 1.07 ** (
        runs.groupby("num_tasks").cumcount()
        - (runs.groupby("num_tasks")["run"].transform("size") - 1) / 2
    )
    crossed = runs["step"].notna()
    ax.scatter(place[crossed], runs["step"][crossed], s=16, color="k", zorder=3, label="run")
    for status, column, marker, label in (
        (NOT_YET, "last_step", "^", "run, not by its last step"),
        (ALREADY, "first_step", "v", "run, before its first step"),
    ):
        rows = runs["status"] == status
        if rows.any():
            ax.scatter(
                place[rows], runs[column][rows], s=16, marker=marker, facecolors="none",
                edgecolors="k", linewidths=0.8, label=label,
            )  # fmt: skip
    line = predicted.dropna(subset="predicted")
    ax.plot(line["num_tasks"], line["predicted"], color=STRATEGY_COLOURS[0], label="predicted")
    ax.set(xscale="log", yscale="log", xlabel=_DIVERSITY_LABEL, ylabel="crossover step N*")
    _outline_fitted(ax, frame, num_tasks_on_x=True)
    diversities = sorted(runs["num_tasks"].unique())
    ax.set_xticks(diversities, [f"{value:g}" for value in diversities])
    ax.set_xticks([], minor=True)
    ax.legend(fontsize="small", loc="upper left")
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
    ax.set(xscale="log", ylim=(0, None), xlabel=_DIVERSITY_LABEL)
    ax.set_ylabel("loss (nats per prediction)")
    diversities = sorted(runs["num_tasks"].unique())
    ax.set_xticks(diversities, [f"{value:g}" for value in diversities])
    ax.set_xticks([], minor=True)
    ax.legend(fontsize="small")
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
    for diversity, colour in zip(diversities, _ordered(len(diversities)), strict=True):
        rows = frame[frame["num_tasks"] == diversity]
        mean = rows.groupby("step")[column].mean()
        fitted = rows.groupby("step")["region"].first() == "fitted"
        ax.plot(mean.index, mean, color=colour, linewidth=0.7, label=f"{diversity:g}")
        ax.plot(mean.index, mean.where(fitted), color=colour, linewidth=2.2)
    early = frame.loc[frame["region"] == "excluded_early", "step"]
    if len(early):
        ax.axvspan(early.min(), early.max(), color="0.92", zorder=0)
    ax.set(xscale="log", ylim=(0, None), xlabel=_STEP_LABEL)
    ax.set_ylabel(column.replace("_", " "))
    ax.legend(
        title="D (thick: fitted,\nthin: held out,\nshaded: early)",
        fontsize="small",
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    return ax


def _mark_regions(ax: Axes, frame: pd.DataFrame, grid: pd.DataFrame) -> None:
    steps = _edges(grid.columns)
    regions = frame.groupby(["num_tasks", "step"])["region"].first().unstack().to_numpy()
    _outline_fitted(ax, frame, num_tasks_on_x=False)
    early = np.nonzero((regions == "excluded_early").all(axis=0))[0]
    if len(early):
        ax.axvspan(
            steps[0], steps[early.max() + 1], fill=False, hatch="////", edgecolor="0.35", lw=0
        )
    ax.legend(
        handles=[
            Patch(fill=False, edgecolor="k", label="fitted (outside: held out)"),
            Patch(fill=False, hatch="////", edgecolor="0.35", label="early, excluded"),
        ],
        fontsize="x-small",
        loc="upper center",
        bbox_to_anchor=(0.5, -0.2),
        ncols=2,
        frameon=False,
    )


def _outline_fitted(ax: Axes, frame: pd.DataFrame, *, num_tasks_on_x: bool) -> None:
    """A box around the fitted cells, halfway to their neighbours."""
    fitted = frame[frame["region"] == "fitted"]
    if fitted.empty:
        return
    spans = []
    for column in ("num_tasks", "step"):
        values = np.unique(frame[column].to_numpy())
        edges = _edges(pd.Index(values))
        first, last = np.searchsorted(values, [fitted[column].min(), fitted[column].max()])
        spans.append((edges[first], edges[last + 1]))
    (left, right), (low, high) = spans if num_tasks_on_x else spans[::-1]
    box = Rectangle((left, low), right - left, high - low, fill=False, edgecolor="k", lw=1.4)
    if num_tasks_on_x:
        box.set(edgecolor="0.5", linewidth=0.9, linestyle="--", label="fitted cells")
    ax.add_patch(box)


def _edges(centres: pd.Index) -> list[float]:
    """Cell edges halfway, in the logarithm, between neighbouring centres."""
    log = np.log(centres.to_numpy(dtype=float))
    if len(log) == 1:
        return np.exp(log[0] + np.array([-0.35, 0.35])).tolist()
    middle = (log[1:] + log[:-1]) / 2
    ends = [log[0] - (middle[0] - log[0]), *middle, log[-1] + (log[-1] - middle[-1])]
    return np.exp(ends).tolist()


def _words(strategies: Sequence[str]) -> list[str]:
    return [name.replace("_", " ") for name in strategies]


def _memorizing_map() -> Colormap:
    return sns.blend_palette([STRATEGY_COLOURS[1], "#f4f1ea", STRATEGY_COLOURS[0]], as_cmap=True)


def _ordered(count: int) -> list[Any]:
    return list(sns.color_palette("viridis", count))
