"""Commands that fit, predict and report."""

from pathlib import Path
from typing import Any

import click

from rational_icl._errors import FitError
from rational_icl.cli.logs import main
from rational_icl.cli.options import ACCOUNT, LOGS, SEED, STRATEGIES, Numbers, plain_errors


@main.command()
@LOGS
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File for the fit (JSON)."
)
@ACCOUNT
@STRATEGIES
@SEED
@plain_errors
def fit(logs: Path, out: Path, account: str, strategies: tuple[str, ...] | None, seed: int) -> None:
    """Fit an account to a log and save it, for `predict`.

    The fit uses in-distribution cells of the first 80 % of steps and of task diversities, after the
    early checkpoints; everything else stays held out.
    """
    import rational_icl as ri

    _refuse_missing_folder(out)
    log = ri.open_log(logs)
    strategies = strategies or _strategies(log)
    theory = ri.accounts.make(account, strategies)
    cells, behaviour = ri.summarize(log, strategies)
    fitted = ri.fit(theory, cells, behaviour, seed=seed)
    fitted.save(out)
    for name, value in fitted.params.items():
        click.echo(f"{name:>12} {value:.4g}")
    click.echo(
        f"{'objective':>12} {fitted.objective:.6g} nats, {fitted.regions.fitted.sum()} cells"
    )
    click.echo(f"saved in {out}")


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

    \b
        rational-icl fit logs --out fit.json
        rational-icl predict fit.json --num-tasks 4,64,1024 --steps 100,10000
    """
    import rational_icl as ri
    from rational_icl.phases import worth_of

    if out:
        _refuse_missing_folder(out)
    fitted = ri.load_fit(fit_file)
    phase = ri.phase_diagram(fitted, num_tasks, steps, seed=seed, progress=True)
    frame = phase["weight"].to_dataset("strategy").to_dataframe().add_prefix("weight_")
    worth = worth_of(phase)
    crossing = ri.crossovers(fitted, phase["num_tasks"].to_numpy(), worth=worth)
    crossing["logged"] = worth["seen"]
    crossing = crossing.rename(columns={"predicted": "crossover", "status": "crossover_status"})
    frame = frame.reset_index().merge(crossing, on="num_tasks")
    if out:
        frame.to_csv(out, index=False)
        click.echo(f"saved in {out}")
    else:
        click.echo(frame.to_string(index=False, float_format=lambda value: f"{value:.4g}"))


@main.command()
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the report.")
@ACCOUNT
@STRATEGIES
@SEED
@plain_errors
def report(
    logs: tuple[Path, ...], out: Path, account: str, strategies: tuple[str, ...] | None, seed: int
) -> None:
    """Fit logs and write a report: index.html, report.json, figures and tables.

    Each of several logs gets a section of the page, and a folder of its own. The page opens without
    a network. Fitted and held-out cells are never mixed in one number.
    """
    import rational_icl as ri

    if out.is_file() or any(out.resolve() == path.resolve() for path in logs):
        raise FitError(f"{out}: is a file, or the log itself; name another folder for the report")
    analyses = []
    for path in logs:
        log = ri.open_log(path)
        names = strategies or _strategies(log)
        theory = ri.accounts.make(account, names)
        analyses.append(ri.analyse(log, theory, strategies=names, seed=seed))
    page = ri.write_report(analyses, out)
    click.echo(f"Report written. Open {page}")


def _strategies(log: Any) -> tuple[str, ...]:
    return next(iter(log.values())).setting.default_strategies


def _refuse_missing_folder(out: Path) -> None:
    # a long computation should not end in an error that was there from the start
    if not out.resolve().parent.is_dir():
        raise FitError(f"{out}: its folder does not exist; make it first")
    if out.is_dir():
        raise FitError(f"{out}: is a folder; name a file")
