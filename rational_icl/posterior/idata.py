"""ArviZ groups of draws."""

import json
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from rational_icl import _arviz
from rational_icl._arrays import Array
from rational_icl._arviz import InferenceData
from rational_icl.posterior.constant_data import to_dataset
from rational_icl.posterior.coordinates import weights_of
from rational_icl.posterior.effects import draw_given_runs
from rational_icl.posterior.files import stored_state
from rational_icl.posterior.model import Data, Latent, Model, moved
from rational_icl.posterior.nuts import QUICK, STATISTICS, Draws, constrained, prior_draw
from rational_icl.posterior.specification import Specification

_NUM_PRIOR_DRAWS = 500
_MOST_REPLICATED = 2**24
"""Numbers kept of replicated data: where there are more, those of every second draw, or fourth, …,
the same ones whether draws are made at once or in pieces."""
_ARVIZ_NAMES = {
    "num_steps": "n_steps",
    "mean_accept_prob": "acceptance_rate",
    "potential_energy": "lp",
}
_PREDICTIVE_SEED, _EFFECT_SEED = 1, 2


def to_groups(specification: Specification, draws: Draws, seed: int) -> dict[str, xr.Dataset]:
    """ArviZ groups of a posterior, by name."""
    key = jax.random.key(seed)
    groups = _drawn_groups(specification, draws, key, 0)
    observed = {"weight": (("cell", "strategy"), specification.weight)}
    return groups | {
        "prior": _prior(specification, key),
        "observed_data": xr.Dataset(observed, {"strategy": list(specification.strategies)}),
        "constant_data": to_dataset(specification),
        "sampler_state": stored_state(draws.state),
    }


def appended(idata: InferenceData, specification: Specification, draws: Draws) -> InferenceData:
    """Posterior with further draws."""
    old = {name: _arviz.group(idata, name) for name in _arviz.group_names(idata)}
    done = old["posterior"].sizes["draw"]
    seed = int(_options(idata)["seed"])
    new = _drawn_groups(specification, draws, jax.random.key(seed), done)
    joined = {name: xr.concat([old[name], group], "draw") for name, group in new.items()}
    replicated = joined["posterior_predictive"]
    joined["posterior_predictive"] = replicated.isel(
        draw=_replicated(specification, draws, replicated["draw"].to_numpy())
    )
    return _arviz.inference_data(
        old | joined | {"sampler_state": stored_state(draws.state)}, dict(idata.attrs)
    )


def _drawn_groups(
    specification: Specification, draws: Draws, key: Array, done: int
) -> dict[str, xr.Dataset]:
    model, data = specification.model, specification.data
    named = constrained(model, data, shared_data=True)(draws.position)
    chains, number = draws.statistics["diverging"].shape
    axis = np.arange(done, done + number)
    coords = _coords(specification) | {"chain": np.arange(chains), "draw": axis}
    names = posterior_variables(specification)
    posterior = {
        name: (("chain", "draw", *axes), _squeezed(named[key], axes))
        for name, (key, axes) in names.items()
    }
    if {"sd_run", "sd_num_tasks"} & set(model.noise_priors):
        posterior["effect_run"] = (("chain", "draw", "series", "contrast"), named["effect"])
        effect_key = jax.random.fold_in(key, _EFFECT_SEED)
        spread = _by_draw(effect_key, chains, axis)
        drawn = np.asarray(
            jax.vmap(jax.vmap(_num_tasks_effect, (0, 0, None, None)), (0, 0, None, None))(
                spread, named, model, data
            )
        )
        posterior["effect_num_tasks"] = (("chain", "draw", "diversity", "contrast"), drawn)
    log_density = named["log_density"]
    starts = np.flatnonzero(np.asarray(data.response.first))
    likelihood = {
        "per_cell": (("chain", "draw", "cell"), log_density),
        "per_run": (("chain", "draw", "series"), np.add.reduceat(log_density, starts, axis=2)),
    }
    priors = {
        name.removeprefix("log_prior_"): (("chain", "draw"), value)
        for name, value in named.items()
        if name.startswith("log_prior_")
    }
    index = _replicated(specification, draws, axis)
    subset = {name: value[:, index] for name, value in named.items()}
    replicated = _replicate(
        specification, subset, jax.random.fold_in(key, _PREDICTIVE_SEED), axis[index]
    )
    thinned = coords | {"draw": axis[index]}
    return {
        "posterior": _dataset(posterior, coords),
        "sample_stats": _dataset(_statistics(draws), coords),
        "log_likelihood": _dataset(likelihood, coords),
        "log_prior": _dataset(priors, coords),
        "posterior_predictive": _dataset(
            {"weight": (("chain", "draw", "cell", "strategy"), replicated)}, thinned
        ),
    }


def _replicated(specification: Specification, draws: Draws, axis: np.ndarray) -> np.ndarray:
    """Which of the draws on an axis, up to the last there is, have replicated data kept."""
    chains = len(draws.statistics["diverging"])
    number = chains * (int(axis.max()) + 1) * specification.weight.size
    spacing = 2 ** max(0, math.ceil(math.log2(number / _MOST_REPLICATED)))
    return np.flatnonzero(axis % spacing == 0)


def posterior_variables(specification: Specification) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Variables of a posterior: the model's name, and the axes after chain and draw."""
    model = specification.model
    axes = ("condition",) if specification.pooling != "complete" else ()
    sampled = model.accounts[0].priors
    natural = model.accounts[0].natural(dict.fromkeys(sampled, jnp.ones(())))
    variables = {
        name: (f"natural_{name}", ("condition",) if len(specification.conditions) > 1 else ())
        for name in natural
    }
    variables |= {
        name: (f"each_{name}", axes)
        for name in (*sampled, *model.noise_priors)
        if name not in variables
    }
    if specification.pooling == "partial":
        slopes = bool(specification.covariates.shape[1])
        for name in sampled:
            variables[f"{name}_mean"] = (f"{name}_mean", ())
            variables[f"{name}_sd"] = (f"{name}_sd", ())
            if slopes:
                variables[f"{name}_slope"] = (f"{name}_slope", ("covariate",))
    return variables


def _squeezed(value: np.ndarray, axes: tuple[str, ...]) -> np.ndarray:
    return value if axes or value.ndim == 2 else value[..., 0]


def _by_draw(key: Array, chains: int, axis: np.ndarray) -> Array:
    """One key per chain and draw, so that draws made in pieces are those made at once."""
    of_draw = jax.vmap(lambda draw: jax.random.fold_in(key, draw))(jnp.asarray(axis))
    return jax.vmap(lambda chain: jax.vmap(lambda k: jax.random.fold_in(k, chain))(of_draw))(
        jnp.arange(chains)
    )


def _num_tasks_effect(
    key: Array, named: dict[str, Array], model: Model, data: Data
) -> Float[Array, "diversity contrast"]:
    """A draw of a given e."""
    noise = {name: named[f"each_{name}"] for name in model.noise_priors}
    effects = model.effects(noise, data)
    return draw_given_runs(key, named["effect"], data.response.diversity, effects)


def latent(model: Model, named: dict[str, Array], data: Data) -> Latent:
    """Latent quantities of the model, at one draw of what it names."""
    params = {name: named[f"each_{name}"] for name in model.accounts[0].priors}
    noise = {name: named[f"each_{name}"] for name in model.noise_priors}
    no_effect = jnp.zeros((len(data.condition), data.response.coordinate.shape[1]))
    effect = named.get("effect", no_effect)
    return Latent(params, noise, effect, moved(model.plain_log_weight(params, data), effect, data))


@eqx.filter_jit
def replicates(
    model: Model, named: dict[str, Array], data: Data, keys: Array
) -> Float[Array, "draw cell contrast"]:
    """Replicated coordinates of all cells, drawn anew at every draw of what the model names.

    This is where residuals are drawn for replicated data, for runs left out and for predictions.
    """
    names = [name for name in named if name.startswith("each_") or name == "effect"]
    values = {name: jnp.asarray(named[name]) for name in names}
    condition = data.condition[data.response.series]

    def replicate(item: tuple[Array, dict[str, Array]]) -> Array:
        key, draw = item
        at = latent(model, draw, data)
        noise = {name: value[condition] for name, value in at.noise.items()}
        return model.observation.simulate(key, noise, at.log_weight, data.response)

    return jax.lax.map(replicate, (keys, values), batch_size=64)


def _replicate(
    specification: Specification, named: dict[str, np.ndarray], key: Array, axis: np.ndarray
) -> Float[np.ndarray, "chain draw cell strategy"]:
    chains = len(named["log_density"])
    keys = _by_draw(key, chains, axis)
    drawn = [
        np.asarray(
            replicates(
                specification.model,
                {name: value[chain] for name, value in named.items()},
                specification.data,
                keys[chain],
            )
        )
        for chain in range(chains)
    ]
    softening = np.asarray(specification.data.response.softening)
    return weights_of(np.stack(drawn), softening).astype(np.float32)


def _prior(specification: Specification, key: Array) -> xr.Dataset:
    model = specification.model
    keys = jax.random.split(key, _NUM_PRIOR_DRAWS)
    draw = jax.vmap(lambda draw_key: prior_draw(model, draw_key, specification.data))
    drawn = jax.jit(draw, compiler_options=QUICK)(keys)
    variables = {
        name: (
            ("chain", "draw", *(f"{name}_axis" for _ in range(value.ndim - 1))),
            np.asarray(value)[None],
        )
        for name, value in drawn.items()
    }
    return xr.Dataset(variables, {"chain": [0], "draw": np.arange(_NUM_PRIOR_DRAWS)})


def _statistics(draws: Draws) -> dict[str, Any]:
    statistics = {}
    for name in STATISTICS:
        value = draws.statistics[name]
        if name == "potential_energy":
            value = -value
        statistics[_ARVIZ_NAMES.get(name, name)] = (("chain", "draw"), value)
    return statistics


def _coords(specification: Specification) -> dict[str, Any]:
    diversities = specification.diversities
    return {
        "condition": list(specification.conditions),
        "covariate": [str(name) for name in specification.covariates.columns],
        "strategy": list(specification.strategies),
        "series": np.arange(len(specification.series)),
        "run": ("series", specification.series["run"].to_numpy(dtype=str)),
        "split": ("series", specification.series["split"].to_numpy(dtype=str)),
        "diversity": np.arange(len(diversities)),
        "num_tasks": ("diversity", diversities["num_tasks"].to_numpy()),
    }


def _dataset(variables: dict[str, Any], coords: dict[str, Any]) -> xr.Dataset:
    """Only the coordinates of the axes that are there."""
    axes = {axis for dims, _ in variables.values() for axis in dims}
    used = {
        name: value
        for name, value in coords.items()
        if (value[0] if isinstance(value, tuple) else name) in axes
    }
    return xr.Dataset(variables, used)


def _options(idata: InferenceData) -> dict[str, Any]:
    return json.loads(idata.attrs["options"])
