"""Threads for work side by side: compiling and evaluating with JAX leave Python free."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


class _GivenUpError(Exception):
    """Ends a thread whose result nobody waits for."""


def in_threads(
    work: Callable[[Item, Callable[[], None]], Result], items: Sequence[Item]
) -> list[Result]:
    """Results of every item, in their order; not more at once than there are cores.

    Args:
        work: given an item, and a function to call between pieces of the work: it ends the thread
            once another has failed or the user has interrupted.
        items: at least one.
    """
    given_up = threading.Event()

    def proceed() -> None:
        if given_up.is_set():
            raise _GivenUpError

    with ThreadPoolExecutor(min(len(items), os.cpu_count() or 1)) as pool:
        futures = [pool.submit(work, item, proceed) for item in items]
        try:
            # whichever fails first, not the first in order
            for ended in wait(futures, return_when=FIRST_EXCEPTION).done:
                ended.result()
            return [future.result() for future in futures]
        except BaseException:  # an interrupt too should wait for nothing
            given_up.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def one_blas_thread() -> AbstractContextManager[Any]:
    """Matrices in one thread: where they are small, threads wait for each other longer than that.

    The setting is the process's; leaving the context restores it.
    """
    return _blas().limit(limits=1, user_api="blas")


@cache
def _blas() -> ThreadpoolController:
    """Looked up once, because that takes as long as several checkpoints."""
    return ThreadpoolController()
