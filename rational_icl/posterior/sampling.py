"""Sampling the posterior of an account, by NumPyro's NUTS, into ArviZ groups."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import jax
import numpy as np
import pandas as pd

from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl.accounts import Account, make
from rational_icl.cells.records import Behaviour, Cells, check_pair
from rational_icl.fitting.holdout import Regions, partition_cells
from rational_icl.posterior.adaptation import Plan, draw, with_attempts
from rational_icl.posterior.base import Posterior, PosteriorLike
from rational_icl.posterior.convergence import former_attempts, last_attempt, mixing
from rational_icl.posterior.files import last_state
from rational_icl.posterior.idata import appended
from rational_icl.posterior.noise import Observation, StudentResiduals
from rational_icl.posterior.nuts import chains, check_number
from rational_icl.posterior.specification import Specification, specify


@in_float64
def sample(
    account: str | Account,
    cells: Cells,
    behaviour: Behaviour,
    *,
    regions: Regions | None = None,
    splits: Sequence[str] = ("id",),
    observation: Observation | None = None,
    num_chains: int = Plan.num_chains,
    num_warmup: int = Plan.num_warmup,
    num_draws: int = Plan.num_draws,
    max_draws: int = Plan.max_draws,
    target_accept: float = Plan.target_accept,
    adapt: bool = Plan.adapt,
    seed: int = 0,
    progress: bool = True,
) -> Posterior:
    """Posterior of an account's parameters given the best mixture of every cell.

    Each cell's best-mixture weights, in coordinates without bounds (`posterior.coordinates`),
    scatter about the account's, moved by an effect of task diversity and one of the run, with
    heavy-tailed, autocorrelated residuals and measurement error (`StudentResiduals`, and `Model`
    for the effects). Time and memory grow with the number of cells, never with that of sequences.

    Args:
        account: a theory, such as `accounts.Rational()`, or its name.
        cells, behaviour: from `summarize`.
        regions: whose `fitted` cells are conditioned on; `partition_cells(cells, behaviour)` if
            None.
        splits: evaluations to condition on: `id`, or `id` and `ood`.
        observation: the noise; `StudentResiduals()` if None.
        num_chains, num_warmup, num_draws: chains, and iterations of each; multiples of 25.
        max_draws: as many draws again are added until effective sample sizes and R-hat pass (see
            `diagnose`), or a chain has so many.
        target_accept: of NUTS; nearer to 1 takes smaller steps. After divergences chains are warmed
            up again, where they stand, for 0.995 and then 0.999, and only later draws are kept.
        adapt: False draws num_draws at target_accept, whatever becomes of them.
        seed: equal seeds give equal draws on one machine.
        progress: show bars, and log how every attempt fared (logger `rational_icl`, level info).

    Returns:
        Draws, whose ArviZ groups (`.idata`) are posterior (the account's parameters, those of the
        noise, effect_run and effect_num_tasks in log-odds), prior, posterior_predictive and
        observed_data (weight: cell, strategy), log_likelihood (per_cell, and per_run given the
        run's effect), log_prior, sample_stats, constant_data and sampler_state (to go on from).
        Attributes state versions, options, how every attempt fared (attempts; `diagnose` shows
        them), and a SHA-256 of the data.

    Raises:
        FitError: no cells, cells that are infinitely far from every mixture, unknown measurement
            error, bad options, or a prior that fits no cell.
    """
    check_pair(cells, behaviour)
    chosen = regions or partition_cells(cells, behaviour)
    specification = specify(
        make(account, cells.strategies),
        {"": (cells, behaviour, chosen)},
        splits,
        observation or StudentResiduals(),
        "complete",
        pd.DataFrame(index=[""]),
    )
    plan = Plan(num_chains, num_warmup, num_draws, max_draws, target_accept, adapt)
    return _drawn(specification, plan, seed, progress)


@in_float64
def sample_conditions(
    account: str | Account,
    conditions: Mapping[str, tuple[Cells, Behaviour]],
    *,
    pooling: str = "partial",
    covariates: pd.DataFrame | None = None,
    regions: Mapping[str, Regions] | None = None,
    splits: Sequence[str] = ("id",),
    observation: Observation | None = None,
    num_chains: int = Plan.num_chains,
    num_warmup: int = Plan.num_warmup,
    num_draws: int = Plan.num_draws,
    max_draws: int = Plan.max_draws,
    target_accept: float = Plan.target_accept,
    adapt: bool = Plan.adapt,
    seed: int = 0,
    progress: bool = True,
) -> Posterior:
    """Posterior of several conditions (width, context length, setting, …) at once.

    Args:
        account: one theory for all, or its name.
        conditions: cells and behaviour of each, by name, all of the same strategies.
        pooling: `partial`, where the account's parameters scatter around a common mean over
            conditions, and those of the noise are free; `none`, where each is by itself; or
            `complete`, where all are the same.
        covariates: one row per condition and a column each, such as log width; standardized here.
            They shift every parameter of the account on its scale without bounds. Only with
            `partial`.
        regions: by condition; `partition_cells` if None.
        splits, observation, num_chains, num_warmup, num_draws, max_draws, target_accept, adapt,
            seed, progress: see `sample`.

    Returns:
        As `sample`, with an axis `condition`. With partial pooling also NAME_mean, NAME_sd and
        NAME_slope of every sampled parameter of the account; evidence stands for γ there
        (`Account.pivoted`).

    Raises:
        FitError: as `sample`; fewer than two conditions, differing strategies, or covariates that
            do not fit the conditions.
    """
    if len(conditions) < 2:
        raise FitError(f"conditions: {', '.join(conditions)}; expected two or more; see `sample`")
    given = regions or {}
    triples = {
        name: (cells, behaviour, given.get(name) or partition_cells(cells, behaviour))
        for name, (cells, behaviour) in conditions.items()
    }
    table = _standardized(covariates, list(conditions), pooling)
    noise = observation or StudentResiduals()
    family = next(iter(conditions.values()))[0].strategies
    specification = specify(make(account, family), triples, splits, noise, pooling, table)
    plan = Plan(num_chains, num_warmup, num_draws, max_draws, target_accept, adapt)
    return _drawn(specification, plan, seed, progress)


@in_float64
def continue_sampling(
    posterior: PosteriorLike,
    num_draws: int,
    *,
    progress: bool = True,
) -> Posterior:
    """Posterior with more draws, from where its chains stand: the same as if drawn at once.

    Args:
        posterior: from `sample` or `load_posterior`; left as it is.
        num_draws: further draws per chain.
        progress: show a bar.

    Raises:
        FitError: it does not say where its chains stand.
    """
    check_number("num_draws", num_draws)
    given = Posterior.of(posterior)
    specification, idata = given.specification, given.idata
    options = json.loads(idata.attrs["options"])
    runner = chains(specification.model, options["num_warmup"], True)
    keys = jax.random.split(jax.random.key(options["seed"]), options["num_chains"])
    state = last_state(idata, runner.start(keys, specification.data))
    drawn = runner.draw(state, specification.data, num_draws, "sampling" if progress else None)
    longer = appended(idata, specification, drawn)
    table = mixing(longer)
    with_attempts(longer, [*former_attempts(longer), last_attempt(longer, table)])
    return Posterior(longer, account=given.account, observation=given.observation)


def _drawn(specification: Specification, plan: Plan, seed: int, progress: bool) -> Posterior:
    attrs = _provenance(specification, {**plan.options, "seed": seed})
    idata = draw(specification, plan, seed, attrs, progress)
    return Posterior(idata, account=specification.account, observation=specification.observation)


def _provenance(specification: Specification, options: Mapping[str, Any]) -> dict[str, str]:
    packages = ("rational_icl", "jax", "numpyro", "arviz", "numpy", "xarray")
    return {
        "inference_library": "numpyro",
        "versions": json.dumps({name: version(name) for name in packages}),
        "options": json.dumps(dict(options)),
        "data_sha256": specification.checksum,
    }


def _standardized(
    covariates: pd.DataFrame | None, conditions: list[str], pooling: str
) -> pd.DataFrame:
    if covariates is None:
        return pd.DataFrame(index=conditions)
    if pooling != "partial":
        raise FitError(f"covariates: given with pooling {pooling!r}; they need 'partial'")
    if set(covariates.index) != set(conditions):
        raise FitError(
            f"covariates: rows {', '.join(map(str, covariates.index))}; expected the conditions "
            f"{', '.join(conditions)}"
        )
    table = covariates.loc[conditions].astype(np.float64)
    spread = table.std(ddof=0)
    if not np.isfinite(table.to_numpy()).all() or not (spread > 0).all():
        raise FitError("covariates: expected finite numbers that differ between conditions")
    return (table - table.mean()) / spread
