"""The command line: each command is a thin layer over one or two public functions."""

import runpy
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from rational_icl._errors import FitError, LogError, RationalICLError


class _Numbers(click.ParamType):
    """A comma-separated list of numbers, such as 4,8,16."""

    name = "N,N,…"

    def __init__(self, kind: type[int] | type[float]):
        self._kind = kind
        self._words = "whole numbers" if kind is int else "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self._kind(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of {self._words} such as 4,8,16", param, ctx)


class _Assignment(click.ParamType):
    """NAME=NUMBER."""

    name = "NAME=NUMBER"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, float]:
        if isinstance(value, tuple):
            return value
        name, _, number = str(value).partition("=")
        try:
            return name.strip(), int(number) if number.strip().isdigit() else float(number)
        except ValueError:
            self.fail(f"{value!r} is not of the form NAME=NUMBER", param, ctx)


class _Words(click.ParamType):
    """A comma-separated list of words."""

    name = "NAME,NAME,…"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        return tuple(word.strip() for word in str(value).split(","))


_LOGS = click.argument("logs", type=click.Path(path_type=Path))
_ACCOUNT = click.option(
    "--account", default="rational", show_default=True, help="Which theory to fit."
)
_SEED = click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    help="Of optimizer starts and of task tables drawn for unseen D.",
)
_STRATEGIES = click.option(
    "--strategies",
    type=_Words(),
    help="Two or more, such as memorizing,generalizing,constant.  [default: the setting's own]",
)


def _plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """A user's mistake is one sentence and exit status 2, never a traceback."""

    @wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except RationalICLError as error:
            click.echo(f"rational-icl: {error}", err=True)
            raise SystemExit(2) from None
        except ModuleNotFoundError as error:
            if error.name != "optax":
                raise
            click.echo(
                "rational-icl: training needs Optax; install it with "
                "pip install 'rational_icl[train]'",
                err=True,
            )
            raise SystemExit(2) from None

    return guarded


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rational_icl")
@click.option(
    "--load",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Python file to run first, which registers a setting of your own.",
)
@_plain_errors
def main(load: tuple[Path, ...]) -> None:
    """Explain when transformers memorize their tasks and when they generalize in context.

    From a folder of logged next-token predictions to a fitted posterior over strategies, phase
    diagrams, transition times and a report:

    \b
        rational-icl import runs/*.npz --out logs     bring your own predictions
        rational-icl check  logs                      is everything there and sound?
        rational-icl report logs --out report         fit, figures, tables, one page
    """
    for path in load:
        if not path.is_file():
            raise LogError(f"{path}: no such file; --load takes a Python file")
        runpy.run_path(str(path), run_name="rational_icl_loaded")


@main.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the log.")
@_plain_errors
def import_(paths: tuple[Path, ...], out: Path) -> None:
    """Turn .npz files, one per run, into a log.

    \b
    Each file holds the arrays
      setting, num_tasks, num_dims, context_length, batch_size, seed
      steps              (step,)  increasing optimizer steps
      tasks, ood_tasks   (task, outcome)
      id_inputs, ood_inputs            (sequence, position) symbols 0…m−1
      id_predictions, ood_predictions  (step, sequence, position, outcome)
    Predictions are probabilities: position t is for symbol t, given the symbols
    before it. Optional: strategies, loss (nats), complexity (bits), which win over
    computed values. Pickled arrays are refused.

    Everything is checked before any run appears in the log.
    """
    from rational_icl.logs import import_npz

    for run in import_npz(paths, out):
        click.echo(run)


@main.command()
@_LOGS
@_plain_errors
def check(logs: Path) -> None:
    """Read every number of a log; say what is in it, or what is wrong and where.

    Shapes, finite values, probabilities that sum to one, increasing steps, tasks and symbols that
    fit the setting, no (task diversity, seed, step) twice, checksums where log.json lists them.
    """
    from tqdm import tqdm

    from rational_icl.logs import open_log

    log = open_log(logs)
    for run in tqdm(log.values(), desc="checking", unit="run"):
        run.validate()
    log.verify_checksums()
    click.echo(
        f"{'run':<20} {'D':>6} {'seed':>5} {'steps':>13} {'checkpoints':>11} {'ID':>5} {'OOD':>5}"
    )
    for run in log.values():
        span = f"{run.steps[0]}–{run.steps[-1]}" if len(run.steps) else "none"
        sizes = [len(run.inputs(split)) for split in ("id", "ood")]
        click.echo(
            f"{run.name:<20} {run.metadata.num_tasks:>6} {run.metadata.seed:>5} {span:>13} "
            f"{len(run.steps):>11} {sizes[0]:>5} {sizes[1]:>5}"
        )
    click.echo(f"{len(log)} runs, all sound")


@main.command()
@_LOGS
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File for the fit (JSON)."
)
@_ACCOUNT
@_STRATEGIES
@_SEED
@_plain_errors
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
@click.option("--num-tasks", type=_Numbers(int), required=True, help="Task diversities D.")
@click.option("--steps", type=_Numbers(float), required=True, help="Optimizer steps N.")
@click.option("--out", type=click.Path(path_type=Path), help="CSV file; printed if left out.")
@_SEED
@_plain_errors
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
@_ACCOUNT
@_STRATEGIES
@_SEED
@_plain_errors
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


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--num-tasks",
    type=_Numbers(int),
    default=(4, 8, 16, 32, 64, 128, 256, 512),
    show_default=True,
    help="Task diversities D.",
)
@click.option(
    "--seeds",
    type=_Numbers(int),
    default=(0, 1, 2),
    show_default=True,
    help="One run a seed and D.",
)
@click.option(
    "--setting", default="categorical", show_default=True, help="Where sequences come from."
)
@click.option("--num-dims", default=8, show_default=True, help="Symbols, dimensions, states.")
@click.option("--context-length", default=64, show_default=True, help="Observations a sequence.")
@click.option(
    "--set",
    "further",
    type=_Assignment(),
    multiple=True,
    help="Other parameters of the setting, such as noise_variance=0.03 or task_exponent=1.",
)
@click.option("--steps", default=4500, show_default=True, help="Optimizer steps.")
@click.option(
    "--num-checkpoints", default=28, show_default=True, help="Logged steps, even in √step."
)
@click.option("--first-checkpoint", default=20, show_default=True, help="First logged step.")
@click.option("--batch-size", default=64, show_default=True, help="Sequences a step.")
@click.option("--learning-rate", default=5e-4, show_default=True, help="Of Adam.")
@click.option("--warmup-steps", default=0, show_default=True, help="Until the rate is reached.")
@click.option("--clip-norm", default=0.0, show_default=True, help="Of gradients; 0: unclipped.")
@click.option("--width", default=64, show_default=True, help="Of the residual stream.")
@click.option("--num-layers", default=1, show_default=True, help="Transformer blocks.")
@click.option("--num-heads", default=1, show_default=True, help="Attention heads a block.")
@click.option("--mlp-factor", default=4.0, show_default=True, help="MLP width over width.")
@click.option(
    "--rotary/--no-rotary",
    default=True,
    show_default=True,
    help="Whether attention knows positions.",
)
@click.option(
    "--init-std", default=0.02, show_default=True, help="Of weights; 0: 1/√inputs of each matrix."
)
@click.option("--id-sequences", default=40, show_default=True, help="In-distribution sequences.")
@click.option(
    "--ood-sequences", default=32, show_default=True, help="Out-of-distribution sequences."
)
@_plain_errors
def train(
    out: Path,
    num_tasks: tuple[int, ...],
    seeds: tuple[int, ...],
    setting: str,
    num_dims: int,
    context_length: int,
    further: tuple[tuple[str, float], ...],
    **recipe: Any,
) -> None:
    """Train small transformers and log their predictions in OUT.

    A whole grid of task diversities and seeds trains at once. Stop it at any time and give the same
    command again to resume. Needs the extra: pip install 'rational_icl[train]'.

    \b
        rational-icl train logs
        rational-icl train logs --setting regression --num-dims 4 --context-length 16 \\
            --set noise_variance=0.0156
    """
    from rational_icl import settings
    from rational_icl.train import Grid, Recipe, train_grid

    sizes = {"num_dims": num_dims, "context_length": context_length}
    world = settings.make(setting, **sizes, **dict(further))
    train_grid(Grid(world, num_tasks, seeds, Recipe(**recipe)), out)
    click.echo(f"Log written in {out}")


def _strategies(log: Any) -> tuple[str, ...]:
    return next(iter(log.values())).setting.default_strategies


def _refuse_missing_folder(out: Path) -> None:
    # a long computation should not end in an error that was there from the start
    if not out.resolve().parent.is_dir():
        raise FitError(f"{out}: its folder does not exist; make it first")
    if out.is_dir():
        raise FitError(f"{out}: is a folder; name a file")
