"""Figures of posteriors: intervals, joint draws and calibration."""

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rational_icl.plotting.shared import STRATEGY_COLOURS, scatter_regions, step_axis

if TYPE_CHECKING:
    import xarray as xr


def plot_interval(
    predicted: "xr.Dataset", frame: pd.DataFrame, strategy: str, *, ax: Axes | None = None
) -> Axes:
    """Weight of a strategy against step at one task diversity: predicted band, observed points.

    Filled points were fitted, open ones are held out, crosses are early.

    Args:
        predicted: from `predict`, at one num_tasks.
        frame: from `cell_agreement`, of that task diversity.
        strategy: name.
    """
    ax = ax or plt.subplots(figsize=(4.2, 3.0), layout="constrained")[1]
    band = predicted.sel(strategy=strategy)
    colour = STRATEGY_COLOURS[0]
    ax.fill_between(
        band["step"], band["lower"], band["upper"], color=colour, alpha=0.2, linewidth=0
    )
    ax.plot(band["step"], band["weight"], color=colour, linewidth=1.2)
    scatter_regions(ax, frame, f"best_weight_id_{strategy}", colour="k")
    step_axis(ax)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel(f"weight, {strategy.replace('_', ' ')}")
    return ax


def plot_crossover_interval(predicted: "xr.Dataset", *, label: str, ax: Axes) -> Axes:
    """Band and median of predicted crossovers N*(D), on a figure such as `plot_crossovers`.

    Where the upper bound is infinite, the band runs off the top.

    Args:
        predicted: from `predict_crossovers`.
        label: for the legend.
    """
    colour = STRATEGY_COLOURS[1]
    diversities = predicted["num_tasks"].to_numpy()
    top = 10 * max(ax.get_ylim()[1], float(predicted["median"].where(np.isfinite).max()))
    low, high = (np.minimum(predicted[kind], top) for kind in ("lower", "upper"))
    limits = ax.get_ylim()
    ax.fill_between(diversities, low, high, color=colour, alpha=0.18, linewidth=0, label=label)
    ax.plot(diversities, np.minimum(predicted["median"], top), color=colour, linestyle="--")
    ax.set_ylim(max(limits[0], 1.0), min(limits[1] * 10, top))
    ax.legend(fontsize="small", loc="upper left")
    return ax


def plot_ridge(
    posterior: "xr.Dataset", x: str, y: str, *, log_y: bool = False, ax: Axes | None = None
) -> Axes:
    """Joint draws of two parameters, which may lie on a ridge that their margins hide.

    Args:
        posterior: the group of that name.
        x, y: parameters.
        log_y: logarithmic vertical axis.
    """
    ax = ax or plt.subplots(figsize=(3.4, 3.0), layout="constrained")[1]
    x_draws, y_draws = posterior[x].to_numpy().ravel(), posterior[y].to_numpy().ravel()
    stride = max(1, len(x_draws) // 2000)
    ax.scatter(x_draws[::stride], y_draws[::stride], s=4, alpha=0.25, linewidths=0, c="0.2")
    correlation = np.corrcoef(x_draws, np.log(y_draws) if log_y else y_draws)[0, 1]
    ax.set(xlabel=x, ylabel=y, yscale="log" if log_y else "linear")
    ax.set_title(f"correlation {correlation:.2f}", fontsize="small")
    return ax


def plot_coverage(predicted: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Coverage of central intervals on held-out cells, at every probability; a diagonal is right.

    Args:
        predicted: from `leave_one_run_out`, with its column `rank`.
    """
    ax = ax or plt.subplots(figsize=(3.6, 3.4), layout="constrained")[1]
    nominal = np.linspace(0, 1, 51)
    distance = 2 * np.abs(predicted["rank"].to_numpy() - 0.5)
    for num_tasks, rows in predicted.groupby("num_tasks"):
        inside = 2 * np.abs(rows["rank"].to_numpy() - 0.5)
        share = (inside[:, None] <= nominal).mean(axis=0)
        ax.plot(nominal, share, color="0.75", linewidth=0.7, label=f"D = {num_tasks}")
    ax.plot(nominal, (distance[:, None] <= nominal).mean(axis=0), color="k", label="all")
    ax.plot([0, 1], [0, 1], color="0.4", linestyle=":", linewidth=0.8)
    ax.set(xlabel="probability of the central interval", ylabel="share of held-out cells inside")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return ax


def plot_ranks(ranks: pd.Series, num_bins: int, *, ax: Axes | None = None) -> Axes:
    """Ranks of simulation-based calibration, less what a uniform distribution would give.

    The difference of the two distribution functions, in a band that holds 95 % of uniform samples
    pointwise (normal approximation of the binomial).

    Args:
        ranks: one column of `Ranks.ranks`.
        num_bins: `Ranks.num_bins`.
    """
    ax = ax or plt.subplots(figsize=(3.0, 2.4), layout="constrained")[1]
    at = np.arange(num_bins + 1)
    uniform = (at + 1) / (num_bins + 1)
    below = (ranks.to_numpy()[:, None] <= at).mean(axis=0)
    half = 1.96 * np.sqrt(uniform * (1 - uniform) / len(ranks))
    ax.fill_between(at, -half, half, color="0.88", linewidth=0)
    ax.step(at, below - uniform, where="mid", color=STRATEGY_COLOURS[0])
    ax.axhline(0, color="0.5", linewidth=0.6)
    ax.set(xlabel="rank", ylabel="ECDF difference", title=str(ranks.name).replace("_", " "))
    return ax
