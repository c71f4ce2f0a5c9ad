"""What a posterior must explain of each cell: its best mixture, in coordinates without bounds.

Simplex weights w known to within a standard error s are softened, then taken as log-ratios,

    y = √2 H log[(w + δ) / (1 + Kδ)],   δ = max(s, 0.01),

with H the Helmert matrix (isometric log-ratios, Egozcue et al. 2003, doi:10.1023/A:1023818214614).
For two strategies y is logit[(w_1 + δ) / (1 + 2δ)]. Softening keeps weights of 0 and 1 at a finite
distance from each other, the nearer the less is known of them, so such cells are neither dropped
nor more telling than others. Rotating H changes no distance: strategies are treated alike.
"""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy.linalg import helmert

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl.cells import Behaviour, Cells
from rational_icl.zeros import unreachable

LEAST_SOFTENING = 0.01
"""No weight is told apart from another that is nearer than this."""


class Response(eqx.Module):
    """Cells as a posterior sees them. Cells of one series are neighbours, in order of step.

    Args:
        coordinate: y, of the observed weights.
        variance: of y, from the standard error of the weights (delta method).
        softening: δ.
        log_jacobian: log |dy/dw|, which makes densities of y densities of w.
        gap: √N less that of the cell before, as a share of the longest series; 1 where there is
            none.
        first: whether there is none.
        series: which run, on which split, the cell belongs to.
        diversity: which task diversity each series belongs to.
        used: cells that are conditioned on; the others are predicted.
    """

    coordinate: Float[Array, "cell contrast"]
    variance: Float[Array, " cell"]
    softening: Float[Array, " cell"]
    log_jacobian: Float[Array, " cell"]
    gap: Float[Array, " cell"]
    first: Bool[Array, " cell"]
    series: Integer[Array, " cell"]
    diversity: Integer[Array, " series"]
    used: Bool[Array, " cell"]

    def __len__(self) -> int:
        return len(self.variance)


def contrasts(num_strategies: int) -> Float[np.ndarray, "contrast strategy"]:
    """√2 H: rows are orthogonal, of length √2, and sum to zero."""
    return np.sqrt(2.0) * helmert(num_strategies)


def softened(
    log_weight: Float[Array, "cell strategy"], softening: Float[Array, " cell"]
) -> Float[Array, "cell contrast"]:
    """y of the given weights, normalized over strategies."""
    strategies = log_weight.shape[-1]
    log_soft = jnp.logaddexp(log_weight, jnp.log(softening)[:, None])
    return log_soft @ jnp.asarray(contrasts(strategies)).T


def weights_of(
    coordinate: Float[np.ndarray, "*draw cell contrast"], softening: Float[np.ndarray, " cell"]
) -> Float[np.ndarray, "*draw cell strategy"]:
    """The simplex weights with the given y: softening undone, and what is outside moved to 0."""
    strategies = coordinate.shape[-1] + 1
    log_soft = coordinate @ contrasts(strategies) / 2
    soft = np.exp(log_soft - log_soft.max(axis=-1, keepdims=True))
    soft = soft / soft.sum(axis=-1, keepdims=True)
    delta = softening[:, None]
    weight = np.clip(soft * (1 + strategies * delta) - delta, 0.0, None)
    return weight / weight.sum(axis=-1, keepdims=True)


def respond(
    cells: Cells, behaviour: Behaviour, chosen: Bool[np.ndarray, " cell"], splits: Sequence[str]
) -> tuple[np.ndarray, Response]:
    """The response of the chosen cells on the given splits.

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
    every = [behaviour.splits[name] for name in splits]
    weight = np.concatenate([split.best_weight[index] for split in every])
    covariance = np.concatenate([split.best_weight_covariance[index] for split in every])
    finite = np.concatenate([np.isfinite(split.best_divergence[index]) for split in every])
    _refuse_unknown(weight, covariance, finite, cells, splits)
    place = np.concatenate(
        [behaviour.run[index] + i * len(behaviour.runs) for i in range(len(splits))]
    )
    _, series = np.unique(place, return_inverse=True)
    index = np.tile(index, len(splits))
    first = np.concatenate([[True], series[1:] != series[:-1]])
    root = np.sqrt(np.asarray(cells.step)[index])
    start = root[np.flatnonzero(first)][series]
    longest = max(float((root - start).max()), 1.0)
    of_series = np.asarray(cells.num_tasks)[index][first]
    return index, Response(
        **_in_coordinates(weight, covariance),
        gap=np.where(first, 1.0, np.diff(root, prepend=0.0) / longest),
        first=first,
        series=series,
        diversity=np.unique(of_series, return_inverse=True)[1],
        used=np.ones(len(index), dtype=bool),
    )


def _in_coordinates(
    weight: Float[np.ndarray, "cell strategy"],
    covariance: Float[np.ndarray, "cell strategy strategy"],
) -> dict[str, np.ndarray]:
    strategies = weight.shape[1]
    spread = np.sqrt(np.einsum("ckk->c", covariance) / strategies)
    delta = np.maximum(spread, LEAST_SOFTENING)
    soft = (weight + delta[:, None]) / (1 + strategies * delta)[:, None]
    base = contrasts(strategies)
    # dy/dw; within the plane of weights that sum to one, because covariances are
    slope = base / (soft * (1 + strategies * delta)[:, None])[:, None, :]
    scatter = np.einsum("cik,ckl,cil->c", slope, covariance, slope) / (strategies - 1)
    inside = slope[:, :, :-1] - slope[:, :, -1:]
    return {
        "coordinate": np.log(soft) @ base.T,
        "variance": scatter,
        "softening": delta,
        "log_jacobian": np.linalg.slogdet(inside)[1],
    }


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
