"""Simulation-based calibration: whether the sampler finds what logs were simulated with."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl._progress import progress_bar
from rational_icl.posterior.base import Posterior, PosteriorLike
from rational_icl.posterior.coordinates import Seen, seen_at, weights_of
from rational_icl.posterior.model import Data, Latent, Model, moved
from rational_icl.posterior.nuts import prior_draw
from rational_icl.posterior.refits import AT_ONCE, posteriors, with_used


class Ranks(NamedTuple):
    """Ranks of true parameters among draws, from simulation-based calibration.

    Args:
        ranks: a row per simulated data set, a column per parameter: how many of the thinned draws
            are below the value that the data were simulated with.
        num_bins: ranks run from 0 to this, inclusive.
        truth, mean, sd: that value, and mean and standard deviation of the draws.
        divergent: the share of draws that diverged, by data set.
    """

    ranks: pd.DataFrame
    num_bins: int
    truth: pd.DataFrame
    mean: pd.DataFrame
    sd: pd.DataFrame
    divergent: np.ndarray


@in_float64
def simulation_based_calibration(
    posterior: PosteriorLike,
    num_simulations: int = 200,
    *,
    num_warmup: int = 500,
    num_draws: int = 500,
    num_bins: int = 20,
    seed: int = 0,
    progress: bool = True,
) -> Ranks:
    """Ranks of parameters drawn from the prior among draws given cells simulated with them.

    If the sampler and the model are right, ranks are uniform (Talts et al. 2018,
    arXiv:1804.06788). Cells keep their measurement errors.

    Args:
        posterior: from `sample`; says which cells, model and noise.
        num_simulations: data sets, rounded up to a multiple of 12.
        num_warmup, num_draws: of the one chain of each; multiples of 25.
        num_bins: draws kept after thinning; one less than there are ranks.
        seed, progress: as in `leave_one_run_out`.
    """
    specification = Posterior.of(posterior).specification
    model, data = specification.model, specification.data
    softening = np.asarray(data.response.softening)
    simulate = jax.jit(lambda key: _simulated(model, key, data))
    rows: list[dict[str, np.ndarray]] = []
    batches = range(-(-num_simulations // AT_ONCE))
    for batch in progress_bar(batches, desc="simulated logs", unit="batch", progress=progress):
        key = jax.random.fold_in(jax.random.key(seed), batch)
        drawn = [simulate(draw_key) for draw_key in jax.random.split(key, AT_ONCE)]
        truth = {name: np.stack([params[name] for params, _ in drawn]) for name in drawn[0][0]}
        coordinate = np.stack([np.asarray(coordinates) for _, coordinates in drawn])
        weight = weights_of(coordinate, softening)
        responses = [seen_at(weights, softening)._asdict() for weights in weight]
        simulated = with_used(data, np.ones((AT_ONCE, len(data.response)), dtype=bool))
        for name in Seen._fields:
            values = np.stack([response[name] for response in responses])
            simulated = eqx.tree_at(
                lambda d, name=name: getattr(d.response, name), simulated, values
            )
        draws = posteriors(model, simulated, num_warmup, num_draws, seed + batch)
        thinned = np.linspace(0, num_draws - 1, num_bins).round().astype(int)
        rows.append(_ranked(truth, draws, thinned))
    names = [*model.accounts[0].priors, *model.noise_priors]

    def table(kind: str) -> pd.DataFrame:
        return pd.DataFrame(
            {n: np.concatenate([row[f"{kind} {n}"] for row in rows]) for n in names}
        )

    divergent = np.concatenate([row["divergent"] for row in rows])
    return Ranks(table("rank"), num_bins, table("truth"), table("mean"), table("sd"), divergent)


def _ranked(
    truth: dict[str, np.ndarray], draws: dict[str, np.ndarray], thinned: np.ndarray
) -> dict[str, np.ndarray]:
    row = {"divergent": draws["diverging"].mean(axis=1)}
    for name, value in truth.items():
        values = draws[f"each_{name}"][..., 0]
        row[f"rank {name}"] = (values[:, thinned] < value[:, None]).sum(axis=1)
        row[f"truth {name}"] = value
        row[f"mean {name}"], row[f"sd {name}"] = values.mean(axis=1), values.std(axis=1)
    return row


def _simulated(model: Model, key: Array, data: Data) -> tuple[dict[str, Array], Array]:
    """Parameters from the prior, and coordinates of all cells from them."""
    keys = jax.random.split(key, 4)
    truth = prior_draw(model, keys[0], data)
    noise = {name: jnp.atleast_1d(truth[name]) for name in model.noise_priors}
    params = {name: jnp.atleast_1d(truth[name]) for name in model.accounts[0].priors}
    effects, diversity = model.effects(noise, data), data.response.diversity
    size = data.response.coordinate.shape[1]
    shock = jax.random.normal(keys[1], (len(effects.run_variance), size))
    shared = jnp.linalg.cholesky(effects.covariance) @ shock
    of_run = jax.random.normal(keys[2], (len(diversity), size))
    effect = shared[diversity] + jnp.sqrt(effects.run_variance)[diversity][:, None] * of_run
    at = Latent(params, noise, effect, moved(model.plain_log_weight(params, data), effect, data))
    condition = data.condition[data.response.series]
    by_cell = {name: value[condition] for name, value in noise.items()}
    return truth, model.observation.simulate(keys[3], by_cell, at.log_weight, data.response)
