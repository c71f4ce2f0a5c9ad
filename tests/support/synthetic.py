"""Cells, behaviours and fits made by hand, with a known truth. Nothing here reads a log."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pandas as pd

from rational_icl.accounts import Account, Rational
from rational_icl.cells.records import Behaviour, Cells, SplitBehaviour, select
from rational_icl.cells.reduction import joined_behaviour, split_behaviour
from rational_icl.cells.statistics import NUM_BLOCKS, Divergence, run_statistics
from rational_icl.cells.statistics.nodes import MixtureDivergence, NodeStatistics
from rational_icl.cells.tables import StrategyTable
from rational_icl.fitting.fits import Fit
from rational_icl.fitting.holdout import Regions
from rational_icl.settings import Categorical
from rational_icl.settings.draws import draw_from
from rational_icl.strategies.predictors import strategy_predictions

SETTING = Categorical(num_dims=4, context_length=16)
STRATEGIES = ("memorizing", "generalizing", "constant")
TRUTH = {"alpha": 0.7, "beta": 0.2, "gamma": 4.0}
STEPS = np.round(np.geomspace(10, 30_000, 10))
DIVERSITIES = np.array([2.0, 4.0, 8.0, 16.0, 32.0])


def statistics(transformer: np.ndarray, strategies: np.ndarray) -> NodeStatistics:
    """Statistics of predictions (step, sequence, ...) and strategies (the same)."""
    with np.errstate(divide="ignore"):
        logs = np.log(transformer)
    block = np.arange(strategies.shape[1]) % NUM_BLOCKS
    found = run_statistics(SETTING.outcome, logs, strategies, block)
    assert isinstance(found, NodeStatistics)
    return found


def evaluate(divergence: Divergence, weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """The divergence of every cell at weights (strategy,) or (cell, strategy)."""
    with jax.enable_x64(True), np.errstate(divide="ignore"):
        log_weight = np.log(np.broadcast_to(weights, divergence.shape))
        return np.asarray(divergence(log_weight))


def make_cells(
    num_tasks: Sequence[float] | np.ndarray = DIVERSITIES,
    steps: Sequence[float] | np.ndarray = STEPS,
    num_strategies: int = 2,
) -> Cells:
    """One run per entry of `num_tasks`, each with all `steps`; invented losses and complexities.

    The loss gap falls as D^-1/4 and the task table takes 64 bits a number.
    """
    tasks = np.asarray(num_tasks, dtype=float)
    loss = np.stack([0.01 + 0 * tasks, 0.01 + 0.12 * tasks**-0.25, 0.5 + 0 * tasks], axis=1)
    bits = np.stack([4200 + 256 * tasks, 3864 + 0 * tasks, 2800 + 0 * tasks], axis=1)
    each = len(steps)
    size = each * len(tasks)
    return Cells(
        strategies=STRATEGIES[:num_strategies],
        setting=SETTING,
        num_tasks=np.repeat(tasks, each),
        step=np.tile(np.asarray(steps, dtype=float), len(tasks)),
        batch_size=np.full(size, 16.0),
        num_dims=np.full(size, float(SETTING.num_dims)),
        context_length=np.full(size, float(SETTING.context_length)),
        loss=np.repeat(loss[:, :num_strategies], each, axis=0),
        loss_error=np.zeros((size, num_strategies)),
        complexity=np.repeat(bits[:, :num_strategies], each, axis=0),
    )


def make_behaviour(cells: Cells, **columns: Any) -> Behaviour:
    """A behaviour with given `relative_distance` or `best_divergence` (cell,), no statistics."""
    size, strategies = cells.loss.shape
    nothing: Divergence = MixtureDivergence(
        coefficient=np.zeros((size, 1)),
        ratio=np.ones((size, strategies, 1)),
        offset=np.zeros(size),
    )
    fields = {
        "relative_distance": np.full(size, 0.5),
        "relative_distance_error": np.zeros(size),
        "best_weight": np.full((size, strategies), 1 / strategies),
        "best_weight_covariance": np.zeros((size, strategies, strategies)),
        "best_divergence": np.zeros(size),
        "interpolation_distance": np.zeros(size),
        "best_agreement": np.zeros((size, 3)),
    }
    each = (nothing,) * strategies
    split = SplitBehaviour(**{**fields, **columns}, divergence=nothing, strategy_divergences=each)
    each = len(np.unique(cells.step))
    run = np.arange(size) // each
    names = tuple(f"run{index}" for index in range(size // each))
    return Behaviour(names, run, {"id": split, "ood": split})


def unmeasured(weights: np.ndarray) -> np.ndarray:
    """Zeros in place of the measures of probabilities."""
    return np.zeros((len(weights), 3))


def mixed_behaviour(cells: Cells, log_weight: np.ndarray, num_sequences: int = 40) -> Behaviour:
    """Transformers that are exactly the mixtures with the given weights, on drawn sequences."""
    each = len(np.unique(cells.step))
    reduced = []
    for start in range(0, len(cells), each):
        rng = np.random.default_rng([71, start])
        tasks = SETTING.draw_tasks(rng, int(cells.num_tasks[start]))
        inputs, _ = draw_from(SETTING, rng, tasks, num_sequences)
        predicted = strategy_predictions(SETTING, tasks, inputs, cells.strategies)
        mixed = np.tensordot(np.exp(log_weight[start : start + each]), predicted, axes=1)
        of_strategies = statistics(predicted, predicted)
        reduced.append(split_behaviour(statistics(mixed, predicted), of_strategies, unmeasured))
    split = joined_behaviour(reduced)
    names = tuple(f"run{index}" for index in range(len(reduced)))
    return Behaviour(names, np.arange(len(cells)) // each, {"id": split, "ood": split})


def everything(cells: Cells) -> Regions:
    """All cells fitted."""
    none = np.zeros(len(cells), dtype=bool)
    return Regions(~none, none, none)


def make_fit(cells: Cells, account: Account | None = None, **params: float) -> Fit:
    """A fit with known parameters, those of `TRUTH` unless given."""
    params = {**TRUTH, **params} if account is None else params
    # one cell a task diversity, so that means are what cells hold to the bit
    first = np.isin(np.arange(len(cells)), np.unique(cells.num_tasks, return_index=True)[1])
    return Fit(
        account=account or Rational(),
        params=params,
        objective=0.0,
        starts=pd.DataFrame([{**params, "objective": 0.0, "converged": True}]),
        table=StrategyTable.of_cells(select(cells, first)),
        regions=everything(cells),
    )


def replaced_losses(cells: Cells, loss: np.ndarray) -> Cells:
    """Cells with other losses."""
    return replace(cells, loss=loss)
