"""The command that predicts: from a fit, from a posterior, or from stated parameters alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from rational_icl._errors import FitError
from rational_icl._files import is_netcdf, replacing
from rational_icl.cli.choices import Name, accounts
from rational_icl.cli.logs import main
from rational_icl.cli.options import (
    AS_JSON,
    NOT_CONVERGED,
    SEED,
    SETTING_PARAMETERS,
    STRATEGIES,
    Assignment,
    Spread,
    check_parent,
    echo_json,
    named_once,
    plain_errors,
    printed,
    setting_of,
    tell_unless_converged,
)

_INTERVALS = ("lower", "upper", "crossover_lower", "crossover_upper", "crossover_never")
"""Columns of predictions that are withheld where chains have not converged."""
_FIGURES = (".pdf", ".png", ".svg")
_STATED = {
    "account": "--account",
    "setting": "--setting",
    "num_dims": "--num-dims",
    "context_length": "--context-length",
    "further": "--set",
    "params": "--param",
    "strategies": "--strategies",
}
"""Options that a saved fit answers."""


@main.command()
@click.argument("fit_file", type=click.Path(path_type=Path), required=False)
@click.option("--num-tasks", type=Spread(int), required=True, help="Task diversities D.")
@click.option("--steps", type=Spread(float), required=True, help="Optimizer steps N.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV file for the predictions.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="Figure of the phase diagram (.pdf, .png or .svg).",
)
@click.option("--account", type=Name(accounts), help="Theory to state parameters of: rational.")
@click.option("--param", "params", type=Assignment(), multiple=True, help="One of its parameters.")
@click.option("--setting", help="Where sequences would come from, such as categorical.")
@click.option("--num-dims", type=int, help="Symbols, dimensions, states.")
@click.option("--context-length", type=int, help="Observations a sequence.")
@SETTING_PARAMETERS
@STRATEGIES
@SEED
@AS_JSON
@plain_errors
def predict(
    fit_file: Path | None,
    num_tasks: tuple[int, ...],
    steps: tuple[float, ...],
    out: Path | None,
    plot: Path | None,
    seed: int,
    as_json: bool,
    **stated: Any,
) -> None:
    """Predict strategy weights at any task diversities and steps; no transformer is needed.

    FIT_FILE is a fit, or a posterior, whose predictions are of a run not yet trained and have 90 %
    intervals. If its chains have not converged, intervals are withheld, and the exit status is 3.
    Without a file, before anything is trained: name a setting and all parameters of an account.
    4:4096 stands for 21 numbers from 4 to 4096, evenly spread on a logarithmic scale; 4:4096:11 for
    11. The table is printed unless --out or --plot takes it.

    \b
        rational-icl fit logs --out fit.json
        rational-icl predict fit.json --num-tasks 4,64,1024 --steps 100,10000
        rational-icl predict --setting categorical --num-dims 8 --context-length 128 \\
            --param alpha=.7 --param beta=.2 --param gamma=4 \\
            --num-tasks 4:4096 --steps 100:100000 --plot phase.pdf
    """
    _check_outputs(out, plot)
    source = _source(
        fit_file, {name: given for name, given in stated.items() if given not in (None, ())}
    )
    if fit_file and is_netcdf(fit_file):
        phase, frame = _of_posterior(source, fit_file.name, num_tasks, steps, seed)
    else:
        phase, frame = _of_fit(source, num_tasks, steps, seed)
    converged = "converged" not in frame or bool(frame["converged"].all())
    if out:
        with replacing(out) as partial:
            frame.to_csv(partial, index=False)
    if plot:
        _draw(phase, plot)
    saved = [str(path) for path in (out, plot) if path]
    if as_json:
        hidden = [] if converged else [name for name in _INTERVALS if name in frame]
        rows = frame.assign(**dict.fromkeys(hidden)).to_dict(orient="records")
        echo_json({"converged": converged, "predictions": rows, "saved": saved})
    else:
        for path in saved:
            click.echo(f"saved in {path}")
    if not (saved or as_json):
        click.echo(printed(frame, _INTERVALS, converged, index=False))
    if not converged:
        raise SystemExit(NOT_CONVERGED)


def _check_outputs(out: Path | None, plot: Path | None) -> None:
    for path in filter(None, (out, plot)):
        check_parent(path)
    if plot and plot.suffix.lower() not in _FIGURES:
        raise FitError(f"--plot: {plot}; expected a name that ends in {', '.join(_FIGURES)}")
    if out and plot and out.resolve() == plot.resolve():
        raise FitError(f"--out and --plot: both {out}; name two files")


def _source(fit_file: Path | None, stated: Mapping[str, Any]) -> Any:
    """A fit or a posterior.

    Raises:
        FitError, LogError: a file and stated parameters, neither, or some that do not fit.
    """
    if fit_file is None:
        return _fit_of_params(stated)
    if stated:
        options = ", ".join(_STATED[name] for name in stated)
        raise FitError(f"{options}: given beside {fit_file}, which has its own; leave out either")
    import rational_icl as ri

    return ri.load_posterior(fit_file) if is_netcdf(fit_file) else ri.load_fit(fit_file)


def _fit_of_params(stated: Mapping[str, Any]) -> Any:
    needed = ("setting", "num_dims", "context_length")
    if missing := [_STATED[name] for name in needed if name not in stated]:
        what = "FIT_FILE" if len(missing) == len(needed) else "without FIT_FILE"
        raise FitError(
            f"{what}: {', '.join(missing)} missing; give a file that `rational-icl fit` wrote, or "
            "a setting with its sizes and --param for each parameter of an account"
        )
    import rational_icl as ri

    sizes = {name: stated[name] for name in needed[1:]}
    world = setting_of(stated["setting"], sizes, stated.get("further", ()))
    params = named_once("--param", stated.get("params", ()))
    account, strategies = stated.get("account", "rational"), stated.get("strategies")
    return ri.Fit.from_params(account, params, world, strategies=strategies)


def _of_fit(fitted: Any, num_tasks: Any, steps: Any, seed: int) -> tuple[Any, Any]:
    """The phase diagram, and a table of it with crossovers."""
    import rational_icl as ri

    phase = ri.phase_diagram(fitted, num_tasks, steps, seed=seed, progress=True)
    frame = phase["weight"].to_dataset("strategy").to_dataframe().add_prefix("weight_")
    frame["determined"] = phase["determined"].to_dataframe()["determined"]
    crossing = ri.crossovers(fitted, phase["num_tasks"].to_numpy(), seed=seed)
    names = {"predicted": "crossover", "status": "crossover_status"}
    crossing = crossing.rename(columns={**names, "determined": "crossover_determined"})
    frame = frame.reset_index().merge(crossing, on="num_tasks")
    if note := _undetermined(fitted, frame):
        click.echo(f"note: {note}", err=True)
    return phase, frame


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


def _of_posterior(
    posterior: Any, name: str, num_tasks: Any, steps: Any, seed: int
) -> tuple[Any, Any]:
    """As `_of_fit`, with intervals where chains have converged."""
    import rational_icl as ri
    from rational_icl.posterior.diagnosis import withheld

    predicted = ri.predict(posterior, num_tasks, steps, seed=seed, progress=True)
    crossing = ri.predict_crossovers(posterior, predicted["num_tasks"].to_numpy(), seed=seed)
    columns = crossing[["median", "lower", "upper", "never", "seen"]].to_dataframe()
    columns = columns.rename(columns={"seen": "logged"}).add_prefix("crossover_")
    frame = predicted[["weight", "lower", "upper"]].to_dataframe().reset_index()
    columns = columns.rename(columns={"crossover_logged": "logged"}).reset_index()
    frame = frame.merge(columns, on="num_tasks")
    diagnosis = ri.diagnose(posterior)
    tell_unless_converged(name, diagnosis, again="`rational-icl sample` it again")
    shown = withheld(frame, diagnosis.converged, columns=set(frame) - set(_INTERVALS))
    return predicted, shown


def _draw(phase: Any, path: Path) -> None:
    from matplotlib.figure import Figure

    import rational_icl as ri

    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    ri.plotting.plot_phase_diagram(phase, ax=figure.add_subplot())
    with replacing(path) as partial:
        figure.savefig(partial, format=path.suffix[1:].lower(), dpi=200)
