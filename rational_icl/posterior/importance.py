"""Runs left out without refitting: importance sampling of a posterior's own draws.

The likelihood of a run, on all its splits, is taken with its effects integrated out, given those of
the other runs. Given the run's effects instead, leaving it out would move the posterior too far for
importance sampling to follow (Merkle et al. 2019, doi:10.1007/s11336-019-09679-0).
"""

import numpy as np
import pandas as pd
import xarray as xr

from rational_icl import _arviz
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl.posterior.base import Posterior, PosteriorLike
from rational_icl.posterior.loo import MOST_STRATEGIES, series_log_density
from rational_icl.posterior.model import Model


@in_float64
def leave_one_run_out_psis(
    posterior: PosteriorLike,
) -> pd.DataFrame:
    """Expected log predictive density of every run given the others, by importance sampling.

    Pareto-smoothed (Vehtari et al. 2017, doi:10.1007/s11222-016-9696-4), by ArviZ.

    Args:
        posterior: from `sample`.

    Returns:
        One row per run: condition, run, num_tasks, elpd (nats), pareto_k, and seen_log_density, the
        same with the run among the data. Above a pareto_k of 0.7 the estimate of that run is not
        reliable: refit without it (`leave_one_run_out`).

    Raises:
        FitError: there is only one run, or more than four strategies.
    """
    given = Posterior.of(posterior)
    specification = given.specification
    if len(specification.strategies) > MOST_STRATEGIES:
        raise FitError(
            f"{len(specification.strategies)} strategies; importance sampling of runs is for two "
            f"to {MOST_STRATEGIES}"
        )
    runs = specification.series.groupby(["condition", "run"], sort=False)
    if runs.ngroups < 2:
        raise FitError("there is only one run; leaving it out leaves nothing to predict it from")
    draws = _arviz.group(given.idata, "posterior")
    drawn = _flat(specification.model, draws)
    shape = (draws.sizes["chain"], draws.sizes["draw"], -1)
    of_run = specification.runs
    density = series_log_density(specification.model, specification.data, drawn, of_run).reshape(
        shape
    )
    by_run = np.stack(
        [density[..., of_run == index].sum(axis=-1) for index in range(runs.ngroups)], axis=-1
    )
    elpd, pareto_k = _arviz.psis_loo(by_run)
    table = runs["num_tasks"].first().reset_index()
    by_draw = by_run.reshape(-1, runs.ngroups)
    seen_log_density = np.logaddexp.reduce(by_draw, axis=0) - np.log(len(by_draw))
    return table.assign(elpd=elpd, pareto_k=pareto_k, seen_log_density=seen_log_density)


def _flat(model: Model, posterior: xr.Dataset) -> dict[str, np.ndarray]:
    """Parameters by condition, and effects, of all draws of all chains."""
    stacked = posterior.stack(sample=("chain", "draw"))
    drawn = {}
    for name in (*model.accounts[0].priors, *model.noise_priors):
        value = stacked[name].transpose("sample", ...).to_numpy()
        by_condition = value if value.ndim == 2 else value[:, None]
        drawn[name] = np.broadcast_to(by_condition, (len(value), len(model.accounts)))
    if "effect_run" in stacked:
        effect = stacked["effect_run"].transpose("sample", "series", "contrast")
        drawn["effect"] = effect.to_numpy()
    return drawn
