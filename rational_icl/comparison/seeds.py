"""Scatter of runs of one task diversity by their seeds: the same for all accounts."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from rational_icl._errors import FitError
from rational_icl.posterior.coordinates import Response


class SeedScatter(NamedTuple):
    """Scatter of runs about the mean run of their task diversity, in log-odds.

    Args:
        sd_run: of an offset common to all cells of a run.
        sd_cell: of a cell about its run, beside measurement error.
    """

    sd_run: float
    sd_cell: float


def seed_scatter(response: Response, steps: Float[np.ndarray, " cell"]) -> SeedScatter:
    """Scatter of runs by their seeds, estimated by moments from runs with sisters.

    No account enters. A coordinate less the mean over the n runs of its task diversity at the same
    step, times √(n/(n − 1)), is taken apart into the mean over its run and the rest, whose
    variances have those that measurement error gives them taken off.

    Args:
        response: of all cells.
        steps: of these cells.

    Raises:
        FitError: no two runs of one task diversity have a step in common.
    """
    values = np.asarray(response.coordinate)
    series = np.asarray(response.series)
    groups = [np.asarray(response.diversity)[series], steps]
    number = pd.Series(series).groupby(groups).transform("count").to_numpy()
    mean = pd.DataFrame(values).groupby(groups).transform("mean").to_numpy()
    has_sister = number > 1
    if not has_sister.any():
        raise FitError(
            "no two runs have the same num_tasks and a step in common, so that nothing is known of "
            "how runs scatter; log a second seed of at least one num_tasks"
        )
    number = number[has_sister]
    deviation = (values - mean)[has_sister] * np.sqrt(number / (number - 1.0))[:, None]
    _, run = np.unique(series[has_sister], return_inverse=True)
    cells = np.bincount(run)
    offset = np.stack([np.bincount(run, weights=column) for column in deviation.T], axis=1)
    offset = offset / cells[:, None]
    noise = np.bincount(run, weights=np.asarray(response.variance)[has_sister]) / cells
    within_run = ((deviation - offset[run]) ** 2).mean(axis=1)
    freedom = cells - 1
    of_cell = (within_run.sum() - freedom @ noise) / freedom.sum() if freedom.any() else 0.0
    of_cell = max(float(of_cell), 0.0)
    of_run = (offset**2).mean(axis=1) - (noise + of_cell) / cells
    return SeedScatter(float(np.sqrt(max(of_run.mean(), 0.0))), float(np.sqrt(of_cell)))


def draw_runs(
    scatter: SeedScatter,
    mean: Float[np.ndarray, "cell contrast"],
    response: Response,
    rng: np.random.Generator,
) -> Float[np.ndarray, "cell contrast"]:
    """Coordinates of simulated runs about given means, with measurement error."""
    offset = scatter.sd_run * rng.standard_normal((len(response.diversity), mean.shape[1]))
    scale = np.sqrt(scatter.sd_cell**2 + np.asarray(response.variance))
    noise = scale[:, None] * rng.standard_normal(mean.shape)
    return mean + offset[np.asarray(response.series)] + noise
