"""Paired differences between accounts over task diversities: intervals, exact tests, verdicts.

The unit is a task diversity D, because its runs err alike. x_(a,u) is the excess divergence of
account a at unit u, nats above the best mixtures, averaged over the scored cells of that D, and
g = mean_u x_(0,u) that of constant weights: the gap. With Δ_u = (x_(a,u) − x_(b,u)) / g,

    mean Δ ± t_(U−1) s_Δ √(1/U),   90 %

is the interval that verdicts use: that of units which are off independently of each other, which
the sign-flip test assumes too. Refits of overlapping data are not quite independent, so the
interval with √(1/U + 1/(U − 1)) in place of √(1/U) (Nadeau & Bengio 2003,
doi:10.1023/A:1024068626366, one unit tested for U − 1 fitted) is given beside it; it allows for
learners that each refit changes much, where accounts have a few parameters that one task diversity
hardly moves. p is that of the exact sign-flip test of mean Δ = 0, adjusted by Holm over the
accounts that are set against the same reference. That the reference is the best of them on the same
data none of these corrects for. Below five units no interval, no p and no verdict is given.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import t as student

LEVEL = 0.9
LEAST_UNITS = 5
EQUIVALENT = 0.01
"""Share of the gap below which a difference does not matter."""
LEAST_GAP = 1e-6
"""Nats: the accuracy of the statistics."""
BETTER, WORSE, SAME, OPEN = "better", "worse", "equivalent", "undecided"
NO_VERDICT = "no verdict"
_MOST_EXACT = 16
_COLUMNS = (
    *("account", "reference", "difference", "lower", "upper", "lower_inflated", "upper_inflated"),
    *("units", "worse_at", "p", "verdict"),
)
_ROUNDING = 1e-12


def no_verdict(gap: float, units: int) -> str:
    """Reason why there can be no verdict; empty if there can."""
    if not gap > LEAST_GAP:
        return (
            "constant weights are as near to the transformers as the best mixtures, which leaves "
            "no gap to close"
        )
    if units < LEAST_UNITS:
        return f"{units} scored task diversities; a verdict needs {LEAST_UNITS}"
    return ""


def contrasts(
    excess: pd.DataFrame, reference: str, accounts: Sequence[str], gap: float
) -> pd.DataFrame:
    """Differences of accounts from a reference, paired over units.

    Args:
        excess: x, nats: a row for every unit, a column for every account.
        reference: the account that is subtracted.
        accounts: the others.
        gap: g, nats.

    Returns:
        A row for every account: account, reference, difference (mean Δ; positive is worse), lower
        and upper, lower_inflated and upper_inflated (for overlapping refits), units, worse_at (the
        number of units with Δ > 0), p, p_holm, and verdict: `worse` or
        `better` where the interval excludes 0 and |mean Δ| > .01; `equivalent` where it lies within
        ±.01; `undecided` otherwise; `no verdict` where `no_verdict` says why.
    """
    units = len(excess)
    silent = bool(no_verdict(gap, units))
    rows = []
    for name in accounts:
        nats = excess[name].to_numpy() - excess[reference].to_numpy()
        delta = nats / gap if gap > LEAST_GAP else np.full(units, np.nan)
        mean = float(delta.mean())
        half = np.nan if silent else half_width(delta)
        wide = half * np.sqrt(1 + units / max(units - 1, 1))
        rows.append(
            {
                "account": name,
                "reference": reference,
                "difference": mean,
                "lower": mean - half,
                "upper": mean + half,
                "lower_inflated": mean - wide,
                "upper_inflated": mean + wide,
                "units": units,
                "worse_at": int((nats > 0).sum()),
                "p": np.nan if silent else sign_flip(delta),
                "verdict": NO_VERDICT if silent else _word(mean, half),
            }
        )
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    table.insert(len(_COLUMNS) - 1, "p_holm", holm(table["p"].to_numpy(dtype=float)))
    return table


def share_left(
    excess: Float[np.ndarray, " unit"], floor: Float[np.ndarray, " unit"]
) -> tuple[float, float, float]:
    """Share of the gap that an account leaves, E = Σ x_a / Σ x_0, with its 90 % interval.

    The interval is one of ln E, by the delta method of a ratio of means; NaN where `no_verdict`
    says why, or where nothing is left.
    """
    gap = float(floor.mean())
    if not gap > LEAST_GAP:
        return np.nan, np.nan, np.nan
    share = float(excess.mean()) / gap
    if no_verdict(gap, len(excess)) or not share > 0:
        return share, np.nan, np.nan
    half = half_width(excess / excess.mean() - floor / gap)
    return share, share * float(np.exp(-half)), share * float(np.exp(half))


def half_width(values: Float[np.ndarray, " unit"]) -> float:
    """Half width of the 90 % interval of a mean over units."""
    units = len(values)
    quantile = float(student(units - 1).ppf((1 + LEVEL) / 2))
    return quantile * float(values.std(ddof=1)) / np.sqrt(units)


def sign_flip(delta: Float[np.ndarray, " unit"], seed: int = 0, flips: int = 2**16) -> float:
    """Sign-flip test: two-sided p of mean Δ = 0 if the signs of differences were a coin's.

    All 2^U signs up to U = 16, the identity and seeded random ones beyond.
    """
    units = len(delta)
    if units <= _MOST_EXACT:
        # the first sign is free to choose: both give the same distance from 0
        number = np.arange(2 ** (units - 1))
        bits = (number[:, None] >> np.arange(units)) & 1
    else:
        bits = np.random.default_rng(seed).integers(0, 2, (flips, units))
        bits[0] = 0
    distance = np.abs((1 - 2 * bits) @ delta)
    least = np.abs(delta.sum()) - _ROUNDING * np.abs(delta).sum()
    return float((distance >= least).mean())


def holm(p: Float[np.ndarray, " account"]) -> Float[np.ndarray, " account"]:
    """Holm-adjusted p: max over smaller p_(i) of (m − i + 1) p_(i) (Holm 1979)."""
    order = np.argsort(p)
    grown = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(grown, 1.0)
    return adjusted


def _word(mean: float, half: float) -> str:
    if abs(mean) > half and abs(mean) > EQUIVALENT:
        return WORSE if mean > 0 else BETTER
    return SAME if abs(mean) + half <= EQUIVALENT else OPEN
