"""Analysis of a log: cells, fit, scores, and what else a report is asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from rational_icl import accounts
from rational_icl._errors import FitError
from rational_icl.accounts import Account, ConstantWeights
from rational_icl.cells.crossovers import observed_crossovers, run_crossovers
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.cells.source import Source, open_source
from rational_icl.cells.zeros import undefined
from rational_icl.comparison import DEFAULT_SCHEMES, compare
from rational_icl.comparison.choosing import choose
from rational_icl.comparison.folds import check_schemes
from rational_icl.fitting.agreement import cell_agreement, divergence_at
from rational_icl.fitting.fits import Fit, fit
from rational_icl.fitting.holdout import partition_cells
from rational_icl.fitting.jackknife import Jackknife, jackknife
from rational_icl.logs import Log
from rational_icl.posterior import sample
from rational_icl.posterior.adaptation import Plan
from rational_icl.prediction.crossovers import crossovers
from rational_icl.report.bayesian import interpret
from rational_icl.report.published import beside_published
from rational_icl.report.result import EXTRAPOLATIONS, REGIONS, Analysis
from rational_icl.robustness import fit_variants


def analyse(
    log: Source | Log | str | Path,
    account: str | Account,
    *,
    strategies: Sequence[str] | None = None,
    posterior: bool = False,
    sampling: Mapping[str, Any] | None = None,
    compared: Sequence[str | Account] | None = (),
    schemes: Sequence[str] = DEFAULT_SCHEMES,
    variants: bool = False,
    num_starts: int = 16,
    seed: int = 0,
    progress: bool = True,
) -> Analysis:
    """Analysis of a log: an account and its floor, scored on fitted cells and on held-out ones.

    Args:
        log: from `open_log`, or the path of a log or of its cells (`summarize_to`), without which
            there are no measures of the account's predictions token by token.
        account: a theory of these strategies, or its name.
        strategies: see `summarize`.
        posterior: whether to sample it too, on the fitted cells.
        sampling: options of `sample` for that, such as max_draws.
        compared: accounts to compare it with, by `compare`; all if None, none if empty.
        schemes: ways of holding data out for that.
        variants: whether to fit it under other assumptions too.
        num_starts: optimizer starts of the fit, and twice those of each refit.
        seed: of optimizer starts and chains.
        progress: show bars.

    Raises:
        LogError, FitError: see `summarize` and `fit`.
    """
    source = open_source(log, strategies)
    _check_request(source.strategies, account, sampling, compared, schemes)
    cells, behaviour = source.summarized(progress=progress)
    account = accounts.make(account, cells.strategies)
    regions = partition_cells(cells, behaviour)
    fitted = fit(account, cells, behaviour, regions=regions, num_starts=num_starts, seed=seed)
    frame = cell_agreement(source.log, cells, behaviour, fitted, progress=progress)
    runs = run_crossovers(cells, behaviour)
    observed = observed_crossovers(runs)
    diversities = observed["num_tasks"].to_numpy()
    predicted = crossovers(fitted, diversities).rename(
        columns={"status": "predicted_status", "determined": "predicted_determined"}
    )
    distance = frame["predicted_relative_distance_id"].to_numpy()
    mixture = observed_crossovers(run_crossovers(cells, behaviour, distance))
    observed["mixture"] = mixture["observed"]
    observed["early"] = observed["highest"] < frame.loc[~regions.excluded_early, "step"].min()
    bayesian = None
    if posterior:
        options = {"regions": regions, "seed": seed, "progress": progress, **(sampling or {})}
        bayesian = interpret(sample(account, cells, behaviour, **options), frame, cells.strategies)
    comparison = None
    if compared is None or len(compared):
        names = [theory if isinstance(theory, str) else theory.name for theory in compared or ()]
        candidates = compared if compared is None or account.name in names else [account, *compared]
        options = {"num_starts": max(1, num_starts // 2), "seed": seed, "progress": progress}
        comparison = compare(candidates, cells, behaviour, schemes=schemes, **options)
    splits = tuple(behaviour.splits)
    sensitivity = fit_variants(account, cells, behaviour, regions) if variants else None
    return Analysis(
        bayesian=bayesian,
        comparison=comparison,
        variants=sensitivity,
        name=source.name,
        splits=splits,
        provenance=dict(source.provenance),
        fit=fitted,
        frame=frame,
        runs=runs,
        crossover=observed.merge(predicted, on="num_tasks"),
        jackknife=_jackknifed(fitted, cells, behaviour),
        bounds=_bounds(cells, behaviour, fitted, frame, seed),
        published=beside_published(frame, fitted, splits, source.factors),
        undefined=tuple(
            filter(None, (undefined(s, n, cells.strategies) for n, s in behaviour.splits.items()))
        ),
    )


def _check_request(
    strategies: tuple[str, ...],
    account: str | Account,
    sampling: Mapping[str, Any] | None,
    compared: Sequence[str | Account] | None,
    schemes: Sequence[str],
) -> None:
    """Raises FitError of what the arguments alone show, before the log is read."""
    accounts.make(account, strategies)
    choose(compared, strategies)
    check_schemes(schemes)
    plan = {name: value for name, value in (sampling or {}).items() if name in Plan.__annotations__}
    Plan(**plan)


def _jackknifed(fitted: Fit, cells: Cells, behaviour: Behaviour) -> Jackknife | str:
    if fitted.account.costly:
        return "for this account they take minutes, with rational_icl.jackknife"
    try:
        return jackknife(fitted, cells, behaviour)
    except FitError as error:
        return str(error)


def _bounds(
    cells: Cells, behaviour: Behaviour, fitted: Fit, frame: pd.DataFrame, seed: int
) -> dict[str, dict[str, float | None]]:
    """Mean ID divergence of the floor and the ceiling, by part of the cells."""
    constant = ConstantWeights.of(cells.strategies)
    floor = fit(constant, cells, behaviour, regions=fitted.regions, num_starts=4, seed=seed)
    split = behaviour.splits["id"]
    values = {
        "floor": divergence_at(split.divergence, floor.log_weights(cells)),
        "ceiling": split.best_divergence,
    }
    parts = {region: (frame["region"] == region).to_numpy() for region in REGIONS}
    parts |= {part: (frame["extrapolation"] == part).to_numpy() for part in EXTRAPOLATIONS}
    return {
        name: {
            part: float(per_cell[in_part].mean()) if in_part.any() else None
            for part, in_part in parts.items()
        }
        for name, per_cell in values.items()
    }
