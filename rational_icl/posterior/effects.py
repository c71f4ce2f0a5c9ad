"""Effects of task diversity: what an account gets wrong, smooth in ln D, known from runs seen.

    a ~ GP(0, K),   K(D, D') = sd_num_tasks² [(1 + r) e^(−r) + .01 · [D = D']]
    r = √3 |ln D − ln D'| / length_num_tasks,   e_s = a_D + b_s,   b_s ~ N(0, sd_run²)

a Matérn-3/2 kernel with a nugget (Rasmussen & Williams 2006, equation 4.17), each contrast by
itself. Conditions do not bear on each other. Effects that are not smooth have the kernel [D = D'].
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Bool, Float, Integer

from rational_icl._arrays import Array

NUGGET = 0.01
_MOST_NUMBERS = 2**21


class Effects(NamedTuple):
    """Covariance of effects, at one draw.

    Args:
        covariance: of a, between task diversities.
        run_variance: of b, by task diversity.
    """

    covariance: Float[Array, "diversity diversity"]
    run_variance: Float[Array, " diversity"]


def kernel(
    distance: Float[Array, "..."], length: Float[Array, "..."] | None
) -> Float[Array, "..."]:
    """Covariance K over sd_num_tasks², at distances in ln D; not smooth where length is None."""
    nugget = NUGGET * (distance == 0)
    if length is None:
        return (distance == 0) + nugget
    r = np.sqrt(3) * distance / length
    return (1 + r) * jnp.exp(-r) + nugget


def effect_log_density(
    effect: Float[Array, "series contrast"], diversity: Integer[Array, " series"], effects: Effects
) -> Float[Array, ""]:
    """Log density of effects of series, e, with those of task diversities, a, integrated out.

    Of the n series of a task diversity, the mean has covariance K + sd_run² / n, and differences
    from it are normal with variance sd_run² and n − 1 degrees of freedom.
    """
    size = effect.shape[1]
    count, mean = _means(effect, diversity, effects)
    within = ((effect - mean[diversity]) ** 2).sum(axis=1) / effects.run_variance[diversity]
    volume = (count - 1) * jnp.log(2 * jnp.pi * effects.run_variance) + jnp.log(count)
    root = jnp.linalg.cholesky(effects.covariance + jnp.diag(effects.run_variance / count))
    standard = solve_triangular(root, mean, lower=True)
    between = (standard**2).sum() + 2 * size * jnp.log(jnp.diagonal(root)).sum()
    between = between + size * len(count) * jnp.log(2 * jnp.pi)
    return -0.5 * (within.sum() + size * volume.sum() + between)


def draw_given_runs(
    key: Array,
    effect: Float[Array, "series contrast"],
    diversity: Integer[Array, " series"],
    effects: Effects,
) -> Float[Array, "diversity contrast"]:
    """Draw of effects a, given effects e: one from the prior, corrected by its error about e."""
    count, mean = _means(effect, diversity, effects)
    error = effects.run_variance / count
    prior_key, error_key = jax.random.split(key)
    prior = jnp.linalg.cholesky(effects.covariance) @ jax.random.normal(prior_key, mean.shape)
    noisy = prior + jnp.sqrt(error)[:, None] * jax.random.normal(error_key, mean.shape)
    gain = jnp.linalg.solve(effects.covariance + jnp.diag(error), mean - noisy)
    return prior + effects.covariance @ gain


def given_others(
    effect: Float[Array, "series contrast"],
    diversity: Integer[Array, " series"],
    effects: Effects,
    together: Bool[Array, "series series"],
) -> tuple[Float[Array, "series contrast"], Float[Array, "series series"]]:
    """Mean and covariance of the effects of series given those of all other series.

    Args:
        effect, diversity, effects: as elsewhere.
        together: which series are taken out together, such as the splits of a run: blocks.
    """
    between_series = effects.covariance[diversity][:, diversity]
    precision = jnp.linalg.inv(between_series + jnp.diag(effects.run_variance[diversity]))
    covariance = jnp.linalg.inv(jnp.where(together, precision, 0.0))
    covariance = jnp.where(together, covariance, 0.0)
    return effect - covariance @ (precision @ effect), covariance


def draw_elsewhere(
    known: Float[np.ndarray, "draw seen contrast"],
    log_seen: Float[np.ndarray, " seen"],
    log_asked: Float[np.ndarray, " asked"],
    sd_num_tasks: Float[np.ndarray, " draw"],
    length_num_tasks: Float[np.ndarray, " draw"] | None,
    rng: np.random.Generator,
) -> Float[np.ndarray, "draw asked contrast"]:
    """Joint draws of a at task diversities not seen, given a where it was, one for every draw.

    Args:
        known: a at the task diversities seen.
        log_seen, log_asked: ln D; no D in both.
        sd_num_tasks, length_num_tasks: of every draw; None where effects are not smooth.
        rng: random numbers.
    """
    at = np.concatenate([log_seen, log_asked])
    distance = np.abs(at[:, None] - at)[None]
    num_seen, size = len(log_seen), len(at)
    shock = rng.standard_normal((len(known), size, known.shape[2]))
    parts = []
    batch_size = max(1, _MOST_NUMBERS // size**2)
    for start in range(0, len(known), batch_size):
        batch = slice(start, start + batch_size)
        length = None if length_num_tasks is None else length_num_tasks[batch, None, None]
        shape = np.broadcast_to(
            np.asarray(kernel(distance, length)), (len(known[batch]), size, size)
        )
        scale = sd_num_tasks[batch, None, None]
        prior = scale * (np.linalg.cholesky(shape) @ shock[batch])
        gain = np.linalg.solve(shape[:, :num_seen, :num_seen], known[batch] - prior[:, :num_seen])
        parts.append(prior[:, num_seen:] + shape[:, num_seen:, :num_seen] @ gain)
    return np.concatenate(parts)


def _means(
    effect: Float[Array, "series contrast"], diversity: Integer[Array, " series"], effects: Effects
) -> tuple[Float[Array, " diversity"], Float[Array, "diversity contrast"]]:
    """Number of series of each task diversity, and their mean effect."""
    groups = len(effects.run_variance)
    count = jax.ops.segment_sum(jnp.ones(len(effect)), diversity, groups)
    return count, jax.ops.segment_sum(effect, diversity, groups) / count[:, None]
