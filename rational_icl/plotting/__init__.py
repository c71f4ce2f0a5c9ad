"""Figures: one function each, which draws on given `Axes` or new ones, and returns them.

All take tidy frames with the column words of the rest of the package: num_tasks, step, run, region.
"""

from rational_icl.plotting.comparisons import (
    plot_ablations,
    plot_account_map,
    plot_forest,
    plot_recovery,
    plot_transitions,
)
from rational_icl.plotting.curves import (
    plot_crossovers,
    plot_curves,
    plot_losses,
    plot_measure,
    plot_weights,
)
from rational_icl.plotting.intervals import (
    plot_coverage,
    plot_crossover_interval,
    plot_interval,
    plot_ranks,
    plot_ridge,
)
from rational_icl.plotting.maps import plot_map, plot_phase_diagram, plot_strategies
from rational_icl.plotting.shared import STRATEGY_COLOURS

__all__ = [
    "STRATEGY_COLOURS",
    "plot_ablations",
    "plot_account_map",
    "plot_coverage",
    "plot_crossover_interval",
    "plot_crossovers",
    "plot_curves",
    "plot_forest",
    "plot_interval",
    "plot_losses",
    "plot_map",
    "plot_measure",
    "plot_phase_diagram",
    "plot_ranks",
    "plot_recovery",
    "plot_ridge",
    "plot_strategies",
    "plot_transitions",
    "plot_weights",
]
