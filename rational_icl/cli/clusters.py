"""Options and clients of clusters, for commands that may work on several machines."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from rational_icl._errors import LogError
from rational_icl.cli.stopping import unheard_by_children


def cluster_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options `--scheduler` and `--workers`."""
    scheduler = click.option(
        "--scheduler", help="Address of a running Dask scheduler, such as tcp://node7:8786."
    )
    workers = click.option(
        "--workers", type=click.IntRange(1), help="Processes to start on this machine instead."
    )
    return scheduler(workers(command))


@contextmanager
def cluster_of(scheduler: str | None, workers: int | None) -> Iterator[Any]:
    """Client of the cluster that the options ask for; None where they ask for none.

    Raises:
        LogError: both are asked for; see also `ri.cluster`.
    """
    if scheduler and workers:
        raise LogError("--scheduler and --workers: give one of them")
    if not scheduler and not workers:
        yield None
        return
    from rational_icl._cluster import cluster

    files: tuple[Path, ...] = click.get_current_context().find_root().params.get("load", ())
    with ExitStack() as stack:
        with unheard_by_children():
            started = cluster(scheduler, workers, [str(path.resolve()) for path in files])
            client = stack.enter_context(started)
        yield client
