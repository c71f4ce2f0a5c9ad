"""Coordinates without bounds of best mixtures: what a posterior must explain of each cell.

Simplex weights w are softened, then taken as log-ratios,

    y = √2 H log[(w + δ) / (1 + Kδ)],   δ = 0.02,

with H the Helmert matrix (isometric log-ratios, Egozcue et al. 2003, doi:10.1023/A:1023818214614).
For two strategies y is logit[(w_1 + δ) / (1 + 2δ)]. Softening keeps weights of 0 and 1 at a finite
distance from each other; δ is the same for all cells, so that no transform depends on data.
Rotating H changes no distance: strategies are treated alike.

Cells with a weight of 0 are *censored*: of them only is known that y lies at the bound or beyond.
"""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.linalg import helmert

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.cells.zeros import unreachable

SOFTENING = 0.02
"""δ: weights that are nearer to each other than this lie nearly as near as equal ones."""
AT_BOUND = 1e-9
"""A weight up to this is zero: the optimum of `least_on_simplex` stops at 1e-12."""


class Response(eqx.Module):
    """Observed cells in coordinates. Cells of one series are neighbours, in order of step.

    Args:
        coordinate: y, of the observed weights; at the bound where a cell is censored.
        variance: of y, from the standard error of the weights (delta method).
        softening: δ.
        log_jacobian: log |dy/dw|, which makes densities of y densities of w; of the weights above
            zero where others are zero.
        outward: unit vector from the simplex across the bound of a censored cell; zero elsewhere.
        within: projection of y onto what is known exactly: onto the face of the simplex that a
            censored cell lies on, and the identity elsewhere.
        gap: √N less that of the cell before, as a share of the longest series; 1 where there is
            none.
        first: whether there is none.
        series: which run, on which split, the cell belongs to.
        diversity: which task diversity each series belongs to.
        log_num_tasks: ln D of every task diversity.
        used: cells that are conditioned on; the others are predicted.
    """

    coordinate: Float[Array, "cell contrast"]
    variance: Float[Array, " cell"]
    softening: Float[Array, " cell"]
    log_jacobian: Float[Array, " cell"]
    outward: Float[Array, "cell contrast"]
    within: Float[Array, "cell contrast contrast"]
    gap: Float[Array, " cell"]
    first: Bool[Array, " cell"]
    series: Integer[Array, " cell"]
    diversity: Integer[Array, " series"]
    log_num_tasks: Float[Array, " diversity"]
    used: Bool[Array, " cell"]

    def __len__(self) -> int:
        return len(self.variance)


class Seen(NamedTuple):
    """Coordinates of observed weights, and bounds of censored cells; see `Response`."""

    coordinate: Float[Array, "*set cell contrast"]
    log_jacobian: Float[Array, "*set cell"]
    outward: Float[Array, "*set cell contrast"]
    within: Float[Array, "*set cell contrast contrast"]


def contrasts(num_strategies: int) -> Float[np.ndarray, "contrast strategy"]:
    """Contrasts √2 H: rows are orthogonal, of length √2, and sum to zero."""
    return np.sqrt(2.0) * helmert(num_strategies)


def softened(
    log_weight: Float[Array, "cell strategy"], softening: Float[Array, " cell"]
) -> Float[Array, "cell contrast"]:
    """Coordinates y of the given weights, normalized over strategies."""
    strategies = log_weight.shape[-1]
    log_soft = jnp.logaddexp(log_weight, jnp.log(softening)[:, None])
    return log_soft @ jnp.asarray(contrasts(strategies)).T


def weights_of(
    coordinate: Float[np.ndarray, "*draw cell contrast"], softening: Float[np.ndarray, " cell"]
) -> Float[np.ndarray, "*draw cell strategy"]:
    """Simplex weights with the given y: softening undone, and what is outside moved to 0."""
    strategies = coordinate.shape[-1] + 1
    log_soft = coordinate @ contrasts(strategies) / 2
    soft = np.exp(log_soft - log_soft.max(axis=-1, keepdims=True))
    soft = soft / soft.sum(axis=-1, keepdims=True)
    delta = softening[:, None]
    weight = np.clip(soft * (1 + strategies * delta) - delta, 0.0, None)
    return weight / weight.sum(axis=-1, keepdims=True)


def at_the_edge(
    coordinate: Float[Array, "*cell contrast"], softening: Float[Array, "*cell"]
) -> Float[Array, "*cell contrast"]:
    """Coordinates moved to the bound where they lie beyond: those of the `weights_of` them."""
    base = jnp.asarray(contrasts(coordinate.shape[-1] + 1))
    strategies, delta = base.shape[1], softening[..., None]
    soft = jax.nn.softmax(coordinate @ base / 2, axis=-1)
    weight = soft * (1 + strategies * delta) - delta
    beyond = (weight < 0).any(axis=-1, keepdims=True)
    weight = jnp.maximum(weight, 0.0)
    weight = weight / weight.sum(axis=-1, keepdims=True)
    return jnp.where(beyond, jnp.log(weight + delta) @ base.T, coordinate)


def seen_at(
    weight: Float[np.ndarray, "cell strategy"], softening: Float[np.ndarray, " cell"]
) -> Seen:
    """Coordinates of observed weights, and the bounds that censored cells lie at.

    The half-space beyond a bound is that outward from the middle of all bounds that a cell lies at,
    −Σ (columns of H over the strategies of weight zero). It is bounded by a plane, where the edge
    of the simplex is slightly curved unless there are two strategies.
    """
    cells, strategies = weight.shape
    base = contrasts(strategies)
    delta = softening[:, None]
    soft = (weight + delta) / (1 + strategies * delta)
    slope = _slope(soft, softening)
    outward = np.zeros((cells, strategies - 1))
    within = np.tile(np.eye(strategies - 1), (cells, 1, 1))
    log_jacobian = np.linalg.slogdet(slope[:, :, :-1] - slope[:, :, -1:])[1]
    zero = weight <= AT_BOUND
    for cell in np.flatnonzero(zero.any(axis=1)):
        columns = base[:, zero[cell]]
        outward[cell] = -columns.sum(axis=1) / np.linalg.norm(columns.sum(axis=1))
        beyond = np.linalg.qr(columns)[0]
        within[cell] -= beyond @ beyond.T
        size = strategies - 1 - columns.shape[1]
        face = np.linalg.svd(within[cell])[0][:, :size]
        above = slope[cell][:, ~zero[cell]]
        log_jacobian[cell] = np.linalg.slogdet(face.T @ (above[:, :-1] - above[:, -1:]))[1]
    return Seen(np.log(soft) @ base.T, log_jacobian, outward, within)


def gaps(
    step: Float[np.ndarray, " cell"], series: Integer[np.ndarray, " cell"], longest: float
) -> Float[np.ndarray, " cell"]:
    """Distance in √N from the cell before in its series, as a share of the longest series."""
    first = np.diff(series, prepend=-1) != 0
    return np.where(first, 1.0, np.diff(np.sqrt(step), prepend=0.0) / longest)


def longest_series(step: Float[np.ndarray, " cell"], series: Integer[np.ndarray, " cell"]) -> float:
    """The largest distance in √N between two cells of one series; at least 1."""
    root = np.sqrt(step)
    ends = np.flatnonzero(np.diff(series, append=-1) != 0)
    starts = np.flatnonzero(np.diff(series, prepend=-1) != 0)
    return max(float((root[ends] - root[starts]).max()), 1.0)


def respond(
    cells: Cells, behaviour: Behaviour, chosen: Bool[np.ndarray, " cell"], splits: Sequence[str]
) -> tuple[np.ndarray, Response]:
    """Response of a posterior: the chosen cells on the given splits, in coordinates.

    Returns:
        The index of each cell of the response among `cells`, and the response.

    Raises:
        FitError: no cell is chosen, a split is missing, or weights or their errors are not finite.
    """
    missing = [name for name in splits if name not in behaviour.splits]
    if missing or not splits:
        raise FitError(
            f"splits: {', '.join(splits)}; expected some of {', '.join(behaviour.splits)}"
        )
    order = np.lexsort((np.asarray(cells.step), behaviour.run))
    index = order[np.asarray(chosen)[order]]
    if not len(index):
        raise FitError("no cells are chosen; a posterior needs at least one")
    behaviours = [behaviour.splits[name] for name in splits]
    weight = np.concatenate([split.best_weight[index] for split in behaviours])
    covariance = np.concatenate([split.best_weight_covariance[index] for split in behaviours])
    finite = np.concatenate([np.isfinite(split.best_divergence[index]) for split in behaviours])
    _refuse_unknown(weight, covariance, finite, cells, splits)
    place = np.concatenate(
        [behaviour.run[index] + i * len(behaviour.runs) for i in range(len(splits))]
    )
    _, series = np.unique(place, return_inverse=True)
    index = np.tile(index, len(splits))
    first = np.diff(series, prepend=-1) != 0
    step = np.asarray(cells.step)[index]
    num_tasks, diversity = np.unique(np.asarray(cells.num_tasks)[index][first], return_inverse=True)
    softening = np.full(len(index), SOFTENING)
    return index, Response(
        **seen_at(weight, softening)._asdict(),
        variance=_variance(weight, covariance, softening),
        softening=softening,
        gap=gaps(step, series, longest_series(step, series)),
        first=first,
        series=series,
        diversity=diversity,
        log_num_tasks=np.log(num_tasks),
        used=np.ones(len(index), dtype=bool),
    )


def _slope(
    soft: Float[np.ndarray, "cell strategy"], softening: Float[np.ndarray, " cell"]
) -> Float[np.ndarray, "cell contrast strategy"]:
    """dy/dw; within the plane of weights that sum to one."""
    strategies = soft.shape[1]
    return contrasts(strategies) / (soft * (1 + strategies * softening)[:, None])[:, None, :]


def _variance(
    weight: Float[np.ndarray, "cell strategy"],
    covariance: Float[np.ndarray, "cell strategy strategy"],
    softening: Float[np.ndarray, " cell"],
) -> Float[np.ndarray, " cell"]:
    """Of y, the mean over contrasts, from the sampling covariance of the weights."""
    strategies = weight.shape[1]
    delta = softening[:, None]
    slope = _slope((weight + delta) / (1 + strategies * delta), softening)
    return np.einsum("cik,ckl,cil->c", slope, covariance, slope) / (strategies - 1)


def _refuse_unknown(
    weight: np.ndarray,
    covariance: np.ndarray,
    finite: np.ndarray,
    cells: Cells,
    splits: Sequence[str],
) -> None:
    known = finite & np.isfinite(weight).all(axis=1)
    if not known.all():
        where = " and ".join(splits), "chosen cells"
        raise FitError(unreachable(known, cells.strategies, cells.setting, *where))
    if not np.isfinite(covariance).all():
        raise FitError(
            "the measurement error of best weights is unknown, because a split holds fewer than "
            "two sequences; log at least eight"
        )
