"""Phase diagrams: weights of strategies over task diversity and training, no transformer."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from rational_icl._jit import in_float64
from rational_icl.cells.tables import StrategyTable, checked_steps, checked_tasks
from rational_icl.fitting.fits import Fit
from rational_icl.posterior.base import PosteriorLike
from rational_icl.prediction.draws import Draws, check_request
from rational_icl.prediction.runs import OF, drawn_weights

MOST_SPREAD = 0.05
"""Of a weight over parameter sets that fit equally well, for the weight to be determined."""
_AXES = ("num_tasks", "step", "strategy")


@in_float64
def phase_diagram(
    source: Fit | PosteriorLike,
    num_tasks: Sequence[int] | np.ndarray,
    steps: Sequence[float] | np.ndarray,
    *,
    of: str = "run",
    interval: float = 0.9,
    condition: str | None = None,
    seed: int = 0,
    progress: bool = False,
) -> xr.Dataset:
    """Weight of every strategy over task diversity and training step, logged or not.

    Task diversities of the log use its losses and complexities, averaged over runs. For others a
    task table is drawn, and its losses and complexities are computed: no transformer is needed.

    Residuals of a run are drawn along its steps, those logged and those asked for, from the same
    law as the likelihood's. Measurement errors are those of the nearest logged cell in (ln D, ln
    N). Weights may be exactly 0 or 1, where coordinates lie beyond the simplex.

    Args:
        source: from `fit`, or a posterior from `sample` or `load_posterior`.
        num_tasks: task diversities D, logged or not.
        steps: optimizer steps N ≥ 1, logged or not.
        of: what a posterior predicts. `run`, the weights of a transformer not yet trained, with the
            effects of its task diversity and its run and its residuals; `observed`, those weights
            as they would be measured, with measurement error, to compare best-mixture weights with;
            or `account`, the weights of the theory alone, which is what a fit predicts.
        interval: of a posterior, probability inside the central interval.
        condition: of a posterior of several, which.
        seed: of task tables for task diversities that were not logged, and of effects.
        progress: show a bar over such task diversities.

    Returns:
        weight (num_tasks, step, strategy), of a posterior the mean over draws; loss (nats) and
        complexity (bits) (num_tasks, strategy); seen (num_tasks,), whether the log has it.

        Of a fit also log_weight; lowest and highest, the range of the weight over `Fit.equal_fits`;
        and determined (num_tasks, step), whether that is at most .05 for all strategies. Of a
        posterior also lower and upper; and ahead (num_tasks, step), the chance that the first
        strategy outweighs the second.

    Raises:
        FitError: a task diversity below 1 or not whole, a step below 1, a task diversity not in a
            log that brings task probabilities of its own; or a bad `of`, interval or condition.
    """
    check_request(of, interval, OF)
    diversities, grid = np.unique(checked_tasks(num_tasks)), np.unique(checked_steps(steps))
    draws = Draws.of(source, condition)
    if isinstance(source, Fit):
        return _of_fit(source, draws.table.at(diversities, seed=seed, progress=progress), grid)
    return predictive(draws, diversities, grid, of, seed, progress).summary(interval)


predict = phase_diagram
"""`phase_diagram`, by the name that it had for posteriors."""


class Predictive(NamedTuple):
    """Draws of weights on a grid of task diversities and steps.

    Args:
        weight: at every draw.
        table: losses and complexities at its task diversities.
        steps: N.
        account: name of the theory.
        of: see `phase_diagram`.
    """

    weight: Float[np.ndarray, "draw num_tasks step strategy"]
    table: StrategyTable
    steps: np.ndarray
    account: str
    of: str

    def summary(self, interval: float) -> xr.Dataset:
        """Summary of the draws, as `phase_diagram` returns it of a posterior."""
        low, high = np.quantile(self.weight, [0.5 - interval / 2, 0.5 + interval / 2], axis=0)
        variables = {
            "weight": (_AXES, self.weight.mean(axis=0)),
            "lower": (_AXES, low),
            "upper": (_AXES, high),
            "ahead": (_AXES[:2], (self.weight[..., 0] > self.weight[..., 1]).mean(axis=0)),
        }
        attrs = {"of": self.of, "interval": interval, "account": self.account}
        return _diagram(variables, self.table, self.steps, attrs)


def predictive(
    draws: Draws,
    num_tasks: np.ndarray,
    steps: np.ndarray,
    of: str,
    seed: int = 0,
    progress: bool = False,
) -> Predictive:
    """Draws of the weights that `phase_diagram` summarizes, at distinct task diversities."""
    table = draws.table.at(num_tasks, seed=seed, progress=progress)
    weight = drawn_weights(draws, table, steps, of, seed)
    return Predictive(weight, table, steps, draws.account.name, of)


def _of_fit(fit: Fit, table: StrategyTable, steps: np.ndarray) -> xr.Dataset:
    cells = table.grid(steps)
    shape = (len(table), len(steps), len(table.strategies))
    log_weight = fit.log_weights(cells).reshape(shape)
    equal = [np.exp(equal_fit.log_weights(cells)).reshape(shape) for equal_fit in fit.equal_fits]
    lowest, highest = np.min(equal, axis=0), np.max(equal, axis=0)
    variables = {
        "weight": (_AXES, np.exp(log_weight)),
        "log_weight": (_AXES, log_weight),
        "lowest": (_AXES, lowest),
        "highest": (_AXES, highest),
        "determined": (_AXES[:2], (highest - lowest <= MOST_SPREAD).all(axis=2)),
    }
    params = {f"param_{name}": value for name, value in fit.params.items()}
    return _diagram(variables, table, steps, {"account": fit.account.name, **params})


def _diagram(
    variables: dict, table: StrategyTable, steps: np.ndarray, attrs: dict[str, object]
) -> xr.Dataset:
    of_table = {kind: table.values[kind].variable for kind in ("loss", "complexity")}
    logged = ("num_tasks", table.logged)
    coords = {"num_tasks": table.num_tasks, "step": steps, "strategy": list(table.strategies)}
    return xr.Dataset({**variables, **of_table, "seen": logged}, coords, attrs)
