"""Commands that fit, predict and report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from rational_icl._errors import FitError
from rational_icl._files import is_netcdf, replacing
from rational_icl.cli.logs import main
from rational_icl.cli.options import (
    ACCOUNT,
    LOGS,
    NOT_CONVERGED,
    SEED,
    STRATEGIES,
    Numbers,
    check_parent,
    end_unless_converged,
    given,
    plain_errors,
    sampler_options,
    tell_unless_converged,
    theory_and_cells,
)

_INTERVALS = ("lower", "upper", "crossover_lower", "crossover_upper", "crossover_never")
"""Columns of predictions that are withheld where chains have not converged."""


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
@click.argument("fit_file", type=click.Path(path_type=Path))
@click.option("--num-tasks", type=Numbers(int), required=True, help="Task diversities D.")
@click.option("--steps", type=Numbers(float), required=True, help="Optimizer steps N.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV file; printed if left out.")
@SEED
@plain_errors
def predict(
    fit_file: Path,
    num_tasks: tuple[int, ...],
    steps: tuple[float, ...],
    out: Path | None,
    seed: int,
) -> None:
    """Predict strategy weights at any task diversities and steps; no transformer is needed.

    FIT_FILE is a fit, or a posterior, whose predictions are of a run not yet trained and have 90 %
    intervals. If its chains have not converged, intervals are withheld, and the exit status is 3.

    \b
        rational-icl fit logs --out fit.json
        rational-icl predict fit.json --num-tasks 4,64,1024 --steps 100,10000
    """
    if out:
        check_parent(out)
    of = _of_posterior if is_netcdf(fit_file) else _of_fit
    frame, note = of(fit_file, num_tasks, steps, seed)
    if note:
        click.echo(f"note: {note}", err=True)
    converged = "converged" not in frame or bool(frame["converged"].all())
    if out:
        with replacing(out) as partial:
            frame.to_csv(partial, index=False)
        click.echo(f"saved in {out}")
    else:
        click.echo(_printed(frame, _INTERVALS, converged, index=False))
    if not converged:
        raise SystemExit(NOT_CONVERGED)


def _printed(table: Any, hidden: Sequence[str], converged: bool, index: bool = True) -> str:
    """A table for a person, with words in place of what does not hold."""
    if not converged:
        table = table.assign(**dict.fromkeys(hidden, "not converged"))
    return table.to_string(index=index, float_format=lambda value: f"{value:.4g}")


def _of_fit(path: Path, num_tasks: Any, steps: Any, seed: int) -> tuple[Any, str]:
    import rational_icl as ri

    fitted = ri.load_fit(path)
    phase = ri.phase_diagram(fitted, num_tasks, steps, seed=seed, progress=True)
    frame = phase["weight"].to_dataset("strategy").to_dataframe().add_prefix("weight_")
    frame["determined"] = phase["determined"].to_dataframe()["determined"]
    crossing = ri.crossovers(fitted, phase["num_tasks"].to_numpy(), seed=seed)
    names = {"predicted": "crossover", "status": "crossover_status"}
    crossing = crossing.rename(columns={**names, "determined": "crossover_determined"})
    frame = frame.reset_index().merge(crossing, on="num_tasks")
    return frame, _undetermined(fitted, frame)


def _undetermined(fitted: Any, frame: Any) -> str:
    """Which predictions hang on parameters that the log leaves free, in a sentence."""
    weights = int((~frame["determined"]).sum())
    tasks = frame.loc[~frame["crossover_determined"], "num_tasks"].unique()
    if not weights and not len(tasks):
        return ""
    parts = [f"{weights} of {len(frame)} weights"] if weights else []
    parts += [f"crossovers at D = {', '.join(map(str, tasks))}"] if len(tasks) else []
    return (
        f"{' and '.join(parts)} differ between parameters that fit the log equally well; they are "
        f"not determined (columns determined, crossover_determined). {fitted.caution}".rstrip()
    )


def _of_posterior(path: Path, num_tasks: Any, steps: Any, seed: int) -> tuple[Any, str]:
    import rational_icl as ri
    from rational_icl.posterior.diagnosis import withheld

    posterior = ri.load_posterior(path)
    predicted = ri.predict(posterior, num_tasks, steps, seed=seed, progress=True)
    crossing = ri.predict_crossovers(posterior, predicted["num_tasks"].to_numpy(), seed=seed)
    columns = crossing[["median", "lower", "upper", "never", "seen"]].to_dataframe()
    columns = columns.rename(columns={"seen": "logged"}).add_prefix("crossover_")
    frame = predicted[["weight", "lower", "upper"]].to_dataframe().reset_index()
    columns = columns.rename(columns={"crossover_logged": "logged"}).reset_index()
    frame = frame.merge(columns, on="num_tasks")
    diagnosis = ri.diagnose(posterior)
    tell_unless_converged(path.name, diagnosis, again="`rational-icl sample` it again")
    return withheld(frame, diagnosis.converged, columns=set(frame) - set(_INTERVALS)), ""


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
    click.echo(_printed(diagnosis.table[columns], hidden, diagnosis.converged))
    for caution in diagnosis.cautions:
        click.echo(f"note: {caution}")
    click.echo(f"saved in {out}")
    end_unless_converged({logs.name: diagnosis})
