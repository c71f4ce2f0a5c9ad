"""Calibration of intervals: cells are left out, and predicted from the rest."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import pandas as pd
from jaxtyping import Bool

from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl._progress import progress_bar
from rational_icl.fitting.holdout import FITTED_SHARE
from rational_icl.posterior.base import Posterior, PosteriorLike
from rational_icl.posterior.coordinates import weights_of
from rational_icl.posterior.idata import replicates
from rational_icl.posterior.loo import series_log_density
from rational_icl.posterior.refits import AT_ONCE, posteriors, with_used
from rational_icl.posterior.scores import scores_of
from rational_icl.posterior.specification import Specification

_CHAINS = 4


class Fold(NamedTuple):
    """Cells that are left out of one refit.

    Args:
        name: of it.
        cells: those that are predicted, and not conditioned on.
        whole: whether all cells of their series are among them.
    """

    name: str
    cells: Bool[np.ndarray, " cell"]
    whole: bool = True


@in_float64
def leave_one_run_out(
    posterior: PosteriorLike,
    *,
    num_warmup: int = 500,
    num_draws: int = 500,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Predictions of every run, on all its splits, from refits without it.

    Of a task diversity with other runs this is the prediction of another seed.

    Args:
        posterior: from `sample`; says which cells, model and noise.
        num_warmup, num_draws: of the one chain of each refit; multiples of 25.
        seed: of the chains and of predictions.
        progress: show a bar.

    Returns:
        One row per cell and strategy but the last: left_out, condition, run, split, num_tasks,
        step, strategy, and the columns of `scores_of` for the observed best-mixture weight; and
        log_density, of all that is left out together, given the others: the same on all its rows.

    Raises:
        FitError: there is only one run.
    """
    specification = Posterior.of(posterior).specification
    return _left_out(
        specification, _folds(specification, "run"), num_warmup, num_draws, seed, progress
    )


@in_float64
def leave_one_num_tasks_out(
    posterior: PosteriorLike,
    *,
    num_warmup: int = 500,
    num_draws: int = 500,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Predictions of all runs of every task diversity, from refits without them.

    Args:
        posterior, num_warmup, num_draws, seed, progress: see `leave_one_run_out`.

    Returns:
        As `leave_one_run_out`.

    Raises:
        FitError: there is only one task diversity.
    """
    specification = Posterior.of(posterior).specification
    return _left_out(
        specification, _folds(specification, "num_tasks"), num_warmup, num_draws, seed, progress
    )


@in_float64
def leave_ends_out(
    posterior: PosteriorLike,
    *,
    num_warmup: int = 500,
    num_draws: int = 500,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Predictions of later steps and larger task diversities from the first 80 % of each.

    Args:
        posterior: see `leave_one_run_out`; of all cells, the ends among them.
        num_warmup, num_draws, seed, progress: see `leave_one_run_out`; of four chains.

    Returns:
        As `leave_one_run_out`, with left_out of `later_steps`, of runs whose first steps are known
        and with them their effects (residuals are drawn anew), and `larger_num_tasks`, at all
        steps. log_density is that of all cells of a task diversity that are left out.

    Raises:
        FitError: there are too few steps and task diversities to leave any out.
    """
    specification = Posterior.of(posterior).specification
    later, larger = _ends(specification)
    used = np.stack([~later & ~larger] * _CHAINS)
    model, data = specification.model, specification.data
    draws = posteriors(model, with_used(data, used), num_warmup, num_draws, seed)
    joined = {name: value.reshape(-1, *value.shape[2:]) for name, value in draws.items()}
    of_cell = specification.series["num_tasks"].to_numpy()[np.asarray(data.response.series)]
    folds = [
        Fold(name, cells & (of_cell == number), is_whole)
        for name, cells, is_whole in (
            ("later_steps", later, False),
            ("larger_num_tasks", larger, True),
        )
        for number in np.unique(of_cell[cells])
    ]
    del progress
    return pd.concat(
        [_scored(specification, fold, joined, seed) for fold in folds], ignore_index=True
    )


def _folds(specification: Specification, unit: str) -> list[Fold]:
    groups = specification.series.groupby(["condition", unit], sort=False)
    if groups.ngroups < 2:
        word = unit.replace("num_tasks", "task diversity")
        raise FitError(
            f"there is only one {word}; leaving it out leaves nothing to predict it from"
        )
    of_cell = groups.ngroup().to_numpy()[np.asarray(specification.data.response.series)]
    return [Fold(str(name[1]), of_cell == index) for index, (name, _) in enumerate(groups)]


def _ends(specification: Specification) -> tuple[np.ndarray, np.ndarray]:
    """Cells at later steps, and of larger task diversities, than the first 80 % of a condition."""
    later, larger = [], []
    for cells in specification.data.cells:
        step, num_tasks = np.asarray(cells.step), np.asarray(cells.num_tasks)
        last = _last_fitted(num_tasks)
        larger.append(num_tasks > last)
        later.append((step > _last_fitted(step)) & (num_tasks <= last))
    if not np.concatenate(later + larger).any():
        raise FitError("too few steps and task diversities to leave the last ones out")
    return np.concatenate(later), np.concatenate(larger)


def _last_fitted(values: np.ndarray) -> float:
    distinct = np.unique(values)
    return distinct[int(np.ceil(FITTED_SHARE * len(distinct))) - 1]


def _left_out(
    specification: Specification,
    folds: Sequence[Fold],
    num_warmup: int,
    num_draws: int,
    seed: int,
    progress: bool,
) -> pd.DataFrame:
    frames = []
    batches = -(-len(folds) // AT_ONCE)
    size = -(-len(folds) // batches)
    starts = range(0, len(folds), size)
    for start in progress_bar(starts, desc="left out", unit="batch", progress=progress):
        # of one shape, so that nothing is compiled again
        padded = [folds[index % len(folds)] for index in range(start, start + size)]
        data = with_used(specification.data, np.stack([~fold.cells for fold in padded]))
        draws = posteriors(specification.model, data, num_warmup, num_draws, seed + start)
        for place, fold in enumerate(folds[start : start + size]):
            drawn = {name: value[place] for name, value in draws.items()}
            frames.append(_scored(specification, fold, drawn, seed))
    return pd.concat(frames, ignore_index=True)


def _scored(
    specification: Specification, fold: Fold, drawn: dict[str, np.ndarray], seed: int
) -> pd.DataFrame:
    """The rows of what is left out."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), len(drawn["diverging"]))
    named = {name: value for name, value in drawn.items() if name != "diverging"}
    data = specification.data
    coordinate = np.asarray(replicates(specification.model, named, data, keys))[:, fold.cells]
    softening = np.asarray(data.response.softening)[fold.cells]
    weight = weights_of(coordinate, softening)
    series = specification.series.iloc[np.asarray(data.response.series)[fold.cells]]
    step = np.concatenate([np.asarray(cells.step) for cells in data.cells])[fold.cells]
    cells = series.reset_index(drop=True).assign(step=step)
    cells.insert(0, "left_out", fold.name)
    frames = [
        pd.concat(
            [
                cells.assign(strategy=strategy),
                scores_of(weight[..., k], specification.weight[fold.cells, k]),
            ],
            axis=1,
        )
        for k, strategy in enumerate(specification.strategies[:-1])
    ]
    return pd.concat(frames, ignore_index=True).assign(
        log_density=_log_density(specification, fold, drawn)
    )


def _log_density(specification: Specification, fold: Fold, drawn: dict[str, Any]) -> float:
    """Log density of all that is left out, given the rest.

    Of whole series, with their effects integrated out; of the end of series, given their effects.
    """
    if fold.whole:
        names = (*specification.model.accounts[0].priors, *specification.model.noise_priors)
        values = {name: drawn[f"each_{name}"] for name in names}
        if {"sd_run", "sd_num_tasks"} & set(names):
            values["effect"] = drawn["effect"]
        out = np.unique(np.asarray(specification.data.response.series)[fold.cells])
        unit = np.arange(len(specification.series))
        unit[out] = out[0]
        density = series_log_density(specification.model, specification.data, values, unit)[:, out]
    else:
        density = drawn["log_density"][:, fold.cells]
    total = density.sum(axis=1)
    return float(np.logaddexp.reduce(total) - np.log(len(total)))
