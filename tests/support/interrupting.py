"""Commands in a process of their own, interrupted at any moment, and what may be wrong with how
they end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

PACKAGE_ROOT = Path(__file__).parents[2]
START = """
import os, signal
from rational_icl.__main__ import run

def tell(*arguments):
    signal.pthread_sigmask = block
    block(*arguments)
    os.write(int(os.environ["STARTED"]), b".")

block, signal.pthread_sigmask = signal.pthread_sigmask, tell
for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # whatever the shell that started the tests ignores
    ignored = name in os.environ["IGNORED"]
    signal.signal(getattr(signal, name), signal.SIG_IGN if ignored else signal.SIG_DFL)
signal.alarm(900)  # should nobody be left to end it
run()
"""
"""What the console script does; it also says when its first instruction is done."""
SAY = 'import os; os.write(int(os.environ["STARTED"]), b".")'
LIMIT_S = 10.0
"""On a machine that others use too; alone it is a fraction of a second."""


class Ended(NamedTuple):
    """How an interrupted command ended.

    Args:
        status: its exit status, minus a signal's number if that ended it.
        stderr: what it said.
        answer: seconds from the signal to the end.
    """

    status: int
    stderr: str
    answer: float


def run_command(
    words: Sequence[object],
    folder: Path,
    after: float | None = None,
    *,
    times: int = 1,
    told: int = 1,
    ignored: str = "",
    number: signal.Signals = signal.SIGINT,
    root: Path = PACKAGE_ROOT,
    start: str = START,
) -> Ended:
    """Run a command in `folder`; send it a signal some seconds after its start unless it has ended.

    It is a process group of its own, and all of it is sent the signal, as by a terminal. The start
    is when it has said so as often as `told`; files that it runs may say so with `SAY`.
    """
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONSAFEPATH": "1"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # compilation is to be interrupted, too
    started, starting = os.pipe()
    environment |= {"STARTED": str(starting), "IGNORED": ignored}
    process = subprocess.Popen(
        [sys.executable, "-c", start, *map(str, words)],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        pass_fds=[starting],
    )
    os.close(starting)
    for _ in range(told):
        os.read(started, 1)
    os.close(started)
    sent = None
    try:
        try:
            _, stderr = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            sent = time.monotonic()
            for _ in range(times):
                os.killpg(process.pid, number)
            _, stderr = process.communicate(timeout=LIMIT_S + 60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    answer = 0.0 if sent is None else time.monotonic() - sent
    return Ended(process.returncode, stderr.decode(), answer)


def lines_of(stderr: str) -> list[str]:
    """What was said besides progress bars and notes."""
    lines = [line.rsplit("\r", 1)[-1] for line in stderr.split("\n") if "\r" not in line]
    return [line for line in lines if line.strip() and not line.startswith("note: ")]


def problem(ended: Ended, status: int = 130, finished: Collection[int] = (0,)) -> str:
    """What is wrong with how an interrupted command ended; empty if nothing is."""
    # a sampler says after each piece of draws how its chains fare: progress, like its bars
    lines = [line for line in lines_of(ended.stderr) if not line.startswith("target acceptance ")]
    for word in ("Traceback", "Fatal Python error", "Exception ignored", "leaked"):
        if word in ended.stderr:
            return f"{word}, status {ended.status}: {ended.stderr[-300:]!r}"
    if ended.answer > LIMIT_S:
        return f"answered after {ended.answer:.1f} s, status {ended.status}"
    if ended.status in finished:
        return ""
    if ended.status != status:
        return f"status {ended.status}: {ended.stderr[-300:]!r}"
    if len(lines) != 1 or not lines[0].startswith("rational-icl: "):
        return f"said {lines}"
    return "" if ended.stderr.endswith("\n") else "left the terminal in the midst of a line"
