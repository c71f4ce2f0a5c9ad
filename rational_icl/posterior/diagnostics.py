"""Whether chains can be trusted, and how well replicated data look like the observed."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from rational_icl import _arviz
from rational_icl._arviz import InferenceData
from rational_icl._errors import FitError

MOST_RHAT = 1.01
LEAST_ESS = 400
LEAST_BFMI = 0.3
SENSITIVE = 0.05
_EFFECTS = ("effect_run", "effect_num_tasks")


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` finds.

    Args:
        table: one row per parameter: mean, sd, lower and upper (90 %), r_hat, ess_bulk, ess_tail,
            prior_sensitivity and likelihood_sensitivity (power-scaling; above 0.05 is sensitive).
        divergences: number of draws.
        bfmi: energy Bayesian fraction of missing information, the least of all chains.
        problems: what is wrong with the chains, in sentences; none if they converged.
        cautions: what a reader should know though they did.
        covered: share of observed cells within the central 50 % and 90 % of replicated ones.
    """

    table: pd.DataFrame
    divergences: int
    bfmi: float
    problems: tuple[str, ...]
    cautions: tuple[str, ...]
    covered: dict[str, float]

    @property
    def converged(self) -> bool:
        """Whether nothing is wrong with the chains."""
        return not self.problems


def diagnose(idata: InferenceData) -> Diagnosis:
    """Convergence, prior sensitivity and a posterior predictive check.

    Converged means: no divergence, rank-normalized split R-hat of at most 1.01 and an effective
    sample size of at least 400 in bulk and tails for every parameter and effect (Vehtari et al.
    2021, arXiv:1903.08008), and an energy fraction of missing information of at least 0.3 in every
    chain. Sensitivity is to powers of the prior and of the likelihood near 1 (Kallioinen et al.
    2023, arXiv:2107.14054).

    Args:
        idata: from `sample`.

    Raises:
        FitError: it was not made by `sample`, or has fewer than four draws.
    """
    names = _arviz.group_names(idata)
    if not {"posterior", "sample_stats"} <= set(names):
        raise FitError(f"no posterior and sample_stats among {', '.join(names)}; see `sample`")
    posterior = _arviz.group(idata, "posterior")
    if posterior.sizes["draw"] < 4:
        raise FitError(f"{posterior.sizes['draw']} draws; nothing can be told of fewer than four")
    statistics = _arviz.group(idata, "sample_stats")
    every = _by_parameter(posterior)
    table = every[~every.index.str.startswith(_EFFECTS)]
    # what never moves cannot be scaled
    own = [
        name
        for name in posterior
        if not str(name).startswith(_EFFECTS)
        and bool((posterior[name].std(("chain", "draw")) > 0).all())
    ]
    for component in ("prior", "likelihood"):
        scaled = (
            _arviz.power_scaling(idata, component, [str(name) for name in own]) if own else None
        )
        values = pd.Series(dtype=float) if scaled is None else _flat(scaled)
        table = table.assign(**{f"{component}_sensitivity": values.reindex(table.index)})
    divergences = int(statistics["diverging"].sum())
    energy = statistics["energy"].to_numpy()
    bfmi = float(_arviz.bfmi(energy).min()) if energy.std(axis=1).all() else 0.0
    return Diagnosis(
        table=table,
        divergences=divergences,
        bfmi=bfmi,
        problems=_problems(every, divergences, statistics["diverging"].size, bfmi),
        cautions=_cautions(idata, table),
        covered=_covered(idata),
    )


def _by_parameter(posterior: xr.Dataset) -> pd.DataFrame:
    axes = ("chain", "draw")
    columns = {
        "mean": posterior.mean(axes),
        "sd": posterior.std(axes),
        "lower": posterior.quantile(0.05, axes).drop_vars("quantile"),
        "upper": posterior.quantile(0.95, axes).drop_vars("quantile"),
        "r_hat": _arviz.rhat(posterior),
        "ess_bulk": _arviz.ess(posterior, "bulk"),
        "ess_tail": _arviz.ess(posterior, "tail"),
    }
    return pd.DataFrame({name: _flat(values) for name, values in columns.items()})


def _flat(values: xr.Dataset) -> pd.Series:
    """One entry per element, named name or name[coordinate, …]."""
    found = {}
    for name, array in values.data_vars.items():
        if not array.dims:
            found[str(name)] = float(array)
            continue
        for place in np.ndindex(array.shape):
            words = [
                str(array[axis].to_numpy()[i]) if axis in array.coords else str(i)
                for axis, i in zip(array.dims, place, strict=True)
            ]
            found[f"{name}[{', '.join(words)}]"] = float(array.to_numpy()[place])
    return pd.Series(found, dtype=float)


def _problems(every: pd.DataFrame, divergences: int, draws: int, bfmi: float) -> tuple[str, ...]:
    found = []
    if divergences:
        found.append(
            f"{divergences} of {draws} draws diverged: parts of the posterior may be missing; "
            "raise target_accept"
        )
    worst = every["r_hat"].fillna(np.inf)
    if worst.max() > MOST_RHAT:
        found.append(
            f"chains disagree: R-hat is {worst.max():.3f} for {worst.idxmax()} (at most "
            f"{MOST_RHAT} is wanted); draw more, with a longer warm-up"
        )
    for kind in ("bulk", "tail"):
        least = every[f"ess_{kind}"].fillna(0.0)
        if least.min() < LEAST_ESS:
            found.append(
                f"too few independent draws: {kind} effective sample size is {least.min():.0f} for "
                f"{least.idxmin()} (at least {LEAST_ESS} is wanted); draw more"
            )
    if not bfmi >= LEAST_BFMI:
        found.append(
            f"energy fraction of missing information is {bfmi:.2f} (at least {LEAST_BFMI} is "
            "wanted): the chains explore the tails badly"
        )
    return tuple(found)


def _cautions(idata: InferenceData, table: pd.DataFrame) -> tuple[str, ...]:
    found = []
    both = (table["prior_sensitivity"] > SENSITIVE) & (table["likelihood_sensitivity"] > SENSITIVE)
    if both.any():
        found.append(
            f"{', '.join(table.index[both])}: a different strength of the prior would move the "
            "posterior; the prior and the data pull in different directions"
        )
    weak = (table["prior_sensitivity"] > SENSITIVE) & (table["likelihood_sensitivity"] <= SENSITIVE)
    if weak.any():
        found.append(
            f"{', '.join(table.index[weak])}: known from the prior more than from the data"
        )
    constant = _arviz.group(idata, "constant_data")
    series = pd.DataFrame(
        {name: constant[name].to_numpy() for name in ("run", "condition_of_series")}
    ).assign(diversity=constant["diversity_of_series"].to_numpy())
    runs = series.groupby("diversity")["run"].nunique()
    if len(series) == 1:
        found.append("a single run: effects of task diversity and of runs cannot be told apart")
    elif runs.max() == 1:
        found.append(
            "one run per task diversity: what the account gets wrong and how runs scatter cannot "
            "be told apart, so how far another seed would lie is known from the prior only"
        )
    weight = _arviz.group(idata, "observed_data")["weight"].to_numpy()
    ends = (weight.max(axis=1) > 1 - 1e-6).mean()
    if ends > 0.9:
        found.append(
            f"{100 * ends:.0f} % of cells are at a weight of 0 or 1: they say on which side of a "
            "crossover they lie and little else"
        )
    return tuple(found)


def _covered(idata: InferenceData) -> dict[str, float]:
    observed = _arviz.group(idata, "observed_data")["weight"].to_numpy()[:, :-1]
    drawn = _arviz.group(idata, "posterior_predictive")["weight"].to_numpy()[..., :-1]
    drawn = drawn.reshape(-1, *observed.shape)
    used = _arviz.group(idata, "constant_data")["used"].to_numpy()
    found = {}
    for level in (0.5, 0.9):
        low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
        inside = (observed >= low - 1e-6) & (observed <= high + 1e-6)
        found[f"{100 * level:.0f}"] = float(inside[used].mean())
    return found
