"""Commands that fit an account, or sample its posterior."""

from pathlib import Path
from typing import Any

import click

from rational_icl._errors import FitError
from rational_icl.cli.logs import main
from rational_icl.cli.options import (
    ACCOUNT,
    AS_JSON,
    LOGS,
    SEED,
    STRATEGIES,
    check_parent,
    echo_json,
    end_unless_converged,
    given,
    plain_errors,
    printed,
    sampler_options,
    theory_and_cells,
)


@main.command()
@LOGS
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File for the fit (JSON)."
)
@ACCOUNT
@STRATEGIES
@SEED
@click.option(
    "--jackknife/--no-jackknife",
    default=None,
    help="Whether to refit without each task diversity, for errors.  [default: unless costly]",
)
@AS_JSON
@plain_errors
def fit(
    logs: Path,
    out: Path,
    account: str,
    strategies: tuple[str, ...] | None,
    seed: int,
    jackknife: bool | None,
    as_json: bool,
) -> None:
    """Fit an account to a log and save it, for `predict`.

    The fit uses in-distribution cells of the first 80 % of steps and of task diversities, after the
    early checkpoints; everything else stays held out. LOGS may be a file that `summarize` wrote.
    Printed beside each parameter: its 90 % interval from a jackknife over task diversities.
    """
    import rational_icl as ri

    check_parent(out)
    theory, cells, behaviour = theory_and_cells(logs, account, strategies)
    fitted = ri.fit(theory, cells, behaviour, seed=seed)
    fitted.save(out)
    wanted = not theory.costly if jackknife is None else jackknife
    intervals, problem = _jackknifed(fitted, cells, behaviour, jackknife) if wanted else ({}, "")
    notes = [f"no jackknife: {problem}"] if problem else []
    known = fitted.identifiability
    if known and fitted.caution:
        directions = "; ".join(known.directions)
        notes += [
            fitted.caution,
            f"free, in factors of e or quarters of a bounded range: {directions}",
        ]
    if as_json:
        echo_json(_document(fitted, intervals, notes) | {"saved": str(out)})
        return
    _show(fitted, intervals, notes)
    click.echo(f"saved in {out}")


def _document(
    fitted: Any, intervals: dict[str, dict[str, Any]], notes: list[str]
) -> dict[str, Any]:
    return {
        "account": fitted.account.name,
        "parameters": {
            name: {"value": value} | intervals.get(name, {})
            for name, value in fitted.params.items()
        },
        "objective": fitted.objective,
        "cells": int(fitted.regions.fitted.sum()),
        "notes": notes,
    }


def _show(fitted: Any, intervals: dict[str, dict[str, Any]], notes: list[str]) -> None:
    for name, value in fitted.params.items():
        interval = ""
        if row := intervals.get(name):
            interval = f"  ({row['status'].replace('_', ' ')})"
            if row["status"] == "determined":
                interval = f"  ({row['lower']:.3g} to {row['upper']:.3g})"
        click.echo(f"{name:>12} {value:.4g}{interval}")
    click.echo(f"{'objective':>12} {fitted.objective:.6g} nats")
    cells = fitted.regions.fitted.sum()
    click.echo(f"{'cells':>12} {cells} ({fitted.identifiability.counts})")
    for note in notes:
        click.echo(f"note: {note}")


def _jackknifed(
    fitted: Any, cells: Any, behaviour: Any, asked: bool | None
) -> tuple[dict[str, dict[str, Any]], str]:
    """Lower, upper and status by parameter; or why there can be none."""
    import rational_icl as ri

    try:
        table = ri.jackknife(fitted, cells, behaviour).table
    except FitError as error:
        if asked:
            raise
        return {}, str(error)
    columns = ["lower", "upper", "status"]
    rows = {
        str(row["parameter"]): {name: row[name] for name in columns} for _, row in table.iterrows()
    }
    return rows, ""


@main.command()
@LOGS
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File for the draws (NetCDF)."
)
@ACCOUNT
@STRATEGIES
@SEED
@sampler_options
@AS_JSON
@plain_errors
def sample(
    logs: Path,
    out: Path,
    account: str,
    strategies: tuple[str, ...] | None,
    seed: int,
    as_json: bool,
    **sampling: Any,
) -> None:
    """Draw from the posterior of an account, and save it for ArviZ.

    Uses the cells that `fit` uses; LOGS may be a file that `summarize` wrote. As many draws again
    are added until chains agree or each has --max-draws; after divergences chains are warmed up
    again for a higher acceptance. --no-adapt draws --draws and no more. Exit status 3 says that the
    chains have not converged; no interval is printed then.

    \b
        rational-icl sample logs --out posterior.nc
        rational-icl predict posterior.nc --num-tasks 4,64,1024 --steps 100,10000
    """
    import rational_icl as ri

    check_parent(out)
    options = given(sampling)
    theory, cells, behaviour = theory_and_cells(logs, account, strategies)
    posterior = ri.sample(theory, cells, behaviour, seed=seed, **options)
    ri.save_posterior(posterior, out)
    diagnosis = ri.diagnose(posterior)
    if as_json:
        echo_json(
            {
                "account": theory.name,
                "converged": diagnosis.converged,
                "parameters": diagnosis.shown.to_dict(orient="index"),
                "notes": list(diagnosis.cautions),
                "saved": str(out),
            }
        )
        end_unless_converged({logs.name: diagnosis})
        return
    hidden = ["mean", "sd", "lower", "upper"]
    columns = [*hidden, "r_hat", "ess_bulk", "ess_tail"]
    click.echo(printed(diagnosis.table[columns], hidden, diagnosis.converged))
    for caution in diagnosis.cautions:
        click.echo(f"note: {caution}")
    click.echo(f"saved in {out}")
    end_unless_converged({logs.name: diagnosis})
