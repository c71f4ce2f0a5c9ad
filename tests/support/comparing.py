"""Small logs for comparisons: runs of any steps, whose divergence is a known quadratic."""

from collections.abc import Sequence

import jax
import numpy as np
from synthetic import make_cells

from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells, SplitBehaviour
from rational_icl.cells.statistics.squared import SquaredDivergence
from rational_icl.posterior.coordinates import contrasts

CURVATURE = 0.3
FLOOR = 0.01  # nats, that no mixture can lower


def ragged_cells(
    num_tasks: Sequence[float], steps: Sequence[Sequence[float] | np.ndarray], num_strategies=2
) -> tuple[Cells, np.ndarray]:
    """One run per task diversity, each with steps of its own, and which run a cell is of."""
    each = [make_cells([d], s, num_strategies) for d, s in zip(num_tasks, steps, strict=True)]
    cells = jax.tree.map(lambda *leaves: np.concatenate(leaves), *each)
    return cells, np.repeat(np.arange(len(each)), [len(one) for one in each])


def quadratic_behaviour(
    cells: Cells,
    weight: np.ndarray,
    run: np.ndarray | None = None,
    error: float = 0.005,
    floor: float | np.ndarray = FLOOR,
) -> Behaviour:
    """Divergence floor + CURVATURE |w - weight|²; weights known to within `error`, both splits."""
    size, strategies = weight.shape
    of_run = np.arange(size) // len(np.unique(cells.step)) if run is None else run
    floor = np.broadcast_to(floor, size).astype(float)
    apart = np.eye(strategies) - weight[:, :, None]
    quadratic = CURVATURE * np.einsum("cji,cjk->cik", apart, apart) + floor[:, None, None]
    plane = np.eye(strategies) - 1 / strategies
    covariance = error**2 * plane * strategies / (strategies - 1)
    split = SplitBehaviour(
        relative_distance=weight[:, 0],
        relative_distance_error=np.zeros(size),
        best_weight=weight,
        best_weight_covariance=np.broadcast_to(covariance, (size, strategies, strategies)),
        best_divergence=floor,
        interpolation_distance=floor,
        best_agreement=np.zeros((size, 3)),
        divergence=SquaredDivergence(quadratic),
        strategy_divergences=(SquaredDivergence(np.zeros_like(quadratic)),) * strategies,
    )
    names = tuple(f"run{index}" for index in range(of_run.max() + 1))
    return Behaviour(names, of_run, {"id": split, "ood": split})


def weights_at(account: Account, params: dict[str, float], cells: Cells) -> np.ndarray:
    """The weights of an account."""
    with jax.enable_x64(True):
        wide = {name: jax.numpy.asarray(value) for name, value in params.items()}
        return np.exp(np.asarray(account.log_weights(wide, cells)))


def scattered(
    weight: np.ndarray, run: np.ndarray, rng: np.random.Generator, size: float = 0.3
) -> np.ndarray:
    """Weights moved by an offset of their run and a third of it of their own, in log-ratios."""
    noise = size * rng.standard_normal((run.max() + 1, weight.shape[1] - 1))[run]
    noise = noise + size / 3 * rng.standard_normal(noise.shape)
    moved = weight * np.exp(noise @ contrasts(weight.shape[1]) / 2)
    return moved / moved.sum(axis=1, keepdims=True)
