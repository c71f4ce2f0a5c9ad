"""Point estimates: the parameters that bring an account's mixtures closest to transformers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float
from numpyro.distributions import biject_to

from rational_icl import accounts, settings
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl._shown import Shown
from rational_icl.accounts import Account
from rational_icl.accounts.invented import invented_cells
from rational_icl.cells.records import Behaviour, Cells, check_pair, select
from rational_icl.cells.tables import StrategyTable
from rational_icl.cells.zeros import unreachable
from rational_icl.fitting.fit_files import read_fields, write_fields
from rational_icl.fitting.holdout import Regions, partition_cells
from rational_icl.fitting.identifiability import Identifiability, identify
from rational_icl.fitting.optimize import minimize_divergence
from rational_icl.fitting.starts import account_log_weights, recomputed_starts

_FAR_OUT = np.log(1e6)
_ACCURACY = 1e-6


@dataclass(frozen=True, repr=False)
class Fit(Shown):
    """A fitted account, with all that predicting needs and no transformer data.

    Args:
        account: the theory.
        params: its fitted parameters, in natural units.
        objective: mean divergence from the mixture over the fitted ID cells, nats, at `params`;
            None of parameters that were stated, not fitted (`from_params`).
        starts: one row per optimizer start: where it ended, its objective, whether it converged,
            and why it was discarded, empty if it was not (see `best_start`).
        table: losses and complexities of strategies at every task diversity of the log.
        regions: which cells were fitted, held out and excluded.
        identifiability: what the fitted cells determine; None of refits, which nobody predicts
            from, and in files of releases before 0.6.
    """

    account: Account
    params: Mapping[str, float]
    objective: float | None
    starts: pd.DataFrame
    table: StrategyTable
    regions: Regions
    identifiability: Identifiability | None = None

    def __repr__(self) -> str:
        params = ", ".join(f"{name} {value:.4g}" for name, value in self.params.items())
        basis = "parameters stated, not fitted"
        if self.objective is not None:
            cells = f"{self.regions.fitted.sum()} of {len(self.regions.fitted)} cells"
            basis = f"{self.objective:.6g} nats over {cells}"
        return f"Fit({self.account.name}: {params or 'no parameters'}; {basis})"

    @classmethod
    def from_params(
        cls,
        account: str | Account,
        params: Mapping[str, float],
        setting: settings.Setting,
        *,
        strategies: Sequence[str] | None = None,
        batch_size: float = 64,
    ) -> "Fit":
        """Fit of stated parameters, to predict from before anything is trained or logged.

        Its losses and complexities are those of task tables drawn for every task diversity that is
        asked for; it has no objective, no cells, and nothing that data determine.

        Args:
            account: a theory, or its name.
            params: every parameter of it, in natural units: of `rational`, `alpha`, `beta`,
                `gamma`.
            setting: how data would be drawn, such as
                `settings.make("categorical", num_dims=8, context_length=128)`.
            strategies: two or more of the setting's; its default ones if None.
            batch_size: sequences per optimizer step. No shipped account depends on it.

        Raises:
            FitError: a parameter is missing, not one of the account's, or out of its range; or the
                account has none before it knows which task diversities were logged.
            LogError: strategies that the setting does not have.
        """
        if not isinstance(setting, settings.Setting):
            raise FitError(f"setting: {setting!r}; expected one that `settings.make` gives")
        names = settings.checked_strategies(strategies, setting)
        if not isinstance(batch_size, int | float) or not 0 < batch_size < np.inf:
            raise FitError(f"batch_size: {batch_size!r}; expected a number above 0")
        account = accounts.make(account, names)
        cells = invented_cells(names, setting)
        accounts.validate_at_first_use(account, cells)
        return cls(
            account=account,
            params=accounts.checked_params(account, params, cells),
            objective=None,
            starts=pd.DataFrame(columns=[*account.priors, "objective"], dtype=float),
            table=StrategyTable.empty(names, setting, batch_size),
            regions=Regions(*np.zeros((3, 0), dtype=bool)),
        )

    def summary(self) -> pd.DataFrame:
        """Value of every parameter, and its lowest and highest over fits that are as good."""
        equal = pd.DataFrame([dict(fit.params) for fit in self.equal_fits], dtype=float)
        rows = {"value": pd.Series(dict(self.params), dtype=float)}
        rows |= {"lowest": equal.min(), "highest": equal.max()}
        return pd.DataFrame(rows).rename_axis("parameter")

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

    def regions_of(self, cells: Cells) -> Regions:
        """Regions that these cells were in when they were fitted.

        Raises:
            FitError: the fit is of another number of cells, or of none.
        """
        if len(self.regions.fitted) != len(cells):
            size = len(self.regions.fitted)
            cure = "bring the cells that were fitted"
            if self.objective is None:
                cure = "its parameters were stated, not fitted; fit the account"
            raise FitError(f"the fit is of {size} cells, and these are {len(cells)}; {cure}")
        return self.regions

    @in_float64
    def log_weights(self, cells: Cells) -> Float[np.ndarray, "cell strategy"]:
        """Log weights of the strategies in the given cells, at the fitted parameters.

        Raises:
            FitError: one is not a number, or weights of a cell do not sum to one.
        """
        params = {name: jnp.asarray(value) for name, value in self.params.items()}
        log_weight = np.asarray(account_log_weights(self.account, params, cells))
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
        if not self.params or self.objective is None:
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
    check_pair(cells, behaviour)
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
    checked = recomputed_starts(account, starts, cells, behaviour, regions.fitted)
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
