"""Point estimates: the parameters that bring an account's mixtures closest to transformers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float
from numpyro.distributions import biject_to
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from rational_icl import accounts, settings
from rational_icl._arrays import Array
from rational_icl._errors import FitError, RationalICLError
from rational_icl._jit import in_float64
from rational_icl.accounts import Account
from rational_icl.cells import Behaviour, Cells, select
from rational_icl.regions import Regions, partition_cells
from rational_icl.statistics import Divergence

_MOST_NUMBERS = 2**21
"""Of statistics that every step of every optimizer start goes through."""
_DRAWS_PER_START = 32
_FAR_OUT = np.log(1e6)


@dataclass(frozen=True)
class Fit:
    """A fitted account, with all that predicting needs and no transformer data.

    Args:
        account: the theory.
        params: its fitted parameters, in natural units.
        objective: mean divergence from the mixture over the fitted ID cells, nats.
        starts: one row per optimizer start: where it ended, its objective, whether it converged.
        strategies: names.
        setting: how data are drawn.
        seen: per task diversity of the log, each strategy's mean loss (nats) and complexity (bits).
        regions: which cells were fitted, held out and excluded.
        own_task_prob: whether the log holds task probabilities of its own.
    """

    account: Account
    params: Mapping[str, float]
    objective: float
    starts: pd.DataFrame
    strategies: tuple[str, ...]
    setting: settings.Setting
    batch_size: float
    seen: pd.DataFrame
    regions: Regions
    own_task_prob: bool = False

    @in_float64
    def log_weights(self, cells: Cells) -> Float[np.ndarray, "cell strategy"]:
        """Log weights of the strategies in the given cells, at the fitted parameters."""
        params = {name: jnp.asarray(value) for name, value in self.params.items()}
        return np.asarray(self.account.log_weights(params, cells))

    @property
    @in_float64
    def at_boundary(self) -> tuple[str, ...]:
        """Parameters that ended within about 10⁻⁶ of an end of their range, or past 10⁶."""
        free = {
            name: float(biject_to(prior.support).inv(jnp.asarray(self.params[name])))
            for name, prior in self.account.priors.items()
        }
        return tuple(name for name, value in free.items() if not abs(value) < _FAR_OUT)

    def save(self, path: str | Path) -> None:
        """Write the fit as JSON, for `load_fit`."""
        document = {
            "schema": 1,
            "account": self.account.name,
            "params": dict(self.params),
            "objective": self.objective,
            "starts": self.starts.replace({np.nan: None}).to_dict(orient="list"),
            "strategies": list(self.strategies),
            "setting": {"name": self.setting.name, **self.setting.parameters()},
            "batch_size": self.batch_size,
            "seen": self.seen.to_dict(orient="list"),
            "regions": {k: v.tolist() for k, v in self.regions._asdict().items()},
            "own_task_prob": self.own_task_prob,
        }
        partial = Path(f"{path}.partial")
        partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        partial.replace(path)


def load_fit(path: str | Path) -> Fit:
    """Read a fit written by `Fit.save`.

    Raises:
        FitError: there is none, or it is not one.
    """
    try:
        found: dict[str, Any] = json.loads(Path(path).read_text())
        if found["schema"] != 1:
            raise FitError(f"schema {found['schema']!r}; this release reads 1")
        sizes = dict(found["setting"])
        _check_saved(found)
        return Fit(
            account=accounts.make(found["account"], tuple(found["strategies"])),
            params={str(k): float(v) for k, v in found["params"].items()},
            objective=float(found["objective"]),
            starts=pd.DataFrame(found["starts"]),
            strategies=tuple(found["strategies"]),
            setting=settings.make(sizes.pop("name"), **sizes),
            batch_size=float(found["batch_size"]),
            seen=pd.DataFrame(found["seen"]),
            regions=Regions(**{k: np.array(v, dtype=bool) for k, v in found["regions"].items()}),
            own_task_prob=bool(found.get("own_task_prob", False)),
        )
    except RationalICLError as error:
        raise FitError(f"{path}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FitError(
            f"{path}: not a saved fit ({error!r}); make one with `rational-icl fit LOGS --out FILE`"
        ) from None


def _check_saved(found: dict[str, Any]) -> None:
    names = set(accounts.make(found["account"], tuple(found["strategies"])).priors)
    if set(found["params"]) != names or not np.isfinite(list(found["params"].values())).all():
        raise FitError(f"params: {found['params']}; expected a finite {', '.join(sorted(names))}")
    columns = {f"{kind}_{name}" for kind in ("loss", "complexity") for name in found["strategies"]}
    missing = (columns | {"num_tasks"}) - set(found["seen"])
    if missing:
        raise FitError(f"seen: {', '.join(sorted(missing))} missing; make the fit again")


@in_float64
def fit(
    account: Account,
    cells: Cells,
    behaviour: Behaviour,
    *,
    regions: Regions | None = None,
    num_starts: int = 16,
    seed: int = 0,
) -> Fit:
    """Minimise the mean divergence of transformers from the account's mixtures.

        mean over fitted ID cells of the divergence of T from Σ_k π_k Q_k

    by L-BFGS with exact gradients in unconstrained coordinates (log or logit, as the support of the
    prior asks), from the best of 32 draws of the prior for every start; with many cells and bins,
    first on some of the cells, so that each start goes over all of them only near its end. The
    criterion is that of Wurgaft et al. (2025), arXiv:2506.17859. Cost does not depend on how many
    sequences were logged.

    Args:
        account: a theory, such as `accounts.Rational()`.
        cells, behaviour: from `summarize`.
        regions: which cells to fit; `partition_cells(cells, behaviour)` if None.
        num_starts: optimizer starts; all are reported.
        seed: of the starts.

    Returns:
        The best start's parameters, and where every start ended.

    Raises:
        FitError: too few cells or task diversities, or no start ends at a finite objective.
    """
    regions = regions or partition_cells(cells, behaviour)
    chosen = select(cells, regions.fitted)
    divergence = behaviour.splits["id"].divergence.select(regions.fitted)
    if not divergence.finite.all():
        raise FitError(
            "some fitted cells have an infinite divergence: the transformers give probability to "
            "outcomes that every strategy rules out; add a strategy that does not"
        )
    starts = _run_starts(account, chosen, divergence, num_starts, seed)
    ends = np.nan_to_num(starts["objective"].to_numpy(), nan=np.inf)
    best = starts.iloc[int(np.argmin(ends))]
    if not np.isfinite(ends).any():
        raise FitError(f"account {account.name!r}: none of {num_starts} starts gave a finite fit")
    return Fit(
        account=account,
        params={name: float(best[name]) for name in account.priors},
        objective=float(best["objective"]),
        starts=starts,
        strategies=cells.strategies,
        setting=cells.setting,
        batch_size=float(cells.batch_size[0]),
        seen=seen_worth(cells),
        regions=regions,
        own_task_prob=cells.own_task_prob,
    )


def _run_starts(
    account: Account, cells: Cells, divergence: Divergence, num_starts: int, seed: int
) -> pd.DataFrame:
    if not account.priors:
        value = _objective(np.zeros(0), account, cells, divergence)[0]
        return pd.DataFrame([{"objective": float(value), "converged": True}])
    rows = []
    rough = _thinned(cells, divergence)
    with threadpool_limits(1, user_api="blas"):
        for free in _starting_points(account, *(rough or (cells, divergence)), num_starts, seed):
            if rough is not None:
                free = _descend(free, account, *rough).x
            end = _descend(free, account, cells, divergence)
            params = {name: float(value) for name, value in _natural(account, end.x).items()}
            rows.append({**params, "objective": float(end.fun), "converged": bool(end.success)})
    return pd.DataFrame(rows)


def _descend(free: np.ndarray, account: Account, cells: Cells, divergence: Divergence) -> Any:
    return minimize(
        _objective,
        free,
        args=(account, cells, divergence),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 500, "ftol": 1e-13, "gtol": 1e-9},
    )


def _thinned(cells: Cells, divergence: Divergence) -> tuple[Cells, Divergence] | None:
    """Some of the cells, evenly spaced, for starts to come near an optimum first; None if few."""
    size = sum(np.size(leaf) for leaf in jax.tree.leaves(divergence))
    every = -(-size // _MOST_NUMBERS)
    if every == 1:
        return None
    some = slice(None, None, every)
    return jax.tree.map(lambda leaf: leaf[some], cells), divergence.select(some)


def _starting_points(
    account: Account, cells: Cells, divergence: Divergence, num_starts: int, seed: int
) -> Float[np.ndarray, "start parameter"]:
    """The best of many draws from the prior, because losses of settings differ in scale."""
    keys = jax.random.split(jax.random.key(seed), len(account.priors))
    columns = [
        biject_to(prior.support).inv(prior.sample(key, (_DRAWS_PER_START * num_starts,)))
        for key, prior in zip(keys, account.priors.values(), strict=True)
    ]
    drawn = np.stack([np.asarray(column) for column in columns], axis=1)
    found = np.asarray(_objectives(jnp.asarray(drawn), account, cells, divergence))
    return drawn[np.argsort(np.nan_to_num(found, nan=np.inf), kind="stable")[:num_starts]]


@eqx.filter_jit
def _objectives(
    drawn: Float[Array, "draw parameter"], account: Account, cells: Cells, divergence: Divergence
) -> Float[Array, " draw"]:
    def objective(free):
        return divergence(account.log_weights(_natural(account, free), cells)).mean()

    return jax.lax.map(objective, drawn)


def _natural(account: Account, free: Float[Array, " parameter"]) -> dict[str, Array]:
    return {
        name: biject_to(prior.support)(free[i])
        for i, (name, prior) in enumerate(account.priors.items())
    }


def _objective(
    free: np.ndarray, account: Account, cells: Cells, divergence: Divergence
) -> tuple[float, np.ndarray]:
    value, gradient = _value_and_gradient(jnp.asarray(free), account, cells, divergence)
    return float(value), np.asarray(gradient)


@eqx.filter_jit
def _value_and_gradient(
    free: Float[Array, " parameter"],
    account: Account,
    cells: Cells,
    divergence: Divergence,
) -> tuple[Array, Array]:
    def mean_divergence(free):
        return divergence(account.log_weights(_natural(account, free), cells)).mean()

    return jax.value_and_grad(mean_divergence)(free)


def seen_worth(cells: Cells) -> pd.DataFrame:
    """Mean loss and complexity per task diversity, as columns loss_K and complexity_K."""
    columns = {"num_tasks": np.asarray(cells.num_tasks)}
    for k, strategy in enumerate(cells.strategies):
        columns[f"loss_{strategy}"] = np.asarray(cells.loss)[:, k]
        columns[f"complexity_{strategy}"] = np.asarray(cells.complexity)[:, k]
    return pd.DataFrame(columns).groupby("num_tasks", as_index=False).mean()
