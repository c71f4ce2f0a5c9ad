"""The command that turns what was logged elsewhere into a log."""

from pathlib import Path

import click

from rational_icl.cli.logs import main
from rational_icl.cli.options import (
    AS_JSON,
    Assignment,
    Renaming,
    echo_json,
    named_once,
    plain_errors,
)


@main.command("import")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the log.")
@click.option(
    "--format",
    type=click.Choice(["auto", "npz", "cache", "parquet"]),
    default="auto",
    show_default=True,
    help="Of the paths; auto: what each looks like.",
)
@click.option(
    "--sequences",
    type=click.Path(path_type=Path),
    help="Evaluation sequences of a cache of classification: a .npz file, or a folder of them.",
)
@click.option(
    "--set",
    "stated",
    type=Assignment(),
    multiple=True,
    help="What a cache's config.yaml leaves out, such as noise_variance=0.03.",
)
@click.option(
    "--map",
    "names",
    type=Renaming(),
    multiple=True,
    help="Your name of an array of .npz files, such as id_predictions=probs.",
)
@click.option(
    "--outputs",
    type=click.Choice(["probabilities", "log_probabilities", "logits"]),
    help="Form of predictions in .npz files.  [default: probabilities, or means]",
)
@AS_JSON
@plain_errors
def import_(
    paths: tuple[Path, ...],
    out: Path,
    format: str,
    sequences: Path | None,
    stated: tuple[tuple[str, float], ...],
    names: tuple[tuple[str, str], ...],
    outputs: str | None,
    as_json: bool,
) -> None:
    """Turn what was logged elsewhere into a log.

    Everything is read and checked before any run appears in the log. Nothing is unpickled.

    \b
    npz      one file per run, named after the file. Its arrays:
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
    factors.NAME.

    \b
    cache    the folder of the published research code, <setting>/transformers/<run>
             with config.yaml and checkpoints/checkpoint-<step>/outputs-….pt;
             or a folder <setting> of it, or a run. Evaluation sequences are drawn
             again from the seed, and refused if predictions fit others as well;
             those of classification are in --sequences: id_inputs, id_targets,
             ood_inputs, ood_targets, as above. Needs an extra, which is named.
    \b
    parquet  a folder of Parquet files, a row for every sequence at every step: run,
             step, split (id, ood, …), sequence (0, 1, …), inputs and predictions
             (nested lists, as above, without their first axes), target for
             classification; and, the same in all rows of a run, setting and its
             parameters, num_tasks, batch_size, seed, factors.NAME. Beside them
             tasks.parquet: run, split (tasks or ood_tasks), task (0, 1, …), values.
             Or DatasetDict({"predictions": …, "tasks": …}).save_to_disk(folder) of
             the library datasets. Needs the extra parquet.
    """
    numbers = named_once("--set", stated)
    renamed = named_once("--map", names)
    from rational_icl.logs import import_runs

    of_npz = {"names": renamed, "outputs": outputs}
    of_cache = {"sequences": sequences, "stated": numbers}
    runs = import_runs(paths, out, format, **of_npz, **of_cache, progress=True)
    if as_json:
        echo_json({"runs": [str(run) for run in runs]})
        return
    for run in runs:
        click.echo(run)
