"""Figures over task diversity and training step."""

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_rgb
from matplotlib.patches import Patch

from rational_icl.plotting.grids import mean_of_runs
from rational_icl.plotting.shared import (
    DIVERSITY_LABEL,
    MEMORIZING_COLOURS,
    STRATEGY_COLOURS,
    diversity_ticks,
    edges,
    outline_fitted,
    step_axis,
    words,
)

if TYPE_CHECKING:
    import xarray as xr


def plot_map(
    frame: pd.DataFrame,
    column: str,
    *,
    ax: Axes | None = None,
    difference: bool = False,
    label: str | None = None,
    contour: float | None = None,
) -> Axes:
    """A quantity over (D, N), averaged over runs, on logarithmic axes; grey where undefined.

    Args:
        frame: one row per cell; with a `region` column, the fitted rectangle is outlined and early
            cells are hatched.
        column: what to colour by.
        difference: diverging colours about zero instead of sequential ones from 0 to 1.
        label: of the colour bar; the column's name if None.
        contour: the value along which a line is drawn; none if None.
    """
    ax = ax or plt.subplots(figsize=(5.2, 3.6), layout="constrained")[1]
    grid = mean_of_runs(frame, column)
    steps, diversities = edges(grid.columns), edges(grid.index)
    if difference:
        largest = float(np.fmax.reduce(np.abs(grid.to_numpy()), axis=None, initial=1e-9))
        colours: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -largest, "vmax": largest}
    else:
        colours = {"cmap": _memorizing_map(), "vmin": 0.0, "vmax": 1.0}
    ax.set_facecolor("0.75")  # where undefined
    mesh = ax.pcolormesh(steps, diversities, grid.to_numpy(), rasterized=True, **colours)
    step_axis(ax)
    ax.set(yscale="log", ylabel=DIVERSITY_LABEL)
    if contour is not None and min(grid.shape) > 1:
        with warnings.catch_warnings():  # a level that is nowhere is no line
            warnings.simplefilter("ignore", UserWarning)
            ax.contour(grid.columns, grid.index, grid, [contour], colors="k", linewidths=1.2)
    diversity_ticks(ax.yaxis, grid.index.to_numpy())
    ax.figure.colorbar(mesh, ax=ax, label=label or column)
    if "region" in frame:
        _mark_regions(ax, frame, grid)
    return ax


def plot_phase_diagram(phase: "xr.Dataset", *, ax: Axes | None = None) -> Axes:
    """Predicted weights of all strategies over (D, N), as `plot_strategies` shows them.

    Args:
        phase: from `phase_diagram`.
    """
    names = phase["strategy"].to_numpy().tolist()
    frame = phase["weight"].to_dataset("strategy").to_dataframe().reset_index()
    return plot_strategies(frame, "", names, ax=ax)


def plot_strategies(
    frame: pd.DataFrame, prefix: str, strategies: Sequence[str], *, ax: Axes | None = None
) -> Axes:
    """Map of strategy weights over (D, N): a colour each, mixed in mixtures; grey if undefined.

    Args:
        frame: one row per cell; averaged over runs.
        prefix: of the weights' columns, `weight_` or such as `best_weight_id_`.
        strategies: names.
    """
    ax = ax or plt.subplots(figsize=(6.2, 3.6), layout="constrained")[1]
    weights = [mean_of_runs(frame, prefix + name) for name in strategies]
    pure = np.array([to_rgb(colour) for colour in STRATEGY_COLOURS[: len(strategies)]])
    # light adds up, not the numbers that encode it (gamma 2.2)
    light = np.einsum("kds,kc->dsc", np.stack([weight.to_numpy() for weight in weights]), pure**2.2)
    ax.set_facecolor("0.75")
    steps, diversities = edges(weights[0].columns), edges(weights[0].index)
    shown = np.ma.masked_invalid(np.clip(light, 0, 1) ** (1 / 2.2))
    ax.pcolormesh(steps, diversities, shown, rasterized=True)
    step_axis(ax)
    ax.set(yscale="log", ylabel=DIVERSITY_LABEL)
    diversity_ticks(ax.yaxis, weights[0].index.to_numpy())
    if "region" in frame:
        outline_fitted(ax, frame, num_tasks_on_x=False)
    ax.legend(
        handles=[Patch(color=c, label=n) for c, n in zip(pure, words(strategies), strict=True)],
        title="pure strategy\n(mixtures: mixed colour)",
        fontsize="small",
        title_fontsize="small",
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )
    return ax


def _mark_regions(ax: Axes, frame: pd.DataFrame, grid: pd.DataFrame) -> None:
    steps = edges(grid.columns)
    outline_fitted(ax, frame, num_tasks_on_x=False)
    early = frame.loc[frame["region"] == "excluded_early", "step"]
    if len(early):
        end = steps[int(np.searchsorted(grid.columns, early.max())) + 1]
        ax.axvspan(steps[0], end, fill=False, hatch="////", edgecolor="0.35", lw=0)
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


def _memorizing_map() -> Colormap:
    return sns.blend_palette(MEMORIZING_COLOURS, as_cmap=True)
