"""Work spread over the processes of a Dask cluster, on one machine or many.

Workers are sent functions of this package, paths and numbers, and open what they need themselves.
The list of what is left to do stays here: a worker is given the next task of the group that it is
in the middle of, so that what a group's tasks share is worked out by one worker, and takes from
another's group when there is no fresh one. A worker that dies costs the tasks it had, which others
do again.
"""

import logging
import runpy
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from tqdm import tqdm

from rational_icl._errors import LogError

if TYPE_CHECKING:
    from distributed import Client, Future

_CONNECT_S = 5
_LOOK_S = 10
"""How often to look for new workers while none has finished anything."""


class Task(NamedTuple):
    """One call of a function that workers can import.

    Args:
        key: tells it from the others.
        words: what it is, for errors.
        work: the function.
        arguments: paths, words and numbers.
    """

    key: str
    words: str
    work: Callable[..., Any]
    arguments: tuple[Any, ...]


class _Queue:
    """What is left to do, group by group."""

    def __init__(self, groups: Sequence[Sequence[Task]]):
        self._fresh = deque(deque(group) for group in groups if group)
        self._of: dict[str, deque[Task]] = {}

    def take(self, worker: str) -> Task | None:
        """What this worker should do next, or None when all is given out."""
        own = self._of.get(worker)
        if not own and self._fresh:
            own = self._of[worker] = self._fresh.popleft()
        if own:
            return own.popleft()
        longest = max(self._of.values(), key=len, default=None)
        return longest.pop() if longest else None


def spread(
    client: "Client", groups: Sequence[Sequence[Task]], done: Callable[[Task, Any], None]
) -> None:
    """Do every task on the workers of a cluster.

    Args:
        client: of the cluster.
        groups: tasks that share something; each group is one worker's for as long as others have
            enough to do.
        done: called here with every task and its result, in whatever order they end.

    Raises:
        LogError: that of a task, or a task keeps ending its worker, or the cluster is gone.
    """
    queue, told = _Queue(groups), False
    flying: dict[Future, tuple[Task, str]] = {}
    try:
        while True:
            with _connected():
                workers: Any = client.nthreads()
                _submit(client, queue, flying, workers)
            if workers and not flying:
                return
            if not workers and not told:
                tqdm.write("no workers at the moment; waiting for some", file=sys.stderr)
                told = True
            for future in _ended(client, list(flying)):
                task, _ = flying.pop(future)
                done(task, _result(future, task))
    finally:
        with suppress(Exception):  # a cluster that is gone has nothing left to cancel
            client.cancel(list(flying), force=True)


def _submit(
    client: "Client",
    queue: _Queue,
    flying: "dict[Future, tuple[Task, str]]",
    workers: dict[str, int],
) -> None:
    """Give every worker as much as it can do at once, and one task more to go on with."""
    for worker, threads in workers.items():
        busy = sum(given == worker for _, given in flying.values())
        for _ in range(threads + 1 - busy):
            task = queue.take(worker)
            if task is None:
                return
            future = client.submit(
                task.work,
                *task.arguments,
                key=task.key,
                workers=[worker],
                allow_other_workers=True,  # once this one is gone
                pure=False,
            )
            flying[future] = task, worker


def _ended(client: "Client", flying: "list[Future]") -> "list[Future]":
    """Those that have ended, once one has or it is time to look for new workers."""
    from distributed import wait

    if not flying:
        time.sleep(1)
        return []
    with _connected(), client.as_current(), suppress(TimeoutError):
        wait(flying, timeout=_LOOK_S, return_when="FIRST_COMPLETED")
    return [one for one in flying if one.done()]


def _result(future: "Future", task: Task) -> Any:
    from distributed import KilledWorker

    try:
        if future.status != "error":
            with _connected():
                return future.result()
        return future.result()
    except KilledWorker:
        raise LogError(
            f"{task.words}: every worker that tried it was ended; give workers more memory, or "
            "look at what they printed"
        ) from None
    except (ImportError, OSError, MemoryError) as error:
        raise LogError(f"{task.words}: a worker failed ({type(error).__name__}: {error})") from None


@contextmanager
def _connected() -> Iterator[None]:
    """Says in words that a scheduler has gone."""
    from distributed import CancelledError

    try:
        yield
    except (CancelledError, OSError) as error:
        raise LogError(
            f"the cluster is gone ({type(error).__name__}); give the same command again, which "
            "goes on from what is done"
        ) from None


@contextmanager
def cluster(
    scheduler: str | None = None, workers: int | None = None, load: Sequence[str] = ()
) -> Iterator["Client"]:
    """A client of a running Dask scheduler, or of workers started here for as long as it is used.

    Args:
        scheduler: its address, such as tcp://node7:8786.
        workers: how many processes to start on this machine instead.
        load: Python files that every worker runs first, which register settings of your own.

    Raises:
        LogError: Dask is not installed, or no scheduler answers.
    """
    try:
        import distributed
    except ImportError:
        raise LogError(
            "a cluster needs Dask; install it with pip install 'rational_icl[distributed]'"
        ) from None
    # what a cluster says of workers that come and go is not for this command's user
    with _quiet("distributed"), ExitStack() as stack:
        if scheduler is None:
            address: Any = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=None,  # pyright: ignore[reportArgumentType]
                    silence_logs=logging.CRITICAL,
                )
            )
        else:
            address = scheduler
        try:
            client = stack.enter_context(
                distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
            )
        except (OSError, ValueError, TypeError) as error:
            raise LogError(
                f"{scheduler}: no Dask scheduler answers there ({type(error).__name__}); start one "
                "with `dask scheduler`, or give --workers N to use this machine alone"
            ) from None
        if load:
            client.register_plugin(_loader(load))
        yield client


def _loader(files: Sequence[str]) -> Any:
    from distributed import WorkerPlugin

    class Loader(WorkerPlugin):
        """Runs files in every worker, those that come later too."""

        name = "rational_icl-load"

        def setup(self, worker: Any) -> None:
            for path in files:
                runpy.run_path(path, run_name="rational_icl_loaded")

    return Loader()


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)
