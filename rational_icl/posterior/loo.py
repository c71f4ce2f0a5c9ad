"""The density of whole runs, with their effects integrated out given those of the others."""

from itertools import product
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer

from rational_icl._arrays import Array
from rational_icl.posterior.coordinates import contrasts
from rational_icl.posterior.effects import given_others
from rational_icl.posterior.model import Data, Model, moved, series_level

_NODES = {1: 21, 2: 13, 3: 9}
"""Of the integral over a run's effect, by number of contrasts: half to one standard deviation."""
_REACH = 5.0
"""Standard deviations, to either side."""
_NEWTON_STEPS = 20
_LONGEST_STEP = 0.5
_WIDEST = 1.0
MOST_STRATEGIES = 4


def series_log_density(
    model: Model, data: Data, drawn: dict[str, np.ndarray], unit: Integer[np.ndarray, " series"]
) -> Float[np.ndarray, "draw series"]:
    """Log density of the cells of every series; those of a unit add up to its log density.

        ln ∫ p(y_s | e) N(e; mean and variance given the effects of all other units) de

    on a grid about where the likelihood has its maximum. A unit is what is taken out together: a
    run with all its splits, or the runs of a task diversity. Its series are taken one after the
    other, and what the cells of one say of its effect is passed on to the others as a normal of
    the same mean and variance (assumed-density filtering), which is exact for units of one series.
    Cells count whether they are `used` or not.

    Args:
        model, data: what was sampled.
        drawn: every parameter of account and noise, each (draw, condition), and effect
            (draw, series, contrast) where the model has any.
        unit: index of the unit of every series.
    """
    values = {name: jnp.asarray(value) for name, value in drawn.items()}
    if "effect" not in values:
        return np.asarray(_without_effect(model, data, values))
    size = values["effect"].shape[2]
    line = np.linspace(-_REACH, _REACH, _NODES[size])
    nodes = np.array(list(product(line, repeat=size)))
    mean = {name: value.mean(0) for name, value in values.items()}
    peak = _likeliest(model, data, mean)
    together = unit[:, None] == unit
    rank = np.tril(together, -1).sum(axis=1)
    turns = rank == np.arange(rank.max() + 1)[:, None]
    return np.asarray(_integrated(model, data, values, nodes, *peak, together, turns))


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
    no_effect = jnp.zeros((len(data.condition), data.response.coordinate.shape[1]))

    def likelihood(draw: dict[str, Array]) -> Array:
        return _likelihood(model, data, _draw(model, data, draw), no_effect)

    return jax.lax.map(likelihood, drawn, batch_size=8)


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

    def step(_: Any, effect: Array) -> Array:
        # where tails are heavy curvature may be negative: its size says how far, the slope where to
        value, direction = jnp.linalg.eigh(curvature(effect))
        along = jnp.einsum("ski,sk->si", direction, slope(effect)) / jnp.maximum(
            jnp.abs(value), 1 / _WIDEST**2
        )
        move = jnp.einsum("ski,si->sk", direction, along)
        return effect + jnp.clip(move, -_LONGEST_STEP, _LONGEST_STEP)

    effect = jax.lax.fori_loop(0, _NEWTON_STEPS, step, effect)
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
    together: Bool[Array, "series series"],
    turns: Bool[Array, "turn series"],
) -> Float[Array, "draw series"]:
    levels = centre + width * nodes[:, None, :]
    spacing = 2 * _REACH / (_NODES[nodes.shape[1]] - 1)
    log_volume = jnp.log(spacing * width).sum(axis=1)

    def density(values: dict[str, Array]) -> Array:
        draw = _draw(model, data, values)
        at = levels - _account_level(draw, data)
        likelihood = jax.lax.map(lambda effect: _likelihood(model, data, draw, effect), at)
        effects = model.effects(draw.of_condition, data)
        mean, covariance = given_others(
            values["effect"], data.response.diversity, effects, together
        )
        known = _Known(mean, jnp.stack([covariance] * nodes.shape[1]))

        def turn(known: _Known, now: Array) -> tuple[_Known, Array]:
            return _after(known, now, at, likelihood)

        # every series has its turn once
        return jnp.where(turns, jax.lax.scan(turn, known, turns)[1], 0.0).sum(axis=0) + log_volume

    return jax.lax.map(density, drawn, batch_size=8)


class _Known(NamedTuple):
    """What is known of the effects of all series."""

    mean: Float[Array, "series contrast"]
    covariance: Float[Array, "contrast series series"]


def _after(
    known: _Known,
    now: Bool[Array, " series"],
    at: Float[Array, "node series contrast"],
    likelihood: Float[Array, "node series"],
) -> tuple[_Known, Float[Array, " series"]]:
    """What is known once series, at most one of each unit, have been seen, and their densities."""
    variance = jnp.diagonal(known.covariance, axis1=1, axis2=2).T
    squared = (at - known.mean) ** 2 / variance
    prior = -0.5 * (squared + jnp.log(2 * jnp.pi * variance)).sum(axis=2)
    total = jax.nn.logsumexp(likelihood + prior, axis=0)
    share = jnp.exp(likelihood + prior - total)[:, :, None]
    mean = (share * at).sum(axis=0)
    left = (share * (at - mean) ** 2).sum(axis=0)
    gain = jnp.where(now, known.covariance / variance.T[:, None, :], 0.0)
    moved_mean = known.mean + jnp.einsum("kst,tk->sk", gain, mean - known.mean)
    shrunk = jnp.einsum("kst,tk,kut->ksu", gain, variance - left, gain)
    return _Known(moved_mean, known.covariance - shrunk), total


def _account_level(draw: _Draw, data: Data) -> Float[Array, "series contrast"]:
    base = jnp.asarray(contrasts(draw.plain.shape[1]))
    return series_level(draw.plain @ base.T, data.response)
