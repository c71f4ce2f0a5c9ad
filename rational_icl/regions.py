"""Which cells a fit may use, which are held out, and which come too early to be explained."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from rational_icl._errors import FitError
from rational_icl.cells import Behaviour, Cells

FITTED_SHARE = 0.8
_INDISTINGUISHABLE = 1e-6
"""Nats: the accuracy of the statistics, so that rounding does not decide."""


class Regions(NamedTuple):
    """A partition of the cells: each cell is in exactly one of the three."""

    fitted: Bool[np.ndarray, " cell"]
    held_out: Bool[np.ndarray, " cell"]
    excluded_early: Bool[np.ndarray, " cell"]


def partition_cells(cells: Cells, behaviour: Behaviour, quantile: float | None = None) -> Regions:
    """The fitted rectangle, the held-out rest, and early checkpoints.

    Fitted: the first 80 % of the distinct steps and the first 80 % of the distinct task diversities
    (both rounded down, counted before early cells are taken out), ID only. Early: steps before
    `first_step`, which a two-strategy account cannot explain; with three or more strategies none is
    excluded. Everything else is held out. Rule and share are those of Wurgaft et al. (2025),
    arXiv:2506.17859.

    Args:
        cells, behaviour: from `summarize`.
        quantile: of the early-checkpoint rule, in [0, 1); the setting's own if None.

    Raises:
        FitError: fewer than two task diversities, or no cell is left to fit.
    """
    num_tasks, step = np.asarray(cells.num_tasks), np.asarray(cells.step)
    diversities, steps = np.unique(num_tasks), np.unique(step)
    if len(diversities) < 2:
        raise FitError(
            f"the log holds {len(diversities)} task diversity (num_tasks = {diversities[0]:.0f}); "
            "a fit across task diversity needs at least two, add runs with other num_tasks"
        )
    if quantile is None:
        quantile = cells.setting.early_quantile
    if not 0 <= quantile < 1:
        raise FitError(f"quantile: {quantile}; expected a number from 0 up to, not including, 1")
    excluded = np.zeros(len(cells), dtype=bool)
    if len(cells.strategies) == 2:
        excluded = step < first_step(cells, behaviour, quantile)
    last_fitted_step = steps[max(1, int(FITTED_SHARE * len(steps))) - 1]
    last_fitted_diversity = diversities[max(1, int(FITTED_SHARE * len(diversities))) - 1]
    inside = (step <= last_fitted_step) & (num_tasks <= last_fitted_diversity)
    fitted = inside & ~excluded
    if not fitted.any():
        raise FitError(
            f"no cells left to fit: the early-checkpoint rule (quantile {quantile:g}) excludes "
            f"every step before {step[~excluded].min(initial=np.inf):.0f}, and fitted steps end at "
            f"{last_fitted_step:.0f}; train longer, log more checkpoints, or raise the quantile"
        )
    return Regions(fitted, ~inside & ~excluded, excluded)


def first_step(cells: Cells, behaviour: Behaviour, quantile: float) -> float:
    """The first step from which transformers lie between their strategies.

    For each task diversity, the first step at which KL(T || best mixture) on ID sequences, averaged
    over its runs, is at most min + quantile (max − min) over its steps; then the largest of these.
    """
    distance = behaviour.splits["id"].best_divergence
    num_tasks, step = np.asarray(cells.num_tasks), np.asarray(cells.step)
    firsts = []
    for diversity in np.unique(num_tasks):
        here = num_tasks == diversity
        steps, place = np.unique(step[here], return_inverse=True)
        mean = np.bincount(place, weights=distance[here]) / np.bincount(place)
        finite = mean[np.isfinite(mean)]
        if not len(finite):
            return float("inf")
        least, most = finite.min(), finite.max()
        near = mean <= least + max(quantile * (most - least), _INDISTINGUISHABLE)
        firsts.append(steps[np.argmax(near)])
    return float(max(firsts))
