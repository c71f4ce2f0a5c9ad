"""What data like these can tell apart: behaviour simulated from each account, compared by all."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float
from tqdm import tqdm

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl.accounts import Account
from rational_icl.cells import Behaviour, Cells, SplitBehaviour, select
from rational_icl.comparison.compare import compare
from rational_icl.comparison.densities import draw_runs
from rational_icl.comparison.folds import Fold, usable_cells
from rational_icl.comparison.scores import Observed
from rational_icl.fits import Fit
from rational_icl.responses import softened, weights_of
from rational_icl.statistics import Divergence
from rational_icl.statistics.squared import SquaredDivergence

_INSIDE = 0.02
"""How far weights are moved off the ends before curvature is taken there."""


def model_recovery(
    accounts: Sequence[str | Account],
    cells: Cells,
    behaviour: Behaviour,
    *,
    schemes: Sequence[str] = ("late_steps", "large_num_tasks", "small_num_tasks"),
    num_simulations: int = 5,
    num_starts: int = 4,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Simulate runs like those of a log from each account, and see which account wins.

    Each account is fitted to all usable cells; runs are drawn about it with the scatter that the
    log's have (`simulate_runs`), and all accounts are compared on them.

    Args:
        accounts, cells, behaviour: see `compare`.
        schemes: of which the elpd is added up to find the winner.
        num_simulations: logs simulated from each account.
        num_starts, seed: see `compare`.
        progress: show a bar.

    Returns:
        One row per simulated log and account: truth, simulation, account, elpd, and won (whether it
        is the highest of that log). An account that fails under some scheme has no row.
    """
    usable = usable_cells(cells, behaviour)
    cells, behaviour = select(cells, usable), select(behaviour, usable)
    names = [one if isinstance(one, str) else one.name for one in accounts]
    whole = compare(accounts, cells, behaviour, schemes=("late_steps",), num_starts=num_starts,
                    seed=seed, progress=False)  # fmt: skip
    rows = []
    todo = [(name, i) for name in names if name in whole.fits for i in range(num_simulations)]
    for name, simulation in tqdm(todo, desc="simulated logs", unit="log", disable=not progress):
        rng = np.random.default_rng([seed, names.index(name), simulation])
        drawn = simulate_runs(whole.fits[name], cells, behaviour, rng)
        found = compare(accounts, cells, drawn, schemes=schemes, num_starts=num_starts, seed=seed,
                        progress=False).table  # fmt: skip
        elpd = found[found["account"].isin(names)].pivot(
            index="account", columns="scheme", values="elpd"
        )
        total = elpd.dropna().sum(axis=1)
        for account, elpd in total.items():
            row = {"truth": name, "simulation": simulation, "account": account, "elpd": elpd}
            rows.append(row | {"won": elpd == total.max()})
    return pd.DataFrame(rows)


@in_float64
def simulate_runs(
    fit: Fit, cells: Cells, behaviour: Behaviour, rng: np.random.Generator
) -> Behaviour:
    """Behaviour of runs that scatter about a fitted account as the log's runs do.

    Best-mixture weights are drawn (`comparison.densities`); the divergence from other mixtures is
    that of the log to second order, with its minimum moved to the drawn weights.

    Args:
        fit: of an account to these cells.
        cells, behaviour: of the log; all cells are simulated.
        rng: of the draws.
    """
    every = np.ones(len(cells), dtype=bool)
    observed = Observed(cells, behaviour)
    index, response = observed.response(every)
    scatter = observed.scatter(fit, Fold("", every, every))
    softening = np.asarray(response.softening)
    mean = np.asarray(softened(fit.log_weights(cells)[index], softening))
    weight = np.empty((len(cells), len(cells.strategies)))
    weight[index] = weights_of(draw_runs(scatter, mean, response, rng), softening)
    split = behaviour.splits["id"]
    centred = np.eye(weight.shape[1]) - weight[:, :, None]
    curvature = _curvature(split.divergence, split.best_weight)
    error = np.einsum("cji,cjk,ckl->cil", centred, curvature / 2, centred)
    simulated = SplitBehaviour(
        relative_distance=weight[:, 0],
        relative_distance_error=np.zeros(len(cells)),
        best_weight=weight,
        best_weight_covariance=split.best_weight_covariance,
        best_divergence=np.zeros(len(cells)),
        interpolation_distance=np.zeros(len(cells)),
        divergence=SquaredDivergence(error),
    )
    return Behaviour(runs=behaviour.runs, run=behaviour.run, splits={"id": simulated})


def _curvature(
    divergence: Divergence, weight: Float[np.ndarray, "cell strategy"]
) -> Float[np.ndarray, "cell strategy strategy"]:
    """Second derivatives of every cell's divergence along weights that sum to one."""
    strategies = weight.shape[1]
    inside = jnp.asarray((1 - _INSIDE) * weight + _INSIDE / strategies)
    along = np.eye(strategies) - 1 / strategies

    def slope(weight: Array) -> Array:
        return jax.grad(lambda w: divergence(jnp.log(w)).sum())(weight)

    columns = [
        jax.jvp(slope, (inside,), (jnp.broadcast_to(direction, inside.shape),))[1]
        for direction in along
    ]
    return np.asarray(jnp.einsum("ij,cjk->cik", along, jnp.stack(columns, axis=2)))
