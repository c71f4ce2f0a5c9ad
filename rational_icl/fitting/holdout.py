"""The hold-out rule: which cells a fit may use, which are held out, and which come too early."""

from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from rational_icl._errors import FitError
from rational_icl.cells.records import Behaviour, Cells

FITTED_SHARE = 0.8
_INDISTINGUISHABLE = 1e-6
"""Nats: the accuracy of the statistics, so that rounding does not decide."""


class Regions(NamedTuple):
    """A partition of the cells: each cell is in exactly one of the three."""

    fitted: Bool[np.ndarray, " cell"]
    held_out: Bool[np.ndarray, " cell"]
    excluded_early: Bool[np.ndarray, " cell"]

    @property
    def labels(self) -> Shaped[np.ndarray, " cell"]:
        """Name of the region of each cell: fitted, held_out or excluded_early."""
        return np.array(self._fields)[np.argmax(np.stack(self), axis=0)]


def partition_cells(cells: Cells, behaviour: Behaviour, quantile: float | None = None) -> Regions:
    """The published partition: early checkpoints, the fitted rectangle, and the held-out rest.

    Early are the steps before `first_step`, which an account of two strategies cannot explain; with
    three or more strategies none is. Of the distinct steps that remain the first ⌈80 %⌉ are fitted,
    for the first ⌈80 %⌉ of the distinct task diversities, ID only. Everything else is held out. The
    rule is that of Wurgaft et al. (2025), arXiv:2506.17859, as their code has it: which steps are
    early is read off all cells, held out or not. Folds of `compare` read it off fitted cells.

    Args:
        cells, behaviour: from `summarize`.
        quantile: of the early-checkpoint rule, in [0, 1); the setting's own if None.

    Raises:
        FitError: fewer than two task diversities, or some task diversity is never near a mixture.
    """
    num_tasks, step = np.asarray(cells.num_tasks), np.asarray(cells.step)
    diversities = np.unique(num_tasks)
    if len(diversities) < 2:
        raise FitError(
            f"the log holds {len(diversities)} task diversity (num_tasks = {diversities[0]:.0f}); "
            "a fit across task diversity needs at least two, add runs with other num_tasks"
        )
    excluded = step < first_step(cells, behaviour, quantile)
    if excluded.all():
        raise FitError(
            "no cells left to fit: the transformers of some task diversity are infinitely far from "
            "every mixture at every step; add a strategy that allows what they allow, or leave out "
            "these runs"
        )
    inside = (step <= last_fitted(step[~excluded])) & (num_tasks <= last_fitted(num_tasks))
    return Regions(inside & ~excluded, ~inside & ~excluded, excluded)


def last_fitted(values: Float[np.ndarray, " cell"]) -> float:
    """Largest value that is fitted: the last of the first ⌈80 %⌉ of the distinct ones."""
    distinct = np.unique(values)
    return float(distinct[ceil(FITTED_SHARE * len(distinct)) - 1])


def first_step(
    cells: Cells,
    behaviour: Behaviour,
    quantile: float | None = None,
    readable: Bool[np.ndarray, " cell"] | None = None,
) -> float:
    """The first step from which transformers lie between their strategies.

    For each task diversity, the first step at which the distance of T from the mixture that
    relative distance names (`interpolation_distance`), on ID sequences and averaged over runs, is
    below min + quantile (max − min) over its steps; then the largest of these. A task diversity
    where that distance is undefined in some cell is judged by the divergence of T from the best
    mixture instead.

    Args:
        cells, behaviour: from `summarize`.
        quantile: in [0, 1); the setting's own if None.
        readable: the cells that the rule may read; all if None.

    Returns:
        Optimizer steps: 0 with three or more strategies, infinity where some task diversity has no
        finite distance.

    Raises:
        FitError: the quantile is out of range.
    """
    if quantile is None:
        quantile = cells.setting.early_quantile
    if not 0 <= quantile < 1:
        raise FitError(f"quantile: {quantile}; expected a number from 0 up to, not including, 1")
    if len(cells.strategies) != 2:
        return 0.0
    split = behaviour.splits["id"]
    num_tasks = np.asarray(cells.num_tasks)
    is_readable = np.ones(len(cells), dtype=bool) if readable is None else readable
    first_steps = []
    for diversity in np.unique(num_tasks[is_readable]):
        in_diversity = is_readable & (num_tasks == diversity)
        distance = split.interpolation_distance[in_diversity]
        if not np.isfinite(distance).all():
            distance = split.best_divergence[in_diversity]
        first_steps.append(_first_near(np.asarray(cells.step)[in_diversity], distance, quantile))
    return max(first_steps)


def _first_near(
    step: Float[np.ndarray, " cell"], distance: Float[np.ndarray, " cell"], quantile: float
) -> float:
    """The first step at which the mean distance of its cells is below the threshold."""
    steps, index = np.unique(step, return_inverse=True)
    mean = np.bincount(index, weights=distance) / np.bincount(index)
    finite = mean[np.isfinite(mean)]
    if not len(finite):
        return float("inf")
    margin = max(quantile * (finite.max() - finite.min()), _INDISTINGUISHABLE)
    return float(steps[np.argmax(mean < finite.min() + margin)])
