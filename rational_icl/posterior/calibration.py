"""Proof that intervals mean what they say: runs left out, and simulated logs."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from tqdm import tqdm

from rational_icl import _arviz
from rational_icl._arrays import Array
from rational_icl._arviz import InferenceData
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl.accounts import Account
from rational_icl.observations import Observation
from rational_icl.posterior.chains import chains, check_number, constrained, prior_draw
from rational_icl.posterior.groups import replicate_draw
from rational_icl.posterior.model import Data, Latent, Model, moved
from rational_icl.posterior.problem import Problem, from_dataset
from rational_icl.posterior.whole_runs import series_log_density
from rational_icl.responses import weights_of

_AT_ONCE = 12
"""Posteriors sampled side by side, one chain each: more wait for the slowest of them."""
_LEVELS = (0.5, 0.9)
_TOLERANCE = 1e-6


@in_float64
def leave_one_run_out(
    idata: InferenceData,
    *,
    num_warmup: int = 500,
    num_draws: int = 500,
    seed: int = 0,
    account: Account | None = None,
    observation: Observation | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Predict every run from the others, with the posterior refitted without it.

    Args:
        idata: from `sample`; says which cells, model and noise.
        num_warmup, num_draws: of the one chain of each refit; multiples of 25.
        seed: of the chains and of predictions.
        account, observation: those it was sampled with, where they are not the package's own.
        progress: show a bar.

    Returns:
        One row per cell and strategy but the last: condition, run, split, num_tasks, step,
        strategy, observed (best-mixture weight), predicted (median), lower_L, upper_L and
        covered_L for the central intervals of L = 50 and 90 %, rank (share of draws below the
        observed weight), and log_density (of the whole run, given the others, on its first row).

    Raises:
        FitError: there is only one run.
    """
    problem = from_dataset(_arviz.group(idata, "constant_data"), account, observation)
    runs = _runs(problem)
    if runs.max() < 1:
        raise FitError("there is only one run; leaving it out leaves nothing to predict it from")
    of_cell = runs[np.asarray(problem.data.response.series)]
    groups = [
        np.arange(start, min(start + _AT_ONCE, runs.max() + 1))
        for start in range(0, runs.max() + 1, _AT_ONCE)
    ]
    frames = []
    for group in tqdm(groups, desc="runs left out", unit="batch", disable=not progress):
        padded = np.resize(group, _AT_ONCE)  # of one shape, so that nothing is compiled again
        data = _with_used(problem.data, np.stack([of_cell != run for run in padded]))
        found = _posteriors(problem.model, data, num_warmup, num_draws, seed + int(group[0]))
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), num_draws)
        for place, run in enumerate(group):
            one = {name: value[place] for name, value in found.items()}
            drawn = _replicates(problem.model, one, problem.data, keys)
            density = _run_density(problem, one, runs == run)
            frames.append(_scored(problem, density, drawn, of_cell == run))
    return pd.concat(frames, ignore_index=True)


def coverage(predicted: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Share of held-out cells inside their intervals.

    Args:
        predicted: from `leave_one_run_out`.
        by: a column, such as num_tasks; over all cells if None.

    Returns:
        cells, covered_50, covered_90, and root_mean_square_error of the median.
    """
    frame = predicted.assign(cells=1, squared=(predicted["predicted"] - predicted["observed"]) ** 2)
    frame["group"] = frame[by] if by else "all"
    means = {f"covered_{100 * level:.0f}": "mean" for level in _LEVELS}
    found = frame.groupby("group").agg({"cells": "sum", **means, "squared": "mean"})
    found["root_mean_square_error"] = np.sqrt(found.pop("squared"))
    return found.rename_axis(by or "")


class Ranks(NamedTuple):
    """Simulation-based calibration.

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
    idata: InferenceData,
    num_simulations: int = 200,
    *,
    num_warmup: int = 500,
    num_draws: int = 500,
    num_bins: int = 20,
    seed: int = 0,
    account: Account | None = None,
    observation: Observation | None = None,
    progress: bool = True,
) -> Ranks:
    """Draw parameters from the prior, simulate the same cells, sample, and rank the truth.

    If the sampler and the model are right, ranks are uniform (Talts et al. 2018,
    arXiv:1804.06788). Cells keep their measurement errors.

    Args:
        idata: from `sample`; says which cells, model and noise.
        num_simulations: data sets, rounded up to a multiple of 12.
        num_warmup, num_draws: of the one chain of each; multiples of 25.
        num_bins: draws kept after thinning; one less than there are ranks.
        seed, account, observation, progress: as in `leave_one_run_out`.
    """
    problem = from_dataset(_arviz.group(idata, "constant_data"), account, observation)
    model, data = problem.model, problem.data
    simulate = jax.jit(lambda key: _simulated(model, key, data))
    rows: list[dict[str, np.ndarray]] = []
    batches = range(-(-num_simulations // _AT_ONCE))
    for batch in tqdm(batches, desc="simulated logs", unit="batch", disable=not progress):
        key = jax.random.fold_in(jax.random.key(seed), batch)
        drawn = [simulate(one) for one in jax.random.split(key, _AT_ONCE)]
        truth = {name: np.stack([one[0][name] for one in drawn]) for name in drawn[0][0]}
        coordinate = np.stack([np.asarray(one[1]) for one in drawn])
        every = _with_used(data, np.ones((_AT_ONCE, len(data.response)), dtype=bool))
        every = eqx.tree_at(lambda d: d.response.coordinate, every, coordinate)
        found = _posteriors(model, every, num_warmup, num_draws, seed + batch)
        kept = np.linspace(0, num_draws - 1, num_bins).round().astype(int)
        rows.append(_ranked(truth, found, kept))
    names = [*model.accounts[0].priors, *model.noise_priors]

    def table(kind: str) -> pd.DataFrame:
        return pd.DataFrame(
            {n: np.concatenate([row[f"{kind} {n}"] for row in rows]) for n in names}
        )

    divergent = np.concatenate([row["divergent"] for row in rows])
    return Ranks(table("rank"), num_bins, table("truth"), table("mean"), table("sd"), divergent)


def _ranked(
    truth: dict[str, np.ndarray], found: dict[str, np.ndarray], kept: np.ndarray
) -> dict[str, np.ndarray]:
    row = {"divergent": found["diverging"].mean(axis=1)}
    for name, value in truth.items():
        draws = found[f"each_{name}"][..., 0]
        row[f"rank {name}"] = (draws[:, kept] < value[:, None]).sum(axis=1)
        row[f"truth {name}"] = value
        row[f"mean {name}"], row[f"sd {name}"] = draws.mean(axis=1), draws.std(axis=1)
    return row


def _simulated(model: Model, key: Array, data: Data) -> tuple[dict[str, Array], Array]:
    """Parameters from the prior, and coordinates of all cells from them."""
    keys = jax.random.split(key, 4)
    truth = prior_draw(model, keys[0], data)
    noise = {name: jnp.atleast_1d(truth[name]) for name in model.noise_priors}
    params = {name: jnp.atleast_1d(truth[name]) for name in model.accounts[0].priors}
    of_tasks, of_run = model.effect_scales(noise, data)
    shape = (len(data.condition), data.response.coordinate.shape[1])
    shared = jax.random.normal(keys[1], shape)[np.asarray(data.response.diversity)]
    own = jax.random.normal(keys[2], shape)
    effect = of_tasks[:, None] * shared + of_run[:, None] * own
    at = Latent(params, noise, effect, moved(model.plain_log_weight(params, data), effect, data))
    condition = data.condition[data.response.series]
    each = {name: value[condition] for name, value in noise.items()}
    return truth, model.observation.simulate(keys[3], each, at.log_weight, data.response)


def _posteriors(
    model: Model, data: Data, num_warmup: int, num_draws: int, seed: int
) -> dict[str, np.ndarray]:
    """All that the model names, one chain for each data set: (data set, draw, ...)."""
    for name, value in (("num_warmup", num_warmup), ("num_draws", num_draws)):
        check_number(name, value)
    runner = chains(model, num_warmup, False)
    keys = jax.random.split(jax.random.key(seed), len(data.condition))
    state = runner.warm_up(runner.start(keys, data), data, 0.9)
    drawn = runner.draw(state, data, num_draws)
    found = constrained(model, data, shared_data=False)(drawn.position)
    return {**found, "diverging": drawn.statistics["diverging"]}


def _with_used(data: Data, used: np.ndarray) -> Data:
    """One copy of the data per row of `used`."""
    many = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], len(used), axis=0), data)
    return eqx.tree_at(lambda d: d.response.used, many, used)


@eqx.filter_jit
def _replicates(model: Model, found: dict[str, Array], data: Data, keys: Array) -> Array:
    names = [name for name in found if name.startswith("each_") or name == "effect"]
    some = {name: jnp.asarray(found[name]) for name in names}
    return jax.lax.map(
        lambda item: replicate_draw(model, item[1], data, item[0]), (keys, some), batch_size=64
    )


def _run_density(problem: Problem, found: dict[str, Any], series: np.ndarray) -> float:
    """Log density of a run given the others, its effect integrated out."""
    names = (*problem.model.accounts[0].priors, *problem.model.noise_priors)
    drawn = {name: found[f"each_{name}"] for name in names}
    if "effect" in found and {"sd_run", "sd_num_tasks"} & set(names):
        drawn["effect"] = found["effect"]
    total = series_log_density(problem.model, problem.data, drawn)[:, series].sum(axis=1)
    return float(np.logaddexp.reduce(total) - np.log(len(total)))


def _scored(problem: Problem, log_density: float, drawn: Array, here: np.ndarray) -> pd.DataFrame:
    softening = np.asarray(problem.data.response.softening)[here]
    weight = weights_of(np.asarray(drawn)[:, here], softening)
    series = problem.series.iloc[np.asarray(problem.data.response.series)[here]]
    step = np.concatenate([np.asarray(cells.step) for cells in problem.data.cells])[here]
    frames = []
    for k, strategy in enumerate(problem.strategies[:-1]):
        frame = series.reset_index(drop=True).assign(step=step, strategy=strategy)
        observed = problem.weight[here, k]
        frame["observed"], frame["predicted"] = observed, np.median(weight[..., k], axis=0)
        for level in _LEVELS:
            low, high = np.quantile(weight[..., k], [0.5 - level / 2, 0.5 + level / 2], axis=0)
            name = f"{100 * level:.0f}"
            frame[f"lower_{name}"], frame[f"upper_{name}"] = low, high
            inside = (observed >= low - _TOLERANCE) & (observed <= high + _TOLERANCE)
            frame[f"covered_{name}"] = inside
        frame["rank"] = (weight[..., k] < observed).mean(axis=0)
        frames.append(frame)
    found = pd.concat(frames, ignore_index=True)
    return found.assign(log_density=np.where(found.index == 0, log_density, np.nan))


def _runs(problem: Problem) -> np.ndarray:
    """Index of the run of every series: all splits of a run are left out together."""
    names = problem.series["condition"] + "/" + problem.series["run"]
    return pd.factorize(names)[0]
