"""Commands that fit an account, or sample its posterior."""

from pathlib import Path
from typing import Any

import click

from rational_icl._errors import FitError
from rational_icl.cli.logs import main
from rational_icl.cli.options import (
    ACCOUNT,
    LOGS,
    SEED,
    STRATEGIES,
    check_parent,
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
@plain_errors
def fit(
    logs: Path,
    out: Path,
    account: str,
    strategies: tuple[str, ...] | None,
    seed: int,
    jackknife: bool | None,
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
    intervals = _jackknifed(fitted, cells, behaviour, jackknife) if wanted else {}
    _show(fitted, intervals)
    click.echo(f"saved in {out}")


def _show(fitted: Any, intervals: dict[str, str]) -> None:
    for name, value in fitted.params.items():
        click.echo(f"{name:>12} {value:.4g}{intervals.get(name, '')}")
    known = fitted.identifiability
    click.echo(f"{'objective':>12} {fitted.objective:.6g} nats")
    click.echo(f"{'cells':>12} {fitted.regions.fitted.sum()} ({known.counts})")
    if fitted.caution:
        click.echo(f"note: {fitted.caution}")
        directions = "; ".join(known.directions)
        click.echo(f"note: free, in factors of e or quarters of a bounded range: {directions}")


def _jackknifed(fitted: Any, cells: Any, behaviour: Any, asked: bool | None) -> dict[str, str]:
    """The interval of every parameter, in words; none, and why, where there can be none."""
    import rational_icl as ri

    try:
        table = ri.jackknife(fitted, cells, behaviour).table
    except FitError as error:
        if asked:
            raise
        click.echo(f"note: no jackknife: {error}")
        return {}
    return {
        row["parameter"]: f"  ({row['lower']:.3g} to {row['upper']:.3g})"
        if row["status"] == "determined"
        else f"  ({row['status'].replace('_', ' ')})"
        for row in table.to_dict(orient="records")
    }


@main.command()
@LOGS
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File for the draws (NetCDF)."
)
@ACCOUNT
@STRATEGIES
@SEED
@sampler_options
@plain_errors
def sample(
    logs: Path,
    out: Path,
    account: str,
    strategies: tuple[str, ...] | None,
    seed: int,
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
    hidden = ["mean", "sd", "lower", "upper"]
    columns = [*hidden, "r_hat", "ess_bulk", "ess_tail"]
    click.echo(printed(diagnosis.table[columns], hidden, diagnosis.converged))
    for caution in diagnosis.cautions:
        click.echo(f"note: {caution}")
    click.echo(f"saved in {out}")
    end_unless_converged({logs.name: diagnosis})
