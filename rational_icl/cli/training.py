"""The command that trains transformers."""

from pathlib import Path
from typing import Any

import click

from rational_icl.cli.clusters import cluster_of, cluster_options
from rational_icl.cli.logs import main
from rational_icl.cli.options import SETTING_PARAMETERS, Numbers, plain_errors, setting_of


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--num-tasks",
    type=Numbers(int),
    default=(4, 8, 16, 32, 64, 128, 256, 512),
    show_default=True,
    help="Task diversities D.",
)
@click.option(
    "--seeds",
    type=Numbers(int),
    default=(0, 1, 2),
    show_default=True,
    help="One run a seed and D.",
)
@click.option(
    "--setting", default="categorical", show_default=True, help="Where sequences come from."
)
@click.option("--num-dims", default=8, show_default=True, help="Symbols, dimensions, states.")
@click.option("--context-length", default=64, show_default=True, help="Observations a sequence.")
@SETTING_PARAMETERS
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
@cluster_options
@plain_errors
def train(
    out: Path,
    num_tasks: tuple[int, ...],
    seeds: tuple[int, ...],
    setting: str,
    num_dims: int,
    context_length: int,
    further: tuple[tuple[str, float], ...],
    scheduler: str | None,
    workers: int | None,
    **recipe: Any,
) -> None:
    """Train small transformers and log their predictions in OUT.

    A whole grid of task diversities and seeds trains at once. Stop it at any time and give the same
    command again to resume. Needs the extra: pip install 'rational_icl[train]'. On a cluster, each
    task diversity trains by itself; see `summarize --help` for how to start one.

    \b
        rational-icl train logs
        rational-icl train logs --setting regression --num-dims 4 --context-length 16 \\
            --set noise_variance=0.0156
        rational-icl train logs --scheduler tcp://node7:8786
    """
    from rational_icl.train import Grid, Recipe, train_grid, train_spread

    sizes = {"num_dims": num_dims, "context_length": context_length}
    world = setting_of(setting, sizes, further)
    grid = Grid(world, num_tasks, seeds, Recipe(**recipe))
    with cluster_of(scheduler, workers) as client:
        if client is None:
            train_grid(grid, out)
        else:
            train_spread(grid, out, client)
    click.echo(f"Log written in {out}")
