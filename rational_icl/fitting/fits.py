"""Point estimates: the parameters that bring an account's mixtures closest to transformers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float
from numpyro.distributions import biject_to

from rational_icl import accounts, settings
from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells, select
from rational_icl.cells.tables import StrategyTable
from rational_icl.cells.zeros import unreachable
from rational_icl.fitting.fit_files import read_fields, write_fields
from rational_icl.fitting.holdout import Regions, partition_cells
from rational_icl.fitting.identifiability import Identifiability, identify
from rational_icl.fitting.optimize import divergence_at, minimize_divergence

_FAR_OUT = np.log(1e6)
_ACCURACY = 1e-6
_MOST_MOVED = 1e-9


@dataclass(frozen=True)
class Fit:
    """A fitted account, with all that predicting needs and no transformer data.

    Args:
        account: the theory.
        params: its fitted parameters, in natural units.
        objective: mean divergence from the mixture over the fitted ID cells, nats, at `params`.
        starts: one row per optimizer start: where it ended, its objective, whether it converged,
            and why it was discarded, empty if it was not (see `best_start`).
        table: losses and complexities of strategies at every task diversity of the log.
        regions: which cells were fitted, held out and excluded.
        identifiability: what the fitted cells determine; None of refits, which nobody predicts
            from, and in files of releases before 0.6.
    """

    account: Account
    params: Mapping[str, float]
    objective: float
    starts: pd.DataFrame
    table: StrategyTable
    regions: Regions
    identifiability: Identifiability | None = None

    @property
    def strategies(self) -> tuple[str, ...]:
        """Names of the strategies."""
        return self.table.strategies

    @property
    def setting(self) -> settings.Setting:
        """Setting that data are drawn from."""
        return self.table.setting

    @property
    def batch_size(self) -> float:
        """Sequences per optimizer step."""
        return self.table.batch_size

    @property
    def own_task_prob(self) -> bool:
        """Whether the log holds task probabilities of its own."""
        return self.table.own_task_prob

    @property
    def seen(self) -> pd.DataFrame:
        """Mean loss (nats) and complexity (bits) of strategies, a row a logged task diversity."""
        return self.table.frame()

    @in_float64
    def log_weights(self, cells: Cells) -> Float[np.ndarray, "cell strategy"]:
        """Log weights of the strategies in the given cells, at the fitted parameters.

        Raises:
            FitError: one is not a number, or weights of a cell do not sum to one.
        """
        params = {name: jnp.asarray(value) for name, value in self.params.items()}
        log_weight = np.asarray(_log_weights(self.account, params, cells))
        if problem := accounts.problem_with_weights(log_weight, cells, may_be_zero=True):
            raise FitError(f"account {self.account.name!r}: {problem}")
        return log_weight

    @property
    @in_float64
    def at_boundary(self) -> tuple[str, ...]:
        """Parameters that ended within about 10⁻⁶ of an end of their range, or past 10⁶."""
        free = {
            name: float(biject_to(prior.support).inv(jnp.asarray(self.params[name])))
            for name, prior in self.account.priors.items()
        }
        return tuple(name for name, value in free.items() if not abs(value) < _FAR_OUT)

    @property
    def caution(self) -> str:
        """Sentence about parameters that the data leave free; empty if none or not computed."""
        return self.identifiability.caution(self.at_boundary) if self.identifiability else ""

    @property
    def equal_fits(self) -> tuple["Fit", ...]:
        """This fit, and the same account at other parameters that fit equally well.

        Of fits without `identifiability`, those are where optimizer starts ended within 10⁻⁶ nats
        and at other parameters, to two digits.
        """
        if not self.params:
            return (self,)
        if self.identifiability is None:
            near = self.starts["objective"] <= self.objective + _ACCURACY
            ended = pd.concat([pd.DataFrame([dict(self.params)]), self.starts[near]])
            alternatives = ended.reindex(columns=list(self.params)).dropna()
            alternatives = alternatives[~alternatives.map("{:.1e}".format).duplicated()].iloc[1:]
        else:
            alternatives = self.identifiability.equal.iloc[1:]
        rows = alternatives.to_dict(orient="records")
        return (self, *(replace(self, params=params) for params in rows))

    def save(self, path: str | Path) -> None:
        """Write the fit as JSON, for `load_fit`.

        Raises:
            FitError: the account has a known name but ingredients that the file would not hold.
        """
        write_fields(vars(self), path)


@eqx.filter_jit
def _log_weights(account: Account, params: Mapping[str, Array], cells: Cells) -> Array:
    return account.log_weights(params, cells)


def load_fit(path: str | Path) -> Fit:
    """Fit read from a file that `Fit.save` wrote.

    Raises:
        FitError: there is none, or it is not one.
    """
    return Fit(**read_fields(path))


@in_float64
def fit(
    account: str | Account,
    cells: Cells,
    behaviour: Behaviour,
    *,
    regions: Regions | None = None,
    num_starts: int = 16,
    seed: int = 0,
) -> Fit:
    """Fit of least mean divergence of transformers from the account's mixtures.

        mean over fitted ID cells of the divergence of T from Σ_k π_k Q_k

    by L-BFGS with exact gradients in unconstrained coordinates (log or logit, as the support of the
    prior asks), from the best of 32 draws of the prior for every start; with many cells and nodes,
    first on some of the cells, so that each start goes over all of them only near its end. The
    criterion is that of Wurgaft et al. (2025), arXiv:2506.17859. Cost does not depend on how many
    sequences were logged.

    Args:
        account: a theory, such as `accounts.Rational()`, or its name.
        cells, behaviour: from `summarize`.
        regions: which cells to fit; `partition_cells(cells, behaviour)` if None.
        num_starts: optimizer starts; all are reported.
        seed: of the starts.

    Returns:
        The best start's parameters, where every start ended, and what the cells determine.

    Raises:
        FitError: too few cells or task diversities, an account that does not keep what accounts
            promise (`accounts.validate`), or no start ends at a finite objective (`best_start`).
    """
    account = accounts.make(account, cells.strategies)
    accounts.validate_at_first_use(account, cells)
    regions = regions or partition_cells(cells, behaviour)
    chosen = select(cells, regions.fitted)
    account = account.for_cells(chosen)
    divergence = behaviour.splits["id"].divergence.select(regions.fitted)
    if not divergence.finite.all():
        raise FitError(unreachable(divergence.finite, cells.strategies, cells.setting))
    starts = minimize_divergence(account, chosen, divergence, num_starts=num_starts, seed=seed)
    best = best_start(account, starts, cells, behaviour, regions)
    split = select(behaviour.splits["id"], regions.fitted)
    determined = identify(account, best.params, best.starts, chosen, split)
    return replace(best, identifiability=determined)


@in_float64
def best_start(
    account: Account, starts: pd.DataFrame, cells: Cells, behaviour: Behaviour, regions: Regions
) -> Fit:
    """Fit at the best of an optimizer's end points, recomputed in natural parameters.

    An optimizer works on numbers without bounds, and its compiled objective may be finite where the
    natural parameters, which are all that a fit keeps, no longer hold what it saw. So weights in
    all cells of the log and the objective are computed again from the natural parameters. A start
    is discarded where a log weight is not finite in any cell, fitted or not, where weights do not
    sum to one (1e-9), or where its objective moves by more than 1e-9, or 1e-9 of itself above 1.
    Of what is left, objectives are those at natural parameters; a discarded start has none (NaN).

    Args:
        account: the theory.
        starts: from `minimize_divergence`.
        cells, behaviour: of the whole log.
        regions: of these cells.

    Raises:
        FitError: no start is left; why each was discarded.
    """
    checked = _recomputed(account, starts, cells, behaviour, regions.fitted)
    valid = checked[checked["discarded"] == ""]
    if valid.empty:
        reasons = "; ".join(dict.fromkeys(checked["discarded"]))
        raise FitError(
            f"account {account.name!r}: none of {len(checked)} starts gave a fit: {reasons}"
        )
    best = valid.iloc[int(valid["objective"].argmin())]
    return Fit(
        account=account,
        params={name: float(best[name]) for name in account.priors},
        objective=float(best["objective"]),
        starts=checked,
        table=StrategyTable.of_cells(cells),
        regions=regions,
    )


def _recomputed(
    account: Account, starts: pd.DataFrame, cells: Cells, behaviour: Behaviour, fitted: np.ndarray
) -> pd.DataFrame:
    """The starts with their objectives at natural parameters, and why some are discarded.

    All cells are computed, whichever are fitted, so that one compiled program serves all folds.
    """
    rows = []
    for row in starts.to_dict("records"):
        params = {name: row[name] for name in account.priors}
        infinite = [f"{name} = {value}" for name, value in params.items() if not np.isfinite(value)]
        objective, problem = np.nan, f"it ended at {', '.join(infinite)}" if infinite else ""
        if not infinite:
            objective, problem = _at(account, params, cells, behaviour, fitted)
        problem = problem or _moved(row["objective"], objective)
        objective = np.nan if problem else objective
        rows.append({**row, "objective": objective, "discarded": problem})
    return pd.DataFrame(rows)


def _at(
    account: Account,
    params: Mapping[str, float],
    cells: Cells,
    behaviour: Behaviour,
    fitted: np.ndarray,
) -> tuple[float, str]:
    """The objective at natural parameters, or what is wrong with weights there."""
    wide = {name: jnp.asarray(value) for name, value in params.items()}
    log_weight = np.asarray(_log_weights(account, wide, cells))
    if problem := accounts.problem_with_weights(log_weight, cells):
        return np.nan, problem
    divergence = divergence_at(behaviour.splits["id"].divergence, log_weight)
    return float(divergence[fitted].mean()), ""


def _moved(optimized: float, recomputed: float) -> str:
    if abs(recomputed - optimized) <= _MOST_MOVED * max(1.0, abs(optimized)):
        return ""
    return (
        f"its objective is {optimized:.9g} to the optimizer and {recomputed:.9g} at the parameters "
        "where it ended"
    )
