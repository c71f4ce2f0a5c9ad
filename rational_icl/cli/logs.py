"""The command itself, and those of its commands that only read and check."""

import runpy
from pathlib import Path

import click

from rational_icl._errors import LogError
from rational_icl.cli.options import LOGS, plain_errors


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rational_icl")
@click.option(
    "--load",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="Python file to run first, which registers a setting of your own.",
)
@plain_errors
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
        _run(path)


def _run(path: Path) -> None:
    if not path.is_file():
        raise LogError(f"{path}: no such file; --load takes a Python file")
    try:
        runpy.run_path(str(path), run_name="rational_icl_loaded")
    except (Exception, SystemExit) as error:  # whatever a person's own file may do
        raise LogError(f"{path}: {type(error).__name__}: {error}; --load ran it") from None


@main.command()
@LOGS
@plain_errors
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
