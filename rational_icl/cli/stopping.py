"""Ctrl-C ends a command at any moment: nothing half-written, one line, exit status 130.

Python's own way, `KeyboardInterrupt` wherever the main thread happens to be, is swallowed or
crashes the interpreter where that is a callback of compiled code, an import or a destructor, and
waits for as long as compiled code runs. Here the main thread only halts. A thread that waits for
signals undoes what is half-written (`_cleanup`), says so and ends the process, without exit
handlers and without waiting for other threads. SIGTERM and SIGHUP do the same.
"""

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rational_icl import _cleanup

_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}
_HALT_S = 0.5
"""How long the main thread may take to halt; compiled code, which writes no files, takes longer."""
_LAST_WRITES_S = 0.05
"""How long threads that write for the main thread, such as Zarr's, are given to end that."""


def answer_signals() -> None:
    """Have signals end the process; those that arrived earlier and were blocked, at once.

    Signals that the process was started to ignore, as by `nohup`, stay ignored.
    """
    numbers = [getattr(signal, name) for name in _WORDS if hasattr(signal, name)]
    answered = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    reading, writing = os.pipe()
    if os.name == "posix":
        os.set_blocking(writing, False)
    halted: list[int] = []  # a lock could be held by what a signal cuts in two

    def halt(number: int, frame: Any) -> None:
        """Keeps the main thread from doing anything more."""
        halted.append(number)
        os.write(writing, bytes([number]))  # should somebody else have taken the wakeup
        while True:
            time.sleep(60)

    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    for number in answered:
        signal.signal(number, halt)
    # runs last of all exit handlers; what is left of the end is short, and no thread could answer
    atexit.register(_ignore, answered)
    threading.Thread(target=_wait, args=(reading, numbers, halted), daemon=True).start()
    _let_through(numbers)


@contextmanager
def unheard_by_children() -> Iterator[None]:
    """Context in which processes started, also by its threads, do not hear of Ctrl-C.

    A terminal sends it to all, and those that are still starting would print tracebacks.
    """
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        _let_through([signal.SIGINT])


def _let_through(numbers: Sequence[int]) -> None:
    if os.name == "posix":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _ignore(numbers: Sequence[int]) -> None:
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def _wait(reading: int, numbers: Sequence[int], halted: Sequence[int]) -> None:
    """Ends the process once a signal has come."""
    _let_through(numbers)  # here too, for when the main thread lets none through
    while (number := os.read(reading, 1)[0]) not in numbers:
        pass  # some other signal that a user's own file handles
    try:
        latest = time.monotonic() + _HALT_S
        while not halted and time.monotonic() < latest:
            time.sleep(0.005)
        time.sleep(_LAST_WRITES_S)
        _cleanup.clean_up()
        words = f"rational-icl: {_WORDS[signal.Signals(number).name]}"
        if _cleanup.advice():
            words += f"; {_cleanup.advice()}"
        # past Python's buffers, whose locks the main thread may hold
        os.write(2, f"{_line_end()}{words}\n".encode())
    finally:
        os._exit(128 + number)


def _line_end() -> str:
    """Ends the line that a progress bar stands on."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    return "\n" if len(getattr(tqdm, "_instances", ())) else ""
