"""Convergence of chains: thresholds, what they are held against, and what to try otherwise.

Sampling goes on until these hold and `diagnose` judges by them, so that neither can disagree.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from rational_icl import _arviz
from rational_icl._arviz import InferenceData

MOST_RHAT = 1.01
LEAST_ESS = 400
TARGETS = (0.99, 0.995, 0.999)
"""Acceptance to aim at: at first, and after divergences."""
MOST_DIVERGENT = 0.001
"""Share of draws that may diverge where the last of `TARGETS` was aimed at."""
_FAR_APART = 1.05
"""R-hat above which further draws alone are unlikely to help."""


@dataclass(frozen=True)
class Attempt:
    """Attempt at a posterior: chains warmed up for one acceptance, and how well they mixed.

    Args:
        target_accept: aimed at.
        num_warmup: iterations of each chain up to now that are not kept.
        num_draws: of each chain.
        divergences: number of draws of all chains.
        share_divergent: of those draws.
        least_ess: the smallest effective sample size, in bulk or tails, of parameters, effects and
            the energy.
        largest_r_hat: rank-normalized split R-hat, likewise.
    """

    target_accept: float
    num_warmup: int
    num_draws: int
    divergences: int
    share_divergent: float
    least_ess: float
    largest_r_hat: float

    @property
    def mixed(self) -> bool:
        """Whether there are enough independent draws, and chains agree."""
        return self.least_ess >= LEAST_ESS and self.largest_r_hat <= MOST_RHAT

    @property
    def too_divergent(self) -> bool:
        """Whether divergences say that parts of the posterior may be missing."""
        allowed = MOST_DIVERGENT if self.target_accept >= TARGETS[-1] else 0.0
        return self.share_divergent > allowed

    @property
    def converged(self) -> bool:
        """Whether intervals of these draws can be trusted."""
        return self.mixed and not self.too_divergent

    def __str__(self) -> str:
        return (
            f"target acceptance {self.target_accept:g}: {self.num_draws} draws a chain after "
            f"{self.num_warmup} of warming up, {self.divergences} diverged, effective sample size "
            f"at least {self.least_ess:.0f}, R-hat at most {self.largest_r_hat:.3f}"
        )


def flag(option: str) -> str:
    """Name on the command line of an option of `sample`."""
    return "--" + option.removeprefix("num_").replace("_", "-")


def advise(attempt: Attempt, options: Mapping[str, Any]) -> dict[str, bool | int | float]:
    """Options of `sample` to try where chains cannot be trusted; none where they can.

    Args:
        attempt: the last.
        options: what was sampled with, as the posterior's attribute says.
    """
    if attempt.converged:
        return {}
    if not options.get("adapt"):
        return {"adapt": True}
    changed: dict[str, bool | int | float] = {}
    if not attempt.mixed:
        more = max(2.0, min(8.0, 1.2 * LEAST_ESS / (attempt.least_ess + 1)))
        wanted = more * max(attempt.num_draws, options["max_draws"])
        changed["max_draws"] = int(1000 * np.ceil(wanted / 1000))
    if attempt.too_divergent:
        changed["target_accept"] = round(1 - (1 - attempt.target_accept) / 10, 6)
    if attempt.too_divergent or attempt.largest_r_hat > _FAR_APART:
        changed["num_warmup"] = 2 * options["num_warmup"]
    return changed


def as_words(advice: Mapping[str, bool | int | float]) -> str:
    """Options in words, as they are typed on the command line and in Python."""
    typed = [flag(name) + ("" if value is True else f" {value}") for name, value in advice.items()]
    called = [f"{name}={value}" for name, value in advice.items()]
    return f"{' '.join(typed)} (in Python {', '.join(called)})"


def former_attempts(idata: InferenceData) -> list[Attempt]:
    """Attempts before the last, as a posterior's attributes tell; empty if they do not."""
    return [Attempt(**entry) for entry in json.loads(idata.attrs.get("attempts", "[]"))[:-1]]


def last_attempt(idata: InferenceData, table: pd.DataFrame) -> Attempt:
    """Last attempt at a posterior, judged anew by all draws. `table`: from `mixing`."""
    options = json.loads(idata.attrs.get("options", "{}"))
    logged = json.loads(idata.attrs.get("attempts", "[]"))[-1:]
    record = logged[0] if logged else options
    return judge(idata, table, record.get("target_accept", 0.0), record.get("num_warmup", 0))


def mixing(idata: InferenceData) -> pd.DataFrame:
    """Mixing of chains: r_hat, ess_bulk and ess_tail by parameter and effect, and of the energy.

    What never moves has an infinite R-hat and no effective draw. Chains that explore energies
    slowly, whose energy fraction of missing information is small, have few effective draws of it.
    """
    energy = _arviz.group(idata, "sample_stats")["energy"]
    draws = _arviz.group(idata, "posterior").assign(energy=energy)
    with np.errstate(divide="ignore", invalid="ignore"):  # of what never moves
        measures = {
            "r_hat": _arviz.rhat(draws),
            "ess_bulk": _arviz.ess(draws, "bulk"),
            "ess_tail": _arviz.ess(draws, "tail"),
        }
    table = pd.DataFrame({name: by_element(values) for name, values in measures.items()})
    return table.fillna({"r_hat": np.inf, "ess_bulk": 0.0, "ess_tail": 0.0})


def by_element(values: xr.Dataset) -> pd.Series:
    """Numbers by element of each variable, named name or name[coordinate, …]."""
    entries = {}
    for name, array in values.data_vars.items():
        if not array.dims:
            entries[str(name)] = float(array)
            continue
        labels = [
            array[axis].to_numpy() if axis in array.coords else np.arange(array.sizes[axis])
            for axis in array.dims
        ]
        numbers = array.to_numpy()
        for place in np.ndindex(array.shape):
            words = [str(label[i]) for label, i in zip(labels, place, strict=True)]
            entries[f"{name}[{', '.join(words)}]"] = float(numbers[place])
    return pd.Series(entries, dtype=float)


def judge(idata: InferenceData, table: pd.DataFrame, target: float, num_warmup: int) -> Attempt:
    """Attempt at a posterior, judged by its draws. `table`: from `mixing`."""
    diverging = _arviz.group(idata, "sample_stats")["diverging"]
    # rounded, so that draws made in pieces are told as those made at once
    return Attempt(
        target_accept=target,
        num_warmup=num_warmup,
        num_draws=diverging.sizes["draw"],
        divergences=int(diverging.sum()),
        share_divergent=float(diverging.mean()),
        least_ess=round(float(table[["ess_bulk", "ess_tail"]].to_numpy().min()), 1),
        largest_r_hat=round(float(table["r_hat"].to_numpy().max()), 4),
    )
