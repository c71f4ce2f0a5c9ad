"""Model recovery: behaviour simulated from each account, compared by all."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl._progress import progress_bar
from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.cells.statistics import Divergence
from rational_icl.cells.statistics.squared import SquaredDivergence
from rational_icl.comparison.compare import compare
from rational_icl.comparison.seeds import draw_runs, seed_scatter
from rational_icl.comparison.tables import FITTED
from rational_icl.fitting.fits import Fit
from rational_icl.posterior.coordinates import respond, softened, weights_of

_COLUMNS = ("truth", "simulation", "scheme", "account", "excess_left", "verdict", "won")
_INSIDE = 0.02
"""How far weights are moved off the ends before curvature is taken there."""


def model_recovery(
    accounts: Sequence[str | Account],
    cells: Cells,
    behaviour: Behaviour,
    *,
    truths: Sequence[str] | None = None,
    schemes: Sequence[str] = ("leave_one_num_tasks_out",),
    num_simulations: int = 5,
    num_starts: int = 4,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Model recovery: which account wins on runs like those of a log, simulated from each.

    Each account is fitted to all usable cells; runs are drawn about it as the log's seeds scatter
    about the mean of their task diversity (`simulate_runs`), the same for every account, and all
    accounts are compared on them.

    Args:
        accounts, cells, behaviour: see `compare`.
        truths: the names of those to simulate from; all if None.
        schemes: each a question of its own.
        num_simulations: logs simulated from each account.
        num_starts, seed: see `compare`.
        progress: show a bar.

    Returns:
        One row per simulated log, scheme and account: truth, simulation, scheme, account,
        excess_left, verdict (see `compare`), and won (whether it leaves least). An account that
        fails under a scheme has no row of it.

    Raises:
        FitError: see `compare`; or no task diversity has two runs.
    """
    names = [entry if isinstance(entry, str) else entry.name for entry in accounts]
    options: dict[str, Any] = {"num_starts": num_starts, "seed": seed, "progress": False}
    chosen = names if truths is None else list(truths)
    unknown = set(chosen) - set(names)
    if unknown:
        raise FitError(f"truths: {', '.join(sorted(unknown))}; expected some of {', '.join(names)}")
    simulated = [entry for entry, name in zip(accounts, names, strict=True) if name in chosen]
    fitted = compare(simulated, cells, behaviour, schemes=("late_steps",), **options)
    usable = fitted.weights["usable"].to_numpy()
    tables = []
    todo = [(name, i) for name in names if name in chosen and name in fitted.fits
            for i in range(num_simulations)]  # fmt: skip
    for name, simulation in progress_bar(
        todo, desc="simulated logs", unit="log", progress=progress
    ):
        rng = np.random.default_rng([seed, names.index(name), simulation])
        drawn = simulate_runs(fitted.fits[name], cells, behaviour, usable, rng)
        table = compare(accounts, cells, drawn, schemes=schemes, **options).table
        table = table[table["account"].isin(names) & (table["status"] == FITTED)]
        least = table.groupby("scheme")["excess_divergence"].transform("min")
        table = table.assign(
            truth=name, simulation=simulation, won=table["excess_divergence"] == least
        )
        tables.append(table[list(_COLUMNS)])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=_COLUMNS)


@in_float64
def simulate_runs(
    fit: Fit,
    cells: Cells,
    behaviour: Behaviour,
    usable: Bool[np.ndarray, " cell"],
    rng: np.random.Generator,
) -> Behaviour:
    """Simulated behaviour of runs that scatter about a fitted account as the log's seeds do.

    Best-mixture weights of usable cells are drawn (`comparison.seeds`); the divergence from other
    mixtures is that of the log to second order, with its minimum moved to the drawn weights. Other
    cells stay as they are, up to that order.

    Args:
        fit: of an account to these cells.
        cells, behaviour: of the log.
        usable: which cells to simulate.
        rng: of the draws.

    Raises:
        FitError: no task diversity has two runs.
    """
    index, response = respond(cells, behaviour, usable, ("id",))
    scatter = seed_scatter(response, np.asarray(cells.step)[index])
    softening = np.asarray(response.softening)
    mean = np.asarray(softened(fit.log_weights(cells)[index], softening))
    split = behaviour.splits["id"]
    weight = split.best_weight.copy()
    weight[index] = weights_of(draw_runs(scatter, mean, response, rng), softening)
    centred = np.eye(weight.shape[1]) - weight[:, :, None]
    curvature = _curvature(split.divergence, split.best_weight)
    error = np.einsum("cji,cjk,ckl->cil", centred, curvature / 2, centred)
    simulated = replace(
        split,
        relative_distance=weight[:, 0],
        best_weight=weight,
        # weights sum to one, so that a constant is one of the divergence
        divergence=SquaredDivergence(error + split.best_divergence[:, None, None]),
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
