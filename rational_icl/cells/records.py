"""Records of cells: what an account may see of them, and what it must explain.

A cell is one trained transformer at one checkpoint. `Cells` holds all that an account may look at;
`Behaviour` holds what the transformers did, and goes to likelihoods and scores only.
"""

from collections.abc import Mapping
from typing import TypeVar

import equinox as eqx
import jax
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Integer

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl.cells.measures import names_of_measures
from rational_icl.cells.statistics import Divergence
from rational_icl.settings import Setting

RecordsT = TypeVar("RecordsT")


class Cells(eqx.Module):
    """Cells, one a run and checkpoint: all that an account may see of them.

    Args:
        strategies: names, in the order of the strategy axis.
        setting: how the data are drawn.
        num_tasks: D, task diversity.
        step: N, optimizer steps.
        batch_size: sequences per step; sequences seen = step × batch_size.
        num_dims, context_length: sizes of the setting.
        loss: L_k(D), nats per prediction.
        loss_error: Monte Carlo standard error of the loss differences, nats; zero where logged.
        complexity: K_k(D), bits.
        own_task_prob: whether the log holds task probabilities of its own, which nothing can draw
            again for another task diversity.
        complexity_float32: K_k(D) with task tables counted in single precision, bits; NaN where the
            log holds complexities of its own, None where no log says.
    """

    strategies: tuple[str, ...] = eqx.field(static=True)
    setting: Setting = eqx.field(static=True)
    num_tasks: Float[Array, " cell"]
    step: Float[Array, " cell"]
    batch_size: Float[Array, " cell"]
    num_dims: Float[Array, " cell"]
    context_length: Float[Array, " cell"]
    loss: Float[Array, "cell strategy"]
    loss_error: Float[Array, "cell strategy"]
    complexity: Float[Array, "cell strategy"]
    own_task_prob: bool = eqx.field(static=True, default=False)
    complexity_float32: Float[Array, "cell strategy"] | None = None

    def __len__(self) -> int:
        return len(self.num_tasks)


class SplitBehaviour(eqx.Module):
    """Behaviour of the transformers on one split, per cell.

    Args:
        relative_distance: 1 where T is the first strategy (memorizing), 0 where it is the second
            (generalizing); NaN where a distance is infinite.
        relative_distance_error: its standard error, from disjoint blocks of sequences.
        best_weight: simplex weights of the mixture closest to T.
        best_weight_covariance: its sampling covariance, from the same blocks.
        best_divergence: of T from that mixture, nats: the least any account can reach.
        interpolation_distance: symmetrised divergence of T from the mixture of two strategies that
            has relative distance as its weight, nats: what says which checkpoints are early. NaN
            where relative distance is, and with three or more strategies, where none is.
        best_agreement: of T with that mixture, by measure (`names_of_measures`).
        divergence: of T from a mixture, as a function of the weights.
        strategy_divergences: the same of every strategy, as if it were T: what a mixture is like.
    """

    relative_distance: Float[np.ndarray, " cell"]
    relative_distance_error: Float[np.ndarray, " cell"]
    best_weight: Float[np.ndarray, "cell strategy"]
    best_weight_covariance: Float[np.ndarray, "cell strategy strategy"]
    best_divergence: Float[np.ndarray, " cell"]
    interpolation_distance: Float[np.ndarray, " cell"]
    best_agreement: Float[np.ndarray, "cell measure"]
    divergence: Divergence
    strategy_divergences: tuple[Divergence, ...]


class Behaviour(eqx.Module):
    """Behaviour of the transformers: `run` indexes `runs`; `splits` are `id`, `ood` and others."""

    runs: tuple[str, ...] = eqx.field(static=True)
    run: Integer[np.ndarray, " cell"]
    splits: Mapping[str, SplitBehaviour]


def select(records: RecordsT, chosen: Bool[np.ndarray, " cell"]) -> RecordsT:
    """Chosen cells of `Cells`, of `Behaviour` or of any part of them."""
    return jax.tree.map(lambda leaf: leaf[chosen], records)


def check_pair(cells: object, behaviour: object) -> None:
    """Raises FitError unless these are cells and the behaviour in them, in this order."""
    if not isinstance(cells, Cells) or not isinstance(behaviour, Behaviour):
        given = f"{type(cells).__name__} and {type(behaviour).__name__}"
        raise FitError(
            f"cells, behaviour: {given}; expected the two of `summarize`, Cells and Behaviour"
        )


def table(cells: Cells, behaviour: Behaviour) -> pd.DataFrame:
    """Table of cells: what an account sees, and what the transformer did on each split.

    Columns: run, num_tasks, step, loss_K and complexity_K for every strategy K, and for each split
    S: relative_distance_S with its standard error relative_distance_error_S, best_weight_S_K with
    best_weight_error_S_K, best_divergence_S (nats), and best_M_S, the agreement of T with that
    mixture by every measure M of `prediction_measures`.
    """
    columns: dict[str, np.ndarray] = {
        "run": np.array(behaviour.runs)[behaviour.run],
        "num_tasks": np.asarray(cells.num_tasks).astype(int),
        "step": np.asarray(cells.step).astype(int),
    }
    for k, strategy in enumerate(cells.strategies):
        columns[f"loss_{strategy}"] = np.asarray(cells.loss)[:, k]
        columns[f"complexity_{strategy}"] = np.asarray(cells.complexity)[:, k]
    for name, split in behaviour.splits.items():
        columns[f"relative_distance_{name}"] = split.relative_distance
        columns[f"relative_distance_error_{name}"] = split.relative_distance_error
        for k, strategy in enumerate(cells.strategies):
            columns[f"best_weight_{name}_{strategy}"] = split.best_weight[:, k]
            variance = split.best_weight_covariance[:, k, k]
            # rounding may leave a variance of zero just below it
            columns[f"best_weight_error_{name}_{strategy}"] = np.sqrt(np.maximum(variance, 0.0))
        columns[f"best_divergence_{name}"] = split.best_divergence
        for m, measure in enumerate(names_of_measures(cells.setting.outcome)):
            columns[f"best_{measure}_{name}"] = split.best_agreement[:, m]
    return pd.DataFrame(columns)
