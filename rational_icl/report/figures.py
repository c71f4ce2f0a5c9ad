"""The figures of a report, by file name."""

from collections.abc import Callable

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rational_icl import plotting
from rational_icl.report.analysis import Analysis


def phase_observed(analysis: Analysis) -> Figure:
    """Observed ID relative distance."""
    figure, ax = _figure(5.4, 3.9)
    plotting.plot_map(
        analysis.frame, "relative_distance_id", ax=ax, label="relative distance (1 = memorizing)"
    )
    ax.set_title("observed")
    return figure


def phase_predicted(analysis: Analysis) -> Figure:
    """Predicted weight of the first strategy."""
    figure, ax = _figure(5.4, 3.9)
    first = analysis.fit.strategies[0]
    plotting.plot_map(analysis.frame, f"weight_{first}", ax=ax, label=f"weight on {first}")
    ax.set_title(f"predicted, {analysis.fit.account.name} account")
    return figure


def phase_difference(analysis: Analysis) -> Figure:
    """Predicted less observed."""
    figure, ax = _figure(5.4, 3.9)
    weight = f"weight_{analysis.fit.strategies[0]}"
    frame = analysis.frame.assign(
        difference=analysis.frame[weight] - analysis.frame["relative_distance_id"]
    )
    plotting.plot_map(frame, "difference", ax=ax, difference=True, label="predicted − observed")
    ax.set_title("difference")
    return figure


def relative_distance(analysis: Analysis) -> Figure:
    """Relative distance against step, with the prediction."""
    figure, ax = _figure(7.2, 4.4)
    plotting.plot_curves(analysis.frame, weight=f"weight_{analysis.fit.strategies[0]}", ax=ax)
    return figure


def crossover(analysis: Analysis) -> Figure:
    """Observed and predicted N*(D)."""
    figure, ax = _figure(5.4, 4.0)
    plotting.plot_crossovers(analysis.runs, analysis.crossover, analysis.frame, ax=ax)
    return figure


def losses(analysis: Analysis) -> Figure:
    """Loss of every strategy against task diversity."""
    figure, ax = _figure(5.4, 3.6)
    plotting.plot_losses(analysis.frame, analysis.fit.strategies, ax=ax)
    return figure


def total_variation(analysis: Analysis) -> Figure:
    """Total variation of next-token predictions, ID and OOD."""
    figure, axes = plt.subplots(1, 2, figsize=(10.2, 3.6), layout="constrained", sharey=True)
    for ax, split in zip(axes, ("id", "ood"), strict=True):
        plotting.plot_total_variation(analysis.frame, split, ax=ax)
    axes[0].get_legend().remove()
    columns = ["total_variation_id", "total_variation_ood"]
    lines = analysis.frame.groupby(["num_tasks", "step"])[columns].mean()
    axes[0].set_ylim(0, 1.05 * float(lines.to_numpy().max()))
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    return plt.subplots(figsize=(width, height), layout="constrained")


FIGURES: dict[str, Callable[[Analysis], Figure]] = {
    make.__name__: make
    for make in (
        phase_observed,
        phase_predicted,
        phase_difference,
        relative_distance,
        crossover,
        losses,
        total_variation,
    )
}
