"""The command that reduces a log to a file of cells, on one machine or many."""

from pathlib import Path
from typing import Any

import click

from rational_icl.cli.clusters import cluster_of, cluster_options
from rational_icl.cli.logs import main
from rational_icl.cli.options import LOGS, STRATEGIES, check_parent, plain_errors


@main.command()
@LOGS
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="File for the cells (NetCDF)."
)
@STRATEGIES
@cluster_options
@plain_errors
def summarize(logs: Path, out: Path, strategies: tuple[str, ...] | None, **where: Any) -> None:
    """Reduce a log to what fits need: one row a run and checkpoint, with statistics.

    The file takes the log's place in `fit` and `sample`, and `ri.load_cells` reads it. Give the
    same command again after an interruption: what was done is kept in OUT.parts until the file is
    there.

    \b
        rational-icl summarize logs --out cells.nc                     in this process
        rational-icl summarize logs --out cells.nc --workers 8         in 8 on this machine
        rational-icl summarize logs --out cells.nc --scheduler tcp://node7:8786
    \b
    A worker takes a run at a time, and reads it itself, under the same path. On SLURM:
        from dask_jobqueue import SLURMCluster
        cluster = SLURMCluster(cores=8, processes=8, memory="32GB", walltime="02:00:00")
        cluster.scale(jobs=10)
        print(cluster.scheduler_address)       and keep this Python running
    """
    check_parent(out)
    import rational_icl as ri

    log = ri.open_log(logs)
    with cluster_of(**where) as client:
        ri.summarize_to(log, out, strategies, client=client)
    click.echo(f"saved in {out}")
