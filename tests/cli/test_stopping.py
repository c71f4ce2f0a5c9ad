"""A signal ends a command whatever Python is in the midst of, and undoes what is half-done."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from interrupting import SAY, lines_of, problem, run_command

BUSY = {
    "waiting": "time.sleep(60)",
    "Python": "while True: pass",
    "what swallows every error": """
while True:
    try:
        time.sleep(0.01)
    except BaseException:
        pass
""",
    "destructors": """
class Slow:
    def __del__(self):
        time.sleep(0.01)
while True:
    Slow()
""",
    "an import": """
sys.path.insert(0, os.getcwd())
import slow_to_import
""",
    "compiled code": """
import numpy as np
while True:
    np.linalg.svd(np.random.default_rng(0).standard_normal((700, 700)))
""",
    "a callback of compiled code": """
import functools
sorted(range(10**4), key=functools.cmp_to_key(lambda one, other: time.sleep(0.001) or 0))
""",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as pool:
    list(pool.map(time.sleep, [60] * 8))
""",
    "the end": "atexit.register(time.sleep, 60)",
    "the end, with a thread": "threading.Thread(target=time.sleep, args=(60,)).start()",
    "a progress bar": """
from tqdm import tqdm
for _ in tqdm(range(1000), mininterval=0):
    time.sleep(0.1)
""",
    "signals of a user's own": """
signal.signal(signal.SIGUSR1, lambda *_: None)
while True:
    os.kill(os.getpid(), signal.SIGUSR1)
""",
    "a wakeup of a user's own": """
reading, writing = os.pipe()
os.set_blocking(writing, False)
signal.set_wakeup_fd(writing)
time.sleep(60)
""",
    "code that lets no signal through": """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
time.sleep(60)
""",
}
IMPORTS = "import atexit, os, signal, sys, threading, time"


def loading(folder: Path, code: str) -> list[str]:
    """A command that says that it has begun, runs some code, prints its help and ends."""
    (folder / "slow_to_import.py").write_text("import time\nwhile True: time.sleep(0.01)\n")
    (folder / "mine.py").write_text(f"{IMPORTS}\n{SAY}\n{code}\n")
    return ["--load", "mine.py", "check", "--help"]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("busy", BUSY)
def test_an_interrupt_is_answered_at_once(busy: str, times: int, tmp_path: Path):
    words = loading(tmp_path, BUSY[busy])
    ended = run_command(words, tmp_path, 0.3, times=times, told=2)
    assert problem(ended) == ""
    assert lines_of(ended.stderr) == ["rational-icl: interrupted"]


@pytest.mark.parametrize(
    ("number", "word"),
    [("SIGINT", "interrupted"), ("SIGTERM", "terminated"), ("SIGHUP", "hung up")],
)
def test_each_signal_has_its_status(number: str, word: str, tmp_path: Path):
    sent = signal.Signals[number]
    words = loading(tmp_path, "time.sleep(60)")
    ended = run_command(words, tmp_path, 0.0, told=2, number=sent)
    assert ended.status == 128 + sent
    assert lines_of(ended.stderr) == [f"rational-icl: {word}"]


@pytest.mark.parametrize("number", ["SIGINT", "SIGHUP"])
def test_a_signal_that_was_to_be_ignored_is(number: str, tmp_path: Path):
    """As by `nohup`, and by a shell for what it starts in the background."""
    words = loading(tmp_path, "time.sleep(0.5)")
    sent = signal.Signals[number]
    ended = run_command(words, tmp_path, 0.0, told=2, number=sent, ignored=number)
    assert (ended.status, ended.stderr) == (0, "")


HALF_DONE = {
    "a file": """
from rational_icl._files import replacing
with replacing(Path("new.txt")) as path:
    path.write_text("half")
    WAIT
""",
    "files being moved": """
from rational_icl._files import moved
from rational_icl._staging import staging_folder
with staging_folder(Path("log"), ".importing", "an import") as staging:
    for name in "abc":
        (staging / name).touch()
    with moved([(staging / name, Path("log") / name) for name in "abc"]):
        WAIT
""",
    "a folder that a thread writes to": """
from rational_icl._staging import staging_folder
def write():
    for number in range(10**6):
        with contextlib.suppress(OSError):
            Path(f"deep/log/.importing/{number}").touch()
with staging_folder(Path("deep/log"), ".importing", "an import"):
    threading.Thread(target=write, daemon=True).start()
    WAIT
""",
    "a lock": """
from rational_icl._locks import Lock
lock = Lock(Path("lock"), "a test")
WAIT
""",
    "a lock without flock": """
import errno, fcntl
def refuse(*_):
    raise OSError(errno.ENOSYS, "no")
fcntl.flock = refuse
from rational_icl._locks import Lock
lock = Lock(Path("lock"), "a test")
WAIT
""",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("what", HALF_DONE)
def test_what_is_half_done_is_undone(what: str, number: signal.Signals, tmp_path: Path):
    code = HALF_DONE[what].replace("WAIT", f"{SAY}; time.sleep(60)")
    words = loading(tmp_path, f"import contextlib\nfrom pathlib import Path\n{code}")
    before = {path.name for path in tmp_path.iterdir()}
    ended = run_command(words, tmp_path, 0.1, told=3, number=number)
    assert problem(ended, status=128 + number) == ""
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == before


def test_what_can_go_on_is_said(tmp_path: Path):
    code = "from rational_icl._cleanup import resumable\nwith resumable('more words'):\n"
    words = loading(tmp_path, f"{code}    {SAY}; time.sleep(60)")
    ended = run_command(words, tmp_path, 0.0, told=3)
    assert lines_of(ended.stderr) == ["rational-icl: interrupted; more words"]


def test_the_library_leaves_signals_alone():
    code = "import signal, rational_icl.cli, rational_icl.__main__, rational_icl.cli.stopping"
    checks = "assert signal.getsignal(2) is signal.default_int_handler; "
    checks += "assert not signal.pthread_sigmask(signal.SIG_BLOCK, []); "
    checks += "assert signal.set_wakeup_fd(-1) == -1"
    subprocess.run([sys.executable, "-c", f"{code}; {checks}"], check=True)
