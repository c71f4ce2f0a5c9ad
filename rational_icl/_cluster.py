"""Work spread over the processes of a Dask cluster, on one machine or many.

Workers are sent functions of this package, paths and numbers, and open what they need themselves.
The list of what is left to do stays here, and no more is given out than workers can do at once:
Dask blames a worker's death on all tasks that wait there, not only on the one it was at. A worker
that dies costs the task it had, which another does again.
"""

import logging
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from rational_icl._errors import LogError
from rational_icl._progress import LOGGER

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

_CONNECT_S = 5
_LOOK_S = 10
"""How often to look for new workers while none has finished anything."""
_KEPT_BYTES = 2**28
"""What a worker started here may keep of memory that it has freed."""


class Task(NamedTuple):
    """A call of a function that workers can import.

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


def spread(client: "Client", tasks: Sequence[Task], done: Callable[[Task, Any], object]) -> None:
    """Do every task on the workers of a cluster.

    Args:
        client: of the cluster.
        tasks: what to do; the first are begun first.
        done: called here with every task and its result, in whatever order they end.

    Raises:
        LogError: that of a task, or a task keeps ending its worker, or the cluster is gone.
    """
    waiting, is_announced = deque(tasks), False
    running: dict[Future, Task] = {}
    try:
        while waiting or running:
            with _connected():
                threads: Any = client.nthreads()
                capacity = sum(threads.values())
                while waiting and len(running) < capacity:
                    task = waiting.popleft()
                    running[_submitted(client, task)] = task
            if not capacity and not is_announced:
                LOGGER.warning("no workers at the moment; waiting for some")
                is_announced = True
            for future in _ended(client, list(running)):
                task = running.pop(future)
                done(task, _result(future, task))
    finally:
        with suppress(Exception):  # a cluster that is gone has nothing left to cancel
            client.cancel(list(running), force=True)


def _submitted(client: "Client", task: Task) -> "Future":
    # a scheduler remembers how a key ended; and to whoever is free, because a task that is tied to
    # a worker waits for ever once that is gone
    key = f"{task.key}-{uuid.uuid4().hex}"
    return client.submit(task.work, *task.arguments, key=key, pure=False)


def _ended(client: "Client", running: "list[Future]") -> "list[Future]":
    """Those that have ended, once one has or it is time to look for new workers."""
    from distributed import wait

    if not running:
        time.sleep(1)
        return []
    with _connected(), client.as_current(), suppress(TimeoutError):
        wait(running, timeout=_LOOK_S, return_when="FIRST_COMPLETED")
    return [future for future in running if future.done()]


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
    """Client of a running Dask scheduler, or of workers started here for as long as it is used.

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
            address: Any = stack.enter_context(_local_cluster(workers))
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
            from rational_icl._workers import Loader

            client.register_plugin(Loader(load))
        yield client


def _local_cluster(workers: int | None) -> "LocalCluster":
    from dask import config
    from distributed import LocalCluster

    # Dask has workers hand all memory back at once; getting it again costs more than the sums
    key = "distributed.nanny.pre-spawn-environ"
    keep = dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), _KEPT_BYTES)
    with config.set({key: {**config.get(key), **keep}}), _semaphores_removed_in_silence():
        return LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )


@contextmanager
def _semaphores_removed_in_silence() -> Iterator[None]:
    """Python's resource tracker, if it is started within, does not warn of what it removes.

    It outlives a process that is ended by a signal, removes the semaphores of its workers, and
    would say so after the last line.
    """
    name = "PYTHONWARNINGS"
    before = os.environ.get(name)
    os.environ[name] = ",".join(filter(None, [before, "ignore:resource_tracker:UserWarning"]))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def _quiet(library: str) -> Iterator[None]:
    names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == library]
    loggers = [logging.getLogger(name) for name in names]  # each has a level of its own
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
