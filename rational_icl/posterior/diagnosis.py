"""Diagnosis of posteriors: whether chains can be trusted, and replicated data look right."""

import json
from collections.abc import Collection, Hashable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import xarray as xr

from rational_icl import _arviz
from rational_icl._arviz import InferenceData
from rational_icl._errors import FitError
from rational_icl._shown import Shown
from rational_icl.posterior.base import Posterior, PosteriorLike
from rational_icl.posterior.convergence import (
    LEAST_ESS,
    MOST_DIVERGENT,
    MOST_RHAT,
    TARGETS,
    Attempt,
    advise,
    as_words,
    by_element,
    former_attempts,
    last_attempt,
    mixing,
)
from rational_icl.posterior.scores import LEVELS, scores_of

LEAST_BFMI = 0.3
SENSITIVE = 0.05
_EFFECTS = ("effect_run", "effect_num_tasks")


@dataclass(frozen=True, repr=False)
class Diagnosis(Shown):
    """Diagnosis of a posterior, from `diagnose`.

    Args:
        table: one row per parameter: mean, sd, lower and upper (90 %), r_hat, ess_bulk, ess_tail,
            prior_sensitivity and likelihood_sensitivity (power-scaling; above 0.05 is sensitive).
        divergences: number of draws.
        bfmi: energy Bayesian fraction of missing information, the least of all chains.
        attempts: one row per acceptance that chains were warmed up for, the last that of these
            draws: target_accept, num_warmup, num_draws (of each chain), divergences,
            share_divergent, least_ess and largest_r_hat (of parameters, effects and the energy).
        problems: what is wrong with the chains, in sentences; none if they converged.
        advice: options of `sample` to try then, in words; empty if they did.
        cautions: what a reader should know though they did.
        covered: share of observed cells within the central 50 % and 90 % of replicated ones.
    """

    table: pd.DataFrame
    divergences: int
    bfmi: float
    attempts: pd.DataFrame
    problems: tuple[str, ...]
    advice: str
    cautions: tuple[str, ...]
    covered: dict[str, float]

    def __repr__(self) -> str:
        state = "converged" if self.converged else f"not converged, {'; '.join(self.problems)}"
        return f"Diagnosis({len(self.table)} parameters: {state})"

    @property
    def converged(self) -> bool:
        """Whether the chains can be trusted."""
        return not self.problems

    def summary(self) -> pd.DataFrame:
        """`shown`."""
        return self.shown

    @property
    def shown(self) -> pd.DataFrame:
        """Table to print: without numbers of a posterior from chains that have not converged.

        Their R-hat and effective sample sizes stay.
        """
        return withheld(self.table, self.converged, columns=("r_hat", "ess_bulk", "ess_tail"))


def withheld(table: pd.DataFrame, converged: bool, columns: Collection[Hashable]) -> pd.DataFrame:
    """Table with a column `converged`; where that is False, only some columns keep numbers."""
    if not converged:
        table = table.assign(**{str(name): np.nan for name in table if name not in columns})
    return table.assign(converged=converged)


def diagnose(posterior: PosteriorLike) -> Diagnosis:
    """Diagnosis of a posterior: convergence, prior sensitivity and a predictive check.

    Converged means: rank-normalized split R-hat of at most 1.01 and an effective sample size of at
    least 400 in bulk and tails for every parameter and effect (Vehtari et al. 2021,
    arXiv:1903.08008) and for the energy, which `sample` goes on for; and no divergence, or in at
    most 0.1 % of draws at a target acceptance of 0.999. Sensitivity is to powers of the prior and
    of the likelihood near 1 (Kallioinen et al. 2023, arXiv:2107.14054).

    Args:
        posterior: from `sample`.

    Raises:
        FitError: it was not made by `sample`, or has fewer than four draws.
    """
    idata = Posterior.of(posterior).idata
    names = _arviz.group_names(idata)
    if not {"posterior", "sample_stats"} <= set(names):
        raise FitError(f"no posterior and sample_stats among {', '.join(names)}; see `sample`")
    draws = _arviz.group(idata, "posterior")
    if draws.sizes["draw"] < 4:
        raise FitError(f"{draws.sizes['draw']} draws; nothing can be told of fewer than four")
    statistics = _arviz.group(idata, "sample_stats")
    mixed = mixing(idata)
    elements = _by_parameter(draws).join(mixed)
    table = elements[~elements.index.str.startswith(_EFFECTS)]
    # what never moves cannot be scaled
    varying = [
        name
        for name in draws
        if not str(name).startswith(_EFFECTS)
        and bool((draws[name].std(("chain", "draw")) > 0).all())
    ]
    for component in ("prior", "likelihood"):
        scaled = (
            _arviz.power_scaling(idata, component, [str(name) for name in varying])
            if varying
            else None
        )
        values = pd.Series(dtype=float) if scaled is None else by_element(scaled)
        table = table.assign(**{f"{component}_sensitivity": values.reindex(table.index)})
    energy = statistics["energy"].to_numpy()
    bfmi = float(_arviz.bfmi(energy).min()) if energy.std(axis=1).all() else 0.0
    attempt = last_attempt(idata, mixed)
    advice = advise(attempt, json.loads(idata.attrs.get("options", "{}")))
    return Diagnosis(
        table=table,
        divergences=attempt.divergences,
        bfmi=bfmi,
        attempts=pd.DataFrame([asdict(row) for row in (*former_attempts(idata), attempt)]),
        problems=_problems(mixed, attempt, statistics["diverging"].size),
        advice=as_words(advice) if advice else "",
        cautions=_cautions(idata, table, attempt, bfmi),
        covered=_covered(idata),
    )


def _by_parameter(posterior: xr.Dataset) -> pd.DataFrame:
    axes = ("chain", "draw")
    columns = {
        "mean": posterior.mean(axes),
        "sd": posterior.std(axes),
        "lower": posterior.quantile(0.05, axes).drop_vars("quantile"),
        "upper": posterior.quantile(0.95, axes).drop_vars("quantile"),
    }
    return pd.DataFrame({name: by_element(values) for name, values in columns.items()})


def _problems(mixed: pd.DataFrame, attempt: Attempt, num_draws: int) -> tuple[str, ...]:
    problems = []
    if attempt.too_divergent:
        problems.append(
            f"{attempt.divergences} of {num_draws} draws diverged: parts of the posterior may be "
            "missing"
        )
    if not mixed["r_hat"].max() <= MOST_RHAT:
        problems.append(
            f"chains disagree: R-hat is {mixed['r_hat'].max():.3f} for {mixed['r_hat'].idxmax()} "
            f"(at most {MOST_RHAT} is wanted)"
        )
    for kind in ("bulk", "tail"):
        ess = mixed[f"ess_{kind}"]
        if not ess.min() >= LEAST_ESS:
            problems.append(
                f"too few independent draws: {kind} effective sample size is {ess.min():.0f} for "
                f"{ess.idxmin()} (at least {LEAST_ESS} is wanted)"
            )
    return tuple(problems)


def _cautions(
    idata: InferenceData, table: pd.DataFrame, attempt: Attempt, bfmi: float
) -> tuple[str, ...]:
    cautions = []
    if attempt.divergences and not attempt.too_divergent:
        cautions.append(
            f"{attempt.divergences} draws diverged ({100 * attempt.share_divergent:.2g} %; at most "
            f"{100 * MOST_DIVERGENT:g} % may, at a target acceptance of {TARGETS[-1]:g} or more)"
        )
    if not bfmi >= LEAST_BFMI:
        cautions.append(
            f"energy fraction of missing information is {bfmi:.2f} (at least {LEAST_BFMI} is "
            "usual): the chains explore energies slowly, so that many draws count as few"
        )
    both = (table["prior_sensitivity"] > SENSITIVE) & (table["likelihood_sensitivity"] > SENSITIVE)
    if both.any():
        cautions.append(
            f"{', '.join(table.index[both])}: a different strength of the prior would move the "
            "posterior; the prior and the data pull in different directions"
        )
    weak = (table["prior_sensitivity"] > SENSITIVE) & (table["likelihood_sensitivity"] <= SENSITIVE)
    if weak.any():
        cautions.append(
            f"{', '.join(table.index[weak])}: known from the prior more than from the data"
        )
    constant = _arviz.group(idata, "constant_data")
    series = pd.DataFrame(
        {name: constant[name].to_numpy() for name in ("run", "condition_of_series")}
    ).assign(diversity=constant["diversity_of_series"].to_numpy())
    runs = series.groupby("diversity")["run"].nunique()
    if len(series) == 1:
        cautions.append("a single run: effects of task diversity and of runs cannot be told apart")
    elif runs.max() == 1:
        cautions.append(
            "one run per task diversity: what the account gets wrong and how runs scatter cannot "
            "be told apart, so how far another seed would lie is known from the prior only"
        )
    weight = _arviz.group(idata, "observed_data")["weight"].to_numpy()
    ends = (weight.max(axis=1) > 1 - 1e-6).mean()
    if ends > 0.9:
        cautions.append(
            f"{100 * ends:.0f} % of cells are at a weight of 0 or 1: they say on which side of a "
            "crossover they lie and little else"
        )
    return tuple(cautions)


def _covered(idata: InferenceData) -> dict[str, float]:
    """Share of fitted weights inside their central intervals, by level in %."""
    observed = _arviz.group(idata, "observed_data")["weight"].to_numpy()
    drawn = _arviz.group(idata, "posterior_predictive")["weight"].to_numpy()
    drawn = drawn.reshape(-1, *observed.shape)
    used = _arviz.group(idata, "constant_data")["used"].to_numpy()
    names = [f"{100 * level:.0f}" for level in LEVELS]
    places = range(observed.shape[1] - 1)
    scores = pd.concat([scores_of(drawn[:, used, k], observed[used, k]) for k in places])
    return {name: float(scores[f"covered_{name}"].mean()) for name in names}
