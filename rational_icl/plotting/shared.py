"""Shared parts of figures: labels, colours, axes, and the look of fitted and held-out cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogFormatterMathtext, LogLocator, NullFormatter

STRATEGY_COLOURS = ("#c1442e", "#2f6f9f", "#e3b23c", "#6abf4b", "#7d5ba6", "#333333")
"""Chosen so that no mixture of two looks like a third of the first four."""
MEMORIZING_COLOURS = (STRATEGY_COLOURS[1], "#f4f1ea", STRATEGY_COLOURS[0])
"""Colours of the second strategy (0), halfway, and of the first (1)."""
DIVERSITY_LABEL = "task diversity D"
STEP_LABEL = "training step N"


def outline_fitted(ax: Axes, frame: pd.DataFrame, *, num_tasks_on_x: bool) -> None:
    """A box around the fitted cells, halfway to their neighbours."""
    fitted = frame[frame["region"] == "fitted"]
    if fitted.empty:
        return
    spans = []
    for column in ("num_tasks", "step"):
        values = np.unique(frame[column].to_numpy())
        sides = edges(pd.Index(values))
        start, end = np.searchsorted(values, [fitted[column].min(), fitted[column].max()])
        spans.append((sides[start], sides[end + 1]))
    (left, right), (low, high) = spans if num_tasks_on_x else spans[::-1]
    box = Rectangle((left, low), right - left, high - low, fill=False, edgecolor="k", lw=1.4)
    if num_tasks_on_x:
        box.set(edgecolor="0.5", linewidth=0.9, linestyle="--", label="fitted cells")
    ax.add_patch(box)


def edges(centres: pd.Index) -> list[float]:
    """Cell edges halfway, in the logarithm, between neighbouring centres."""
    log = np.log(centres.to_numpy(dtype=float))
    if len(log) == 1:
        return np.exp(log[0] + np.array([-0.35, 0.35])).tolist()
    middle = (log[1:] + log[:-1]) / 2
    ends = [log[0] - (middle[0] - log[0]), *middle, log[-1] + (log[-1] - middle[-1])]
    return np.exp(ends).tolist()


def span_if_empty(ax: Axes, x: pd.Series, y: pd.Series | None = None) -> None:
    """Limits of logarithmic axes without a single point, from the data that were to be drawn."""
    if not np.isfinite(ax.dataLim.get_points()).all():
        ax.set_xlim(x.min() / 2, x.max() * 2)
        if y is not None:
            ax.set_ylim(y.min() / 2, y.max() * 2)


def step_axis(ax: Axes) -> None:
    """Training steps on a logarithmic horizontal axis."""
    ax.set(xscale="log", xlabel=STEP_LABEL)
    write_steps(ax.xaxis)


def write_steps(axis: Axis) -> None:
    """Steps on a logarithmic axis, as 10,000, and as powers of ten from a hundred million.

    Over less than two decades ticks at 2 and 5 have labels too: Matplotlib would label all of 2 to
    9 there, one over the other.
    """
    low, high = axis.get_view_interval()
    if high < 100 * low:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    powers = LogFormatterMathtext()
    powers.set_axis(axis)
    axis.set_major_formatter(
        FuncFormatter(lambda step, place: f"{step:,.10g}" if step < 1e8 else powers(step, place))
    )
    axis.set_minor_formatter(NullFormatter())


def diversity_ticks(axis: Axis, num_tasks: Sequence[Any] | np.ndarray) -> None:
    """Ticks of an axis of task diversities: one at each, with its number, and none between."""
    axis.set_ticks(num_tasks, [f"{value:g}" for value in num_tasks])
    axis.set_ticks([], minor=True)


def words(strategies: Sequence[str]) -> list[str]:
    """Names of strategies, in words."""
    return [name.replace("_", " ") for name in strategies]


def ordered(count: int) -> list[Any]:
    """Colours in order, such as those of task diversities."""
    return list(sns.color_palette("viridis", count))


def scatter_regions(
    ax: Axes, frame: pd.DataFrame, column: str, *, colour: Any, size: float = 9.0
) -> None:
    """Cells against step: filled circles were fitted, open ones are held out, crosses are early.

    Args:
        frame: from `cell_agreement`.
        column: of it, on the vertical axis.
        colour: of all of them.
        size: points².
    """
    styles: dict[str, dict[str, Any]] = {
        "fitted": {"marker": "o", "c": [colour]},
        "held_out": {"marker": "o", "facecolors": "none", "edgecolors": [colour]},
        "excluded_early": {"marker": "x", "c": [colour]},
    }
    for region, style in styles.items():
        rows = frame[frame["region"] == region]
        ax.scatter(rows["step"], rows[column], s=size, linewidths=0.7, alpha=0.8, **style)
