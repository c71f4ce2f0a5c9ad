"""The figures of a report, by file name."""

from collections.abc import Callable

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rational_icl import plotting
from rational_icl.report.result import Analysis


def phase_observed(analysis: Analysis) -> Figure:
    """Observed ID relative distance."""
    figure, ax = _figure(4.3, 3.5)
    column = "relative_distance_id"
    plotting.plot_map(analysis.frame, column, ax=ax, label=_label(analysis), contour=0.5)
    ax.set_title("observed")
    return figure


def phase_predicted(analysis: Analysis) -> Figure:
    """ID relative distance of the account's mixtures."""
    figure, ax = _figure(4.3, 3.5)
    column = "predicted_relative_distance_id"
    plotting.plot_map(analysis.frame, column, ax=ax, label=_label(analysis), contour=0.5)
    ax.set_title(f"predicted, {analysis.fit.account.name} account")
    return figure


def phase_difference(analysis: Analysis) -> Figure:
    """ID relative distance, predicted less observed."""
    figure, ax = _figure(4.3, 3.5)
    observed, predicted = "relative_distance_id", "predicted_relative_distance_id"
    frame = analysis.frame.assign(difference=analysis.frame[predicted] - analysis.frame[observed])
    plotting.plot_map(frame, "difference", ax=ax, difference=True, label="predicted − observed")
    ax.set_title("difference")
    return figure


def phase_strategies(analysis: Analysis) -> Figure:
    """Weights of all strategies, mixed by colour: of best mixtures, and predicted."""
    figure, axes = plt.subplots(1, 2, figsize=(10.2, 4.0), layout="constrained", sharey=True)
    strategies = analysis.fit.strategies
    for ax, prefix, title in (
        (axes[0], "best_weight_id_", "observed (best mixture)"),
        (axes[1], "weight_", f"predicted, {analysis.fit.account.name} account"),
    ):
        plotting.plot_strategies(analysis.frame, prefix, strategies, ax=ax)
        ax.set_title(title)
    axes[0].get_legend().remove()
    axes[1].set_ylabel("")
    return figure


def strategy_weights(analysis: Analysis) -> Figure:
    """Weights of all strategies against step, a panel per task diversity."""
    diversities = sorted(analysis.frame["num_tasks"].unique())
    columns = min(4, len(diversities))
    rows = -(-len(diversities) // columns)
    size = (2.6 * columns + 1.6, 2.0 * rows + 0.6)
    figure, axes = plt.subplots(
        rows, columns, figsize=size, layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for ax, diversity in zip(axes.flat, diversities, strict=False):
        rows_here = analysis.frame[analysis.frame["num_tasks"] == diversity]
        plotting.plot_weights(rows_here, analysis.fit.strategies, ax=ax)
        ax.set_title(f"D = {diversity:g}", fontsize="small")
        ax.label_outer()
    for ax in axes.flat[len(diversities) :]:
        ax.set_axis_off()
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", fontsize="small")
    return figure


def relative_distance(analysis: Analysis) -> Figure:
    """Relative distance against step, with the prediction."""
    figure, ax = _figure(7.2, 4.4)
    plotting.plot_curves(analysis.frame, predicted="predicted_relative_distance_id", ax=ax)
    ax.set_ylabel(_label(analysis))
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


def prediction_error(analysis: Analysis) -> Figure:
    """Distance of the account's predictions from the transformers', ID and OOD."""
    figure, axes = plt.subplots(1, 2, figsize=(10.2, 3.6), layout="constrained", sharey=True)
    measure = analysis.prediction_measure
    for ax, split in zip(axes, ("id", "ood"), strict=True):
        plotting.plot_measure(analysis.frame, f"{measure}_{split}", ax=ax)
        unit = " (nats)" if measure == "divergence" else ""
        ax.set_ylabel(f"{measure.replace('_', ' ')}{unit}, {split.upper()}")
    axes[0].get_legend().remove()
    columns = [f"{measure}_{split}" for split in ("id", "ood")]
    lines = analysis.frame.groupby(["num_tasks", "step"])[columns].mean()
    axes[0].set_ylim(0, 1.05 * float(lines.to_numpy().max()))
    return figure


def _label(analysis: Analysis) -> str:
    return f"relative distance (1 = {analysis.fit.strategies[0].replace('_', ' ')})"


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    return plt.subplots(figsize=(width, height), layout="constrained")


FIGURES: dict[str, Callable[[Analysis], Figure]] = {
    make.__name__: make
    for make in (
        phase_observed,
        phase_predicted,
        phase_difference,
        phase_strategies,
        relative_distance,
        strategy_weights,
        crossover,
        losses,
        prediction_error,
    )
}
