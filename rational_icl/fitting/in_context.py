"""The in-context posterior: strategy weights that are updated within a sequence as well.

Training gives a posterior over strategies; a context gives further evidence about which of them
predicts this sequence. With ℓ_kj the loss of strategy k at position j of a sequence,

    log π_k(N, D, t) = log π_k(N, D) − ρ Σ_{j<t} ℓ_kj + const

where ρ, the context rate, is 1 for a Bayesian who takes both levels at their word and 0 for weights
that do not move. Losses are realised ones, of the symbols or values that came: all that a predictor
can know. Weights then differ between sequences and positions, so nothing here can be read off the
sufficient statistics of a cell: it costs a pass over the logged predictions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float, Integer
from numpyro.distributions import biject_to
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl._progress import progress_bar
from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells, select
from rational_icl.fitting.fits import Fit
from rational_icl.logs import Log, Run, open_log
from rational_icl.settings import Means, Outcome, Probabilities
from rational_icl.strategies.predictors import strategy_predictions

ContextLosses = Callable[[Run, str, np.ndarray], np.ndarray]
"""From a run, a split and its strategies' predictions to losses (strategy, sequence, position)."""

_MOST_NUMBERS = 2**24
_STARTING_RATES = (0.01, 0.5)


@dataclass(frozen=True)
class InContextFit:
    """An account fitted together with a context rate.

    Args:
        params: of the account, refitted.
        rate: ρ.
        objective: mean divergence over the fitted ID cells, nats.
        frame: one row per cell: run, num_tasks, step, region, and for each split S the divergence
            of the transformer from the account's mixture, in nats, with weights that do not move
            (static_S, at the parameters of the fit it started from) and with those that do
            (in_context_S).
    """

    params: Mapping[str, float]
    rate: float
    objective: float
    frame: pd.DataFrame


def realised_losses(
    run: Run, split: str, predicted: Float[np.ndarray, "strategy sequence position outcome"]
) -> Float[np.ndarray, "strategy sequence position"]:
    """Realised loss of every strategy, in nats: −log Q_k, or (y − ŷ_k)²/2σ²."""
    return run.setting.outcome.divergence(run.outcomes(split), predicted)


def context_log_weights(
    log_weight: Float[Array, " strategy"],
    loss: Float[Array, "strategy sequence position"],
    rate: float | Float[Array, ""],
) -> Float[Array, "strategy sequence position"]:
    """Log weights log π_k(N, D, t) at every position of sequences, normalised over `strategy`.

    Args:
        log_weight: log π_k(N, D).
        loss: ℓ_kj, nats; what position t sees of it ends before t.
        rate: ρ ≥ 0.
    """
    before = jnp.cumsum(loss, axis=-1) - loss
    return jax.nn.log_softmax(log_weight[:, None, None] - rate * before, axis=0)


def fit_in_context(
    log: Log | str | Path,
    cells: Cells,
    behaviour: Behaviour,
    fit: Fit,
    *,
    losses: ContextLosses = realised_losses,
    progress: bool = True,
) -> InContextFit:
    """Fit of an account together with the context rate, scored beside static weights.

    Minimises the mean divergence over the fitted ID cells, as `ri.fit` does, by L-BFGS from the
    account's fit and two context rates. Sequences are thinned evenly when a log is too large to be
    held in memory.

    Args:
        log: from `open_log`, or the path of a log.
        cells, behaviour: from `summarize`.
        fit: the account, fitted with static weights.
        losses: ℓ; replace it to give the weights other evidence than realised outcomes.
        progress: show a bar.

    Raises:
        FitError: the setting predicts one position a sequence, which no context weight precedes; or
            the fit is of other cells.
    """
    if cells.setting.num_predictions < 2:
        raise FitError(
            f"setting {cells.setting.name!r} predicts one position a sequence, so there are no "
            "earlier losses for an in-context posterior to use"
        )
    regions, log = fit.regions_of(cells), open_log(log)
    splits = tuple(behaviour.splits)
    contexts = {split: _read(log, cells, behaviour, split, losses, progress) for split in splits}
    chosen = np.flatnonzero(regions.fitted)
    names = list(fit.account.priors)
    ends = [_refit(fit, cells, contexts["id"], chosen, rate) for rate in _STARTING_RATES]
    finite = [end for end in ends if np.isfinite([end[0], *end[1]]).all()]
    if not finite:
        raise FitError(f"account {fit.account.name!r}: no in-context fit ended at a finite number")
    values = min(finite, key=lambda end: end[0])[1]
    params, rate = dict(zip(names, values[:-1], strict=True)), values[-1]
    columns: dict[str, np.ndarray] = {
        "run": np.array(behaviour.runs)[behaviour.run],
        "num_tasks": np.asarray(cells.num_tasks).astype(int),
        "step": np.asarray(cells.step).astype(int),
        "region": regions.labels,
    }
    for split, split_contexts in contexts.items():
        for name, values_of, context_rate in (
            ("static", dict(fit.params), 0.0),
            ("in_context", params, rate),
        ):
            columns[f"{name}_{split}"] = _divergences(
                fit.account, values_of, context_rate, cells, split_contexts
            )
    objective = float(columns["in_context_id"][chosen].mean())  # at the parameters that are given
    if not np.isfinite(objective):
        raise FitError(f"account {fit.account.name!r}: in-context divergences are not all numbers")
    return InContextFit(params, rate, objective, pd.DataFrame(columns))


class _Contexts(NamedTuple):
    """Predictions and losses of one split of a log, the same number of sequences for all runs."""

    outcome: Outcome
    observed: Float[np.ndarray, "cell sequence position outcome"]
    predicted: Float[np.ndarray, "run strategy sequence position outcome"]
    loss: Float[np.ndarray, "run strategy sequence position"]
    run: Integer[np.ndarray, " cell"]


def _read(
    log: Log, cells: Cells, behaviour: Behaviour, split: str, losses: ContextLosses, progress: bool
) -> _Contexts:
    runs = list(log.values())
    sequences = min(len(run.inputs(split)) for run in runs)
    numbers_per_sequence = cells.setting.num_predictions * cells.setting.num_outcomes
    keep = max(1, min(sequences, _MOST_NUMBERS // (numbers_per_sequence * len(cells))))
    observed, predicted, loss = [], [], []
    for run in progress_bar(runs, desc=f"contexts, {split}", unit="run", progress=progress):
        by_strategy = strategy_predictions(
            run.setting, run.tasks, run.inputs(split), cells.strategies, run.task_prob
        )
        chosen = np.linspace(0, len(run.inputs(split)) - 1, keep).round().astype(int)
        predicted.append(by_strategy[:, chosen])
        loss.append(losses(run, split, by_strategy)[:, chosen])
        observed += [run.predictions(split, index)[chosen] for index in range(len(run.steps))]
        run.close()
    outcome = cells.setting.outcome
    return _Contexts(
        outcome, np.stack(observed), np.stack(predicted), np.stack(loss), behaviour.run
    )


def _refit(
    fit: Fit, cells: Cells, contexts: _Contexts, chosen: Integer[np.ndarray, " cell"], rate: float
) -> tuple[float, list[float]]:
    """The objective and the natural parameters, the rate last, where one start ends."""
    supports = [biject_to(prior.support) for prior in fit.account.priors.values()]
    names = list(fit.account.priors)
    mask = np.zeros(len(cells), dtype=bool)
    mask[chosen] = True
    fitted_cells = select(cells, mask)
    arrays = _arrays(
        contexts._replace(observed=contexts.observed[chosen], run=contexts.run[chosen])
    )

    def natural(free: Array) -> list[Array]:
        params = [support(value) for support, value in zip(supports, free[:-1], strict=True)]
        return [*params, jnp.exp(free[-1])]

    @eqx.filter_jit
    def value_and_gradient(free: Array, cells: Cells, arrays: tuple[Array, ...]):
        def objective(free):
            *params, rate = natural(free)
            log_weight = fit.account.log_weights(dict(zip(names, params, strict=True)), cells)
            return _cell_divergences(contexts.outcome, log_weight, rate, arrays).mean()

        return jax.value_and_grad(objective)(free)

    def objective_and_gradient(free: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = value_and_gradient(jnp.asarray(free), fitted_cells, arrays)
        return float(value), np.asarray(gradient)

    return _minimise(
        objective_and_gradient, natural, supports, [fit.params[name] for name in names], rate
    )


@in_float64
def _minimise(objective_and_gradient, natural, supports, values: list[float], rate: float):
    inside = [_inside(support, value) for support, value in zip(supports, values, strict=True)]
    start = np.array([*inside, np.log(rate)])
    with threadpool_limits(1, user_api="blas"):
        end = minimize(
            objective_and_gradient, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}
        )
    return float(end.fun), [float(value) for value in natural(jnp.asarray(end.x))]


def _inside(support, value: float) -> float:
    """Unconstrained coordinates of a value, kept off the edge, where they would be infinite."""
    return float(np.clip(np.asarray(support.inv(jnp.asarray(value))), -20.0, 20.0))


@in_float64
def _divergences(
    account: Account, params: Mapping[str, float], rate: float, cells: Cells, contexts: _Contexts
) -> Float[np.ndarray, " cell"]:
    log_weight = account.log_weights({k: jnp.asarray(v) for k, v in params.items()}, cells)
    return np.asarray(
        _jitted_cell_divergences(contexts.outcome, log_weight, jnp.asarray(rate), _arrays(contexts))
    )


def _arrays(contexts: _Contexts) -> tuple[Array, ...]:
    return contexts.observed, contexts.predicted, contexts.loss, contexts.run


def _cell_divergences(
    outcome: Outcome, log_weight: Float[Array, "cell strategy"], rate: Array, arrays: tuple
) -> Float[Array, " cell"]:
    """Mean divergence per prediction of every cell, one cell at a time."""
    observed, predicted, loss, run = arrays

    def cell_divergence(cell):
        cell_log_weight, cell_observed, index = cell
        log_weights = context_log_weights(cell_log_weight, loss[index], rate)
        mixed = jnp.einsum("ksp,kspo->spo", jnp.exp(log_weights), predicted[index])
        return _divergence(outcome, cell_observed, mixed)

    return jax.lax.map(cell_divergence, (log_weight, observed, run))


_jitted_cell_divergences = eqx.filter_jit(_cell_divergences)


@singledispatch
def _divergence(outcome: Outcome, observed: Array, mixed: Array) -> Float[Array, ""]:
    """`outcome.divergence`, differentiable, averaged over predictions."""
    raise NotImplementedError(f"no in-context posterior for {type(outcome).__name__}")


@_divergence.register
def _(outcome: Probabilities, observed: Array, mixed: Array) -> Float[Array, ""]:
    entropy = jax.scipy.special.xlogy(observed, observed)
    return (entropy - jax.scipy.special.xlogy(observed, mixed)).sum(axis=-1).mean()


@_divergence.register
def _(outcome: Means, observed: Array, mixed: Array) -> Float[Array, ""]:
    return ((observed - mixed) ** 2).sum(axis=-1).mean() / (2 * outcome.noise_variance)
