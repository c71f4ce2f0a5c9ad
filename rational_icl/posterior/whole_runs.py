"""The density of whole runs, with their own effects integrated out given those of the others."""

from itertools import product
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.posterior.model import Data, Model, moved, series_level
from rational_icl.responses import contrasts

_NODES = {1: 21, 2: 13, 3: 9}
"""Of the integral over a run's effect, by number of contrasts: half to one standard deviation."""
_REACH = 5.0
"""Standard deviations, to either side."""
_NEWTON_STEPS = 8
_LONGEST_STEP = 0.5
_WIDEST = 1.0
MOST_STRATEGIES = 4


def series_log_density(
    model: Model, data: Data, drawn: dict[str, np.ndarray]
) -> Float[np.ndarray, "draw series"]:
    """Log density of the cells of every series, given the others' effects.

        ln ∫ p(y_s | e) N(e; mean and variance given the effects of the others of its D) de

    on a grid about where the likelihood has its maximum. Cells of the series itself count whether
    they are `used` or not.

    Args:
        model, data: what was sampled.
        drawn: every parameter of account and noise, each (draw, condition), and effect
            (draw, series, contrast) where the model has any.
    """
    own = {name: jnp.asarray(value) for name, value in drawn.items()}
    if "effect" not in own:
        return np.asarray(_without_effect(model, data, own))
    size = own["effect"].shape[2]
    line = np.linspace(-_REACH, _REACH, _NODES[size])
    nodes = np.array(list(product(line, repeat=size)))
    centre, width = _likeliest(model, data, {name: value.mean(0) for name, value in own.items()})
    return np.asarray(_integrated(model, data, own, nodes, centre, width))


class _Draw(NamedTuple):
    """One draw, ready to be asked for the likelihood of effects."""

    plain: Float[Array, "cell strategy"]
    noise: dict[str, Array]
    of_condition: dict[str, Array]


def _draw(model: Model, data: Data, draw: dict[str, Array]) -> _Draw:
    plain = model.plain_log_weight({name: draw[name] for name in model.accounts[0].priors}, data)
    of_condition = {name: draw[name] for name in model.noise_priors}
    condition = data.condition[data.response.series]
    noise = {name: value[condition] for name, value in of_condition.items()}
    return _Draw(plain, noise, of_condition)


def _likelihood(
    model: Model, data: Data, draw: _Draw, effect: Float[Array, "series contrast"]
) -> Float[Array, " series"]:
    log_weight = moved(draw.plain, effect, data)
    density = model.observation.log_density(draw.noise, log_weight, data.response)
    return jax.ops.segment_sum(density, data.response.series, len(data.condition))


@eqx.filter_jit
def _without_effect(model: Model, data: Data, drawn: dict[str, Array]) -> Array:
    nothing = jnp.zeros((len(data.condition), data.response.coordinate.shape[1]))

    def one(draw: dict[str, Array]) -> Array:
        return _likelihood(model, data, _draw(model, data, draw), nothing)

    return jax.lax.map(one, drawn, batch_size=8)


@eqx.filter_jit
def _likeliest(model: Model, data: Data, mean: dict[str, Array]) -> tuple[Array, Array]:
    """Level of every series at its largest likelihood, and the width of the peak, by Newton."""
    draw = _draw(model, data, mean)
    account = _account_level(draw, data)
    effect = series_level(data.response.coordinate, data.response) - account
    size = effect.shape[1]

    def slope(effect: Array) -> Array:
        return jax.grad(lambda e: _likelihood(model, data, draw, e).sum())(effect)

    def curvature(effect: Array) -> Array:
        # series do not depend on each other: one direction tells the same column of all
        columns = [
            jax.jvp(slope, (effect,), (jnp.zeros_like(effect).at[:, i].set(1.0),))[1]
            for i in range(size)
        ]
        return -jnp.stack(columns, axis=2) + jnp.eye(size) / _WIDEST**2

    for _ in range(_NEWTON_STEPS):
        step = jnp.linalg.solve(curvature(effect), slope(effect)[:, :, None])[:, :, 0]
        effect = effect + jnp.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
    variance = jnp.diagonal(jnp.linalg.inv(curvature(effect)), axis1=1, axis2=2)
    known = jnp.isfinite(variance) & (variance > 0) & (variance < _WIDEST**2)
    return effect + account, jnp.where(known, jnp.sqrt(jnp.abs(variance)), _WIDEST)


@eqx.filter_jit
def _integrated(
    model: Model,
    data: Data,
    drawn: dict[str, Array],
    nodes: Float[Array, "node contrast"],
    centre: Float[Array, "series contrast"],
    width: Float[Array, "series contrast"],
) -> Float[Array, "draw series"]:
    size = nodes.shape[1]
    levels = centre + width * nodes[:, None, :]
    spacing = 2 * _REACH / (_NODES[size] - 1)
    log_volume = jnp.log(spacing * width).sum(axis=1)

    def one(values: dict[str, Array]) -> Array:
        draw = _draw(model, data, values)
        at = levels - _account_level(draw, data)
        mean, variance = _given_others(
            values["effect"], *model.effect_scales(draw.of_condition, data), data
        )
        squared = ((at - mean) ** 2).sum(axis=2) / variance
        prior = -0.5 * (squared + size * jnp.log(2 * jnp.pi * variance))
        likelihood = jax.lax.map(lambda effect: _likelihood(model, data, draw, effect), at)
        return jax.nn.logsumexp(likelihood + prior, axis=0) + log_volume

    return jax.lax.map(one, drawn, batch_size=8)


def _account_level(draw: _Draw, data: Data) -> Float[Array, "series contrast"]:
    base = jnp.asarray(contrasts(draw.plain.shape[1]))
    return series_level(draw.plain @ base.T, data.response)


def _given_others(
    effect: Float[Array, "series contrast"],
    sd_num_tasks: Float[Array, " series"],
    sd_run: Float[Array, " series"],
    data: Data,
) -> tuple[Float[Array, "series contrast"], Float[Array, " series"]]:
    """Mean and variance of the effect of every series given those of the others of its D."""
    groups, diversity = effect.shape[0], data.response.diversity
    others = jax.ops.segment_sum(jnp.ones(groups), diversity, groups)[diversity] - 1
    total = jax.ops.segment_sum(effect, diversity, groups)[diversity] - effect
    precision = others / sd_run**2 + 1 / sd_num_tasks**2
    return (total / sd_run[:, None] ** 2) / precision[:, None], 1 / precision + sd_run**2
