"""Transformers that are rational mixtures moved by known effects and noise, and their posteriors.

Sampling compiles for tens of seconds, so tests share one small posterior and doctor copies of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from synthetic import everything, make_behaviour, make_cells, make_fit

from rational_icl import _arviz, sample
from rational_icl.accounts import Rational
from rational_icl.cells.records import Behaviour, Cells

# two runs each; the first strategy overtakes the second at steps 29, 105, 396 and 1,400
DIVERSITIES = np.repeat([4.0, 8.0, 16.0, 32.0], 2)
STEPS = np.round(np.geomspace(30, 30_000, 8))
TRUE = {"alpha": 0.5, "beta": 0.2, "gamma": 0.5}
NOISE = {
    "sd_num_tasks": 0.4,
    "length_num_tasks": 1.0,
    "sd_run": 0.2,
    "scale_residual": 0.15,
    "correlation_length": 0.05,
}
OPTIONS = {
    "num_chains": 2,
    "num_warmup": 150,
    "num_draws": 300,
    "adapt": False,
    "progress": False,
}
SOFTENING = 0.02
BY_DRAW = ("posterior", "sample_stats", "log_likelihood", "log_prior")


def design(num_tasks: Sequence[float] | np.ndarray = DIVERSITIES) -> Cells:
    """Cells of the small posterior, or of other task diversities at its steps."""
    return make_cells(num_tasks, STEPS)


def smooth(num_tasks: np.ndarray, length: float) -> np.ndarray:
    """Correlation of effects of task diversity: Matérn-3/2 in ln D, and one percent of their own.

    Entry by entry; divided by nothing, so that the diagonal is 1.01.
    """
    size = len(num_tasks)
    found = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            r = np.sqrt(3) * abs(np.log(num_tasks[i]) - np.log(num_tasks[j])) / length
            found[i, j] = (1 + r) * np.exp(-r) + 0.01 * (num_tasks[i] == num_tasks[j])
    return found


def noisy_weights(
    cells: Cells, rng: np.random.Generator, params: Mapping[str, float], noise: Mapping[str, float]
) -> np.ndarray:
    """A draw of observed weights of two strategies (cell, strategy), as the model says."""
    logit = np.subtract(*make_fit(cells, **params).log_weights(cells).T)
    diversity, place = np.unique(cells.num_tasks, return_inverse=True)
    each = len(np.unique(cells.step))
    covariance = noise["sd_num_tasks"] ** 2 * smooth(diversity, noise["length_num_tasks"])
    of_task = np.linalg.cholesky(covariance) @ rng.normal(size=len(diversity))
    of_run = rng.normal(size=len(cells) // each) * noise["sd_run"]
    weight = 1 / (1 + np.exp(-logit - of_task[place] - np.repeat(of_run, each)))
    root = np.sqrt(np.asarray(cells.step)).reshape(-1, each)
    longest = (root - root[:, :1]).max()
    residual = rng.standard_t(4, size=root.shape)
    for i in range(1, each):
        gap = (root[:, i] - root[:, i - 1]) / longest
        rho = 0.9999 * np.exp(-gap / noise["correlation_length"])
        residual[:, i] = rho * residual[:, i - 1] + np.sqrt(1 - rho**2) * residual[:, i]
    y = np.log((weight + SOFTENING) / (1 - weight + SOFTENING))
    soft = 1 / (1 + np.exp(-y - noise["scale_residual"] * residual.ravel()))
    first = np.clip(soft * (1 + 2 * SOFTENING) - SOFTENING, 0, 1)
    return np.stack([first, 1 - first], axis=1)


def noisy(
    cells: Cells,
    seed: int,
    params: Mapping[str, float] = TRUE,
    noise: Mapping[str, float] = NOISE,
    error: float = 0.005,
) -> Behaviour:
    """Transformers with noisy weights, measured with a standard error of `error`."""
    weight = noisy_weights(cells, np.random.default_rng([23, seed]), params, noise)
    return measured(cells, weight, error)


def measured(cells: Cells, weight: np.ndarray, error: float = 0.005) -> Behaviour:
    """Transformers with the given weights of two strategies."""
    covariance = error**2 * np.array([[1.0, -1.0], [-1.0, 1.0]])
    return make_behaviour(
        cells,
        best_weight=weight,
        best_weight_covariance=np.broadcast_to(covariance, (len(cells), 2, 2)),
    )


def sampled(cells: Cells, behaviour: Behaviour, **options: Any) -> Any:
    """ArviZ groups of a posterior of the rational account, of all cells."""
    given = {**OPTIONS, "regions": everything(cells), **options}
    return sample(Rational(), cells, behaviour, **given).idata


def groups_of(idata: Any) -> dict[str, xr.Dataset]:
    """All groups by name, of a posterior or of ArviZ's object."""
    idata = getattr(idata, "idata", idata)
    return {name: _arviz.group(idata, name) for name in _arviz.group_names(idata)}


def doctored(idata: Any, **groups: xr.Dataset | Mapping[str, Any]) -> Any:
    """A copy with other groups, or other numbers of some variables in a group."""
    every = groups_of(idata)
    for name, change in groups.items():
        if isinstance(change, xr.Dataset):
            every[name] = change
        else:
            values = {key: (every[name][key].dims, value) for key, value in change.items()}
            every[name] = every[name].assign(values)
    return _arviz.inference_data(every, dict(idata.attrs))


def chosen(idata: Any, chain: Any, draw: Any) -> Any:
    """A copy whose draws (chain, draw) are those of the given chains and places."""
    every = groups_of(idata)
    picked = {}
    for name in BY_DRAW:
        group = every[name].isel(
            chain=xr.DataArray(chain, dims=("c", "d")), draw=xr.DataArray(draw, dims=("c", "d"))
        )
        group = group.drop_vars(["chain", "draw"], errors="ignore")
        group = group.rename(c="chain", d="draw").transpose("chain", "draw", ...)
        count = {axis: np.arange(group.sizes[axis]) for axis in ("chain", "draw")}
        picked[name] = group.assign_coords(count)
    return doctored(idata, **picked)


def shuffled(idata: Any, num_chains: int = 4, num_draws: int = 600) -> Any:
    """The same distribution from chains without any memory: draws repeated in random order."""
    posterior = _arviz.group(idata, "posterior")
    size = posterior.sizes["chain"] * posterior.sizes["draw"]
    rng = np.random.default_rng(5)
    rounds = -(-num_chains * num_draws // size)
    place = np.concatenate([rng.permutation(size) for _ in range(rounds)])
    place = rng.permutation(place[: num_chains * num_draws]).reshape(num_chains, num_draws)
    return chosen(idata, *np.divmod(place, posterior.sizes["draw"]))


def assert_same(one: Any, other: Any, rounding: float = 0.0) -> None:
    """Equal axes, attributes and numbers in every group, the latter but for rounding."""
    first, second = groups_of(one), groups_of(other)
    assert set(first) == set(second)
    for name, group in first.items():
        if rounding:
            xr.testing.assert_allclose(group, second[name], rtol=rounding, atol=rounding)
        else:
            xr.testing.assert_identical(group, second[name])
    assert dict(one.attrs) == dict(other.attrs)
