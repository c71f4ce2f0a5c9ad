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


@main.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the log.")
@plain_errors
def import_(paths: tuple[Path, ...], out: Path) -> None:
    """Turn .npz files, one per run, into a log.

    \b
    Each file holds the arrays
      setting            categorical, regression, classification or markov
      num_tasks, num_dims, context_length, batch_size, seed
      steps              (step,)  increasing optimizer steps
      tasks, ood_tasks   (task, …)
      id_inputs, ood_inputs            (sequence, position, …)
      id_predictions, ood_predictions  (step, sequence, position, outcome)
    \b
    categorical, markov  inputs are symbols 0…m−1, predictions probabilities of
                         symbol t given the symbols before it
                         tasks (task, m), or (task, m, m)
    regression           inputs x then y, (sequence, position, m + 1); predictions
                         means of y at x (…, 1); tasks (task, m); noise_variance
    classification       inputs item then label, the query last with label −1;
                         predictions (step, sequence, 1, 2); tasks exemplar then
                         label (task, m + 1); within_class_variance; id_targets,
                         ood_targets (sequence,); optional iwl_inputs, …

    Optional: first_position, the position of the first prediction; task_prob (task,) or
    task_exponent; strategies, loss (nats), complexity (bits), which win over computed values;
    factors.NAME. Pickled arrays are refused.

    Everything is checked before any run appears in the log.
    """
    from rational_icl.logs import import_npz

    for run in import_npz(paths, out):
        click.echo(run)


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
