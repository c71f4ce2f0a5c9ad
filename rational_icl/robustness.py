"""Robustness of conclusions: the same log under other assumptions."""

from collections.abc import Callable

import equinox as eqx
import numpy as np
import pandas as pd

from rational_icl import _arviz, accounts
from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.fitting.fits import fit
from rational_icl.fitting.holdout import Regions, partition_cells
from rational_icl.posterior.base import Posterior
from rational_icl.posterior.convergence import last_attempt, mixing
from rational_icl.posterior.sampling import sample
from rational_icl.prediction.crossovers import crossovers, predict_crossovers

Variant = Callable[[], tuple[Cells, Regions]]


def variants(cells: Cells, regions: Regions) -> dict[str, Variant]:
    """Cells and regions under each assumption, made when asked for.

    As declared; program bits × ½ and × 2; task tables in single precision; N counted in sequences
    instead of steps; early cells included.

    Args:
        cells: from `summarize`.
        regions: as declared.
    """
    with_early = Regions(
        regions.fitted | _early(cells, regions), regions.held_out, np.zeros_like(regions.fitted)
    )
    return {
        "as declared": lambda: (cells, regions),
        "program bits × ½": lambda: (_with_program_bits(cells, 0.5), regions),
        "program bits × 2": lambda: (_with_program_bits(cells, 2.0), regions),
        "single-precision tables": lambda: (_single_precision(cells), regions),
        "N in sequences": lambda: (_in_sequences(cells), regions),
        "early cells included": lambda: (cells, with_early),
    }


def fit_variants(
    account: Account,
    cells: Cells,
    behaviour: Behaviour,
    regions: Regions,
    *,
    num_starts: int = 4,
    seed: int = 0,
) -> pd.DataFrame:
    """Point fits under every assumption that this log allows.

    Args:
        account, cells, behaviour, regions: as `variants` and `fit` take them.
        num_starts, seed: see `fit`.

    Returns:
        One row per variant: the parameters, objective (nats), and crossover_D, the predicted N* at
        each task diversity of the log, in steps whatever N was counted in.
    """
    rows = []
    diversities = np.unique(np.asarray(cells.num_tasks)).astype(int)
    per_step = float(np.asarray(cells.batch_size)[0])
    for name, make in variants(cells, regions).items():
        try:
            changed, chosen = make()
        except FitError:  # complexities of the log's own have no program bits to change
            continue
        fitted = fit(account, changed, behaviour, regions=chosen, num_starts=num_starts, seed=seed)
        steps = crossovers(fitted, diversities)["predicted"].to_numpy()
        unit = per_step if name == "N in sequences" else 1.0
        row = {"variant": name, **fitted.params, "objective": fitted.objective}
        rows.append(
            row | {f"crossover_{d}": s / unit for d, s in zip(diversities, steps, strict=True)}
        )
    return pd.DataFrame(rows)


def sensitivity(
    account: str | Account,
    cells: Cells,
    behaviour: Behaviour,
    *,
    num_chains: int = 4,
    num_warmup: int = 500,
    num_draws: int = 500,
    adapt: bool = True,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Sensitivity of a posterior to other assumptions, under each of which it is sampled again.

    Variants: as declared; program bits × ½ and × 2; task tables in single precision; N counted in
    sequences instead of steps; early cells included; ID and OOD evaluation together.

    Args:
        account, cells, behaviour, num_chains, num_warmup, num_draws, adapt, seed, progress: see
            `sample`.

    Returns:
        One row per variant and quantity: each parameter of the account; crossover_D, the step N* of
        the account at every task diversity of the log where it lies before step 10⁹; and slope, of
        ln N* on ln D. Columns variant, quantity, mean (median for crossovers), lower, upper (90 %),
        and converged, whether the intervals hold (as `diagnose` judges).

    Raises:
        FitError: see `sample`; runs that bring complexities of their own have no program
            bits to change.
    """
    account = accounts.make(account, cells.strategies)
    regions = partition_cells(cells, behaviour)
    options = {
        "num_chains": num_chains,
        "num_warmup": num_warmup,
        "num_draws": num_draws,
        "adapt": adapt,
        "seed": seed,
        "progress": progress,
    }
    assumptions = variants(cells, regions)
    assumptions["ID and OOD"] = lambda: (cells, regions)
    frames = []
    for name, make in assumptions.items():
        changed, chosen = make()
        splits = ("id", "ood") if name == "ID and OOD" else ("id",)
        drawn = sample(account, changed, behaviour, regions=chosen, splits=splits, **options)
        frames.append(_summary(drawn, account, cells).assign(variant=name))
    columns = ["variant", "quantity", "mean", "lower", "upper", "converged"]
    return pd.concat(frames, ignore_index=True)[columns]


def _summary(drawn: Posterior, account: Account, cells: Cells) -> pd.DataFrame:
    posterior = _arviz.group(drawn.idata, "posterior")
    converged = last_attempt(drawn.idata, mixing(drawn.idata)).converged
    rows = []
    for name in account.priors:
        value = posterior[name].to_numpy()
        rows.append((name, value.mean(), *np.quantile(value, [0.05, 0.95])))
    crossing = predict_crossovers(drawn, np.unique(np.asarray(cells.num_tasks)), of="account")
    for diversity in crossing["num_tasks"].to_numpy():
        at = crossing.sel(num_tasks=diversity)
        values = [float(at[kind]) for kind in ("median", "lower", "upper")]
        rows.append((f"crossover_{diversity}", *(x if np.isfinite(x) else np.nan for x in values)))
    slope = crossing["slope"].to_numpy()
    slope = slope[np.isfinite(slope)]
    if len(slope):
        rows.append(("slope", slope.mean(), *np.quantile(slope, [0.05, 0.95])))
    frame = pd.DataFrame(rows, columns=["quantity", "mean", "lower", "upper"])
    return frame.assign(converged=converged)


def _early(cells: Cells, regions: Regions) -> np.ndarray:
    """Early cells of fitted task diversities."""
    num_tasks = np.asarray(cells.num_tasks)
    return regions.excluded_early & (num_tasks <= num_tasks[regions.fitted].max())


def _with_program_bits(cells: Cells, factor: float) -> Cells:
    _refuse_own_complexities(cells)
    bits = np.array([cells.setting.program_bits[name] for name in cells.strategies])
    return _with_complexity(cells, np.asarray(cells.complexity) + (factor - 1) * bits)


def _single_precision(cells: Cells) -> Cells:
    _refuse_own_complexities(cells)
    return _with_complexity(cells, np.asarray(cells.complexity_float32))


def _refuse_own_complexities(cells: Cells) -> None:
    bits = np.asarray(np.nan if cells.complexity_float32 is None else cells.complexity_float32)
    if np.isnan(bits).any():
        raise FitError(
            "complexities of this log are its own, so there are no program bits to change, and no "
            "tables to count in another precision"
        )


def _with_complexity(cells: Cells, complexity: np.ndarray) -> Cells:
    return eqx.tree_at(lambda c: c.complexity, cells, complexity)


def _in_sequences(cells: Cells) -> Cells:
    sequences = np.asarray(cells.step) * np.asarray(cells.batch_size)
    return eqx.tree_at(lambda c: c.step, cells, sequences)
