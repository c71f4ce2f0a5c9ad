"""The same log under other assumptions: what a conclusion should not depend on."""

from collections.abc import Callable

import equinox as eqx
import numpy as np
import pandas as pd

from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.fitting.fits import fit
from rational_icl.fitting.holdout import Regions
from rational_icl.logs import Log
from rational_icl.prediction.phases import crossovers
from rational_icl.strategies.complexity import table_bits

Variant = Callable[[], tuple[Cells, Regions]]


def variants(log: Log, cells: Cells, behaviour: Behaviour, regions: Regions) -> dict[str, Variant]:
    """Cells and regions under each assumption, made when asked for.

    As declared; program bits × ½ and × 2; task tables in single precision; N counted in sequences
    instead of steps; early cells included.

    Args:
        log: that the cells are of; task tables are read from it.
        cells, behaviour: from `summarize`.
        regions: as declared.
    """
    everything = Regions(
        regions.fitted | _early(cells, regions), regions.held_out, np.zeros_like(regions.fitted)
    )
    return {
        "as declared": lambda: (cells, regions),
        "program bits × ½": lambda: (_with_program_bits(log, cells, 0.5), regions),
        "program bits × 2": lambda: (_with_program_bits(log, cells, 2.0), regions),
        "single-precision tables": lambda: (_single_precision(log, cells, behaviour), regions),
        "N in sequences": lambda: (_in_sequences(cells), regions),
        "early cells included": lambda: (cells, everything),
    }


def fit_variants(
    log: Log,
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
        log, account, cells, behaviour, regions: as `variants` and `fit` take them.
        num_starts, seed: see `fit`.

    Returns:
        One row per variant: the parameters, objective (nats), and crossover_D, the predicted N* at
        each task diversity of the log, in steps whatever N was counted in.
    """
    rows = []
    diversities = np.unique(np.asarray(cells.num_tasks)).astype(int)
    per_step = float(np.asarray(cells.batch_size)[0])
    for name, make in variants(log, cells, behaviour, regions).items():
        try:
            changed, chosen = make()
        except FitError:  # complexities of the log's own have no program bits to change
            continue
        found = fit(account, changed, behaviour, regions=chosen, num_starts=num_starts, seed=seed)
        steps = crossovers(found, diversities)["predicted"].to_numpy()
        unit = per_step if name == "N in sequences" else 1.0
        row = {"variant": name, **found.params, "objective": found.objective}
        rows.append(
            row | {f"crossover_{d}": s / unit for d, s in zip(diversities, steps, strict=True)}
        )
    return pd.DataFrame(rows)


def _early(cells: Cells, regions: Regions) -> np.ndarray:
    """Early cells of fitted task diversities."""
    num_tasks = np.asarray(cells.num_tasks)
    return regions.excluded_early & (num_tasks <= num_tasks[regions.fitted].max())


def _with_program_bits(log: Log, cells: Cells, factor: float) -> Cells:
    if any(run.overrides for run in log.values()):
        raise FitError(
            "complexities of this log are its own, so there are no program bits to change"
        )
    bits = np.array([cells.setting.program_bits[name] for name in cells.strategies])
    return _with_complexity(cells, np.asarray(cells.complexity) + (factor - 1) * bits)


def _single_precision(log: Log, cells: Cells, behaviour: Behaviour) -> Cells:
    changed = np.array(cells.complexity)
    for index, name in enumerate(behaviour.runs):
        here = behaviour.run == index
        for k, strategy in enumerate(cells.strategies):
            if strategy in cells.setting.memorizing:
                table = cells.setting.prior_table(strategy, log[name].tasks)
                changed[here, k] -= table_bits(table) - table_bits(table, np.float32)
    return _with_complexity(cells, changed)


def _with_complexity(cells: Cells, complexity: np.ndarray) -> Cells:
    return eqx.tree_at(lambda c: c.complexity, cells, complexity)


def _in_sequences(cells: Cells) -> Cells:
    seen = np.asarray(cells.step) * np.asarray(cells.batch_size)
    return eqx.tree_at(lambda c: c.step, cells, seen)
