"""Refits of accounts for every fold."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pandas as pd

from rational_icl._errors import FitError, first_line
from rational_icl.accounts import Account, validate_at_first_use
from rational_icl.cells.records import Behaviour, Cells, select
from rational_icl.cells.zeros import unreachable
from rational_icl.comparison.folds import Fold
from rational_icl.fitting.fits import Fit, best_start
from rational_icl.fitting.holdout import Regions
from rational_icl.fitting.optimize import minimize_divergence


@dataclass(frozen=True)
class Refit:
    """Refit of one account for one fold.

    Args:
        fold: the cells that it may see, and those that it is scored on.
        fit: the fitted account; None if it failed, as where weights of a scored cell are not
            numbers.
        problem: why it failed, empty if it did not.
        seconds: wall-clock time.
    """

    fold: Fold
    fit: Fit | None
    problem: str
    seconds: float


def refit(
    account: Account,
    cells: Cells,
    behaviour: Behaviour,
    fold: Fold,
    *,
    near: Fit | None = None,
    num_starts: int = 8,
    seed: int = 0,
) -> Refit:
    """Refit of an account to the cells that a fold may see.

    A fit to nearly all cells, as when one run is left out, starts where the fit to all ended. All
    cells are passed, those held out without weight, so that one compiled program serves all folds.

    Args:
        account: a theory.
        cells, behaviour: of the whole log.
        fold: which to fit.
        near: a fit to start from.
        num_starts: optimizer starts if `near` is None.
        seed: of the starts.
    """
    begun = perf_counter()
    fit, problem = None, ""
    try:
        fit = _fitted(account, cells, behaviour, fold, near, num_starts, seed)
    except FitError as error:
        problem = str(error)
    except Exception as error:  # whatever one account does, the others are still compared
        problem = first_line(error)
    return Refit(fold, fit, problem, perf_counter() - begun)


def _fitted(
    account: Account,
    cells: Cells,
    behaviour: Behaviour,
    fold: Fold,
    near: Fit | None,
    num_starts: int,
    seed: int,
) -> Fit:
    validate_at_first_use(account, cells)
    usable = fold.fitted | fold.scored
    divergence = behaviour.splits["id"].divergence.select(usable)
    if not divergence.finite.all():
        raise FitError(
            unreachable(divergence.finite, cells.strategies, cells.setting, cells="cells")
        )
    fitted_account = account.for_cells(select(cells, fold.fitted))
    # parameters for each task diversity that the other fit lacks cannot start from it
    start = None
    if near is not None and set(near.params) == set(fitted_account.priors):
        start = pd.DataFrame([dict(near.params)])
    starts = minimize_divergence(
        fitted_account,
        select(cells, usable),
        divergence,
        weight=fold.fitted[usable].astype(np.float64),
        near=start,
        num_starts=num_starts if start is None else 0,
        seed=seed,
    )
    regions = Regions(fold.fitted, fold.scored, ~usable)
    return best_start(fitted_account, starts, cells, behaviour, regions)
