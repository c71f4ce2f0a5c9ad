"""Whole commands and calls against those of another checkout, as CPU seconds and peak memory.

    git worktree add ../before v0.5
    python analysis/benchmark_release.py ../before            # everything
    python analysis/benchmark_release.py ../before check fit  # rows whose names begin so

Both run in the same environment, in turn, each in a process of its own; `empty` rows start with an
empty compilation cache, `filled` ones with that of the row before. CPU seconds are user and system
time of the process and what it started, which other work on the machine changes less than seconds
of a clock. A ratio is this checkout's over the other's.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
COMMAND = "import sys; from rational_icl.cli import main; main(sys.argv[1:])"
TIMED = """
import json, time
{setup}
times = []
for _ in range({repeats}):
    start = time.process_time()
    {call}
    times.append(time.process_time() - start)
print(json.dumps(times))
"""
FIT = """
from pathlib import Path
import rational_icl as ri
cells, behaviour = ri.summarize({log!r}, progress=False) if hasattr(ri, "Posterior") else (
    ri.summarize(ri.open_log({log!r}), progress=False))
account = ri.accounts.Rational()
"""
URNS = """
import numpy as np, rational_icl as ri
from rational_icl import settings
setting = settings.make("categorical", num_dims=8, context_length=128)
rng = np.random.default_rng(0)
tasks = setting.draw_tasks(rng, {num_tasks})
"""
PREDICTED = URNS + "inputs = rng.integers(8, size=(500, 128))\n"
PROFILE = """
try:
    from rational_icl.strategies.losses import profile
except ImportError:
    from rational_icl.profiles import profile
"""
READ = """
import rational_icl as ri
log = ri.open_log({log!r})
"""


def commands(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Rows that are a command each: a name, and its words, with an output in `folder`."""
    urns, markov = str(HERE / "data" / "urns"), str(HERE / "data" / "markov")
    for state in ("empty", "filled"):
        yield f"report urns, {state}", ["report", urns, "--out", str(folder / f"report-{state}")]
    for state in ("empty", "filled"):
        words = ["compare", urns, "--quick", "--out", str(folder / f"compare-{state}")]
        yield f"compare urns --quick, {state}", words
    for state in ("empty", "filled"):
        words = ["summarize", markov, "--out", str(folder / f"markov-{state}.nc")]
        yield f"summarize markov, {state}", words
    yield "check urns, empty", ["check", urns]
    yield "help, filled", ["--help"]


def calls() -> Iterator[tuple[str, str, str, int]]:
    """Rows that are a call each: a name, what comes before, the call, and how often it is made.

    What is shown is the first time and the least of the others.
    """
    urns = str(HERE / "data" / "urns")
    fitted = "ri.fit(account, cells, behaviour)"
    yield "fit of 16 starts", FIT.format(log=urns), fitted, 4
    predicted = 'ri.predictions(setting, tasks, inputs, ("memorizing",))'
    for number in (4096, 65536):
        yield (
            f"memorizing predictor, D = {number:,}",
            PREDICTED.format(num_tasks=number),
            predicted,
            2,
        )
    lost = 'profile(setting, tasks, ("memorizing", "generalizing"), 0)'
    setup = URNS.format(num_tasks=131072) + PROFILE
    yield "losses, D = 131,072", setup, lost, 1
    for name, strategies in (("urns", 2), ("markov", 4)):
        setup = READ.format(log=str(HERE / "data" / name))
        yield (
            f"summarize {name}, {strategies} strategies",
            setup,
            "ri.summarize(log, progress=False)",
            2,
        )
    yield "import", "", "import rational_icl", 1


def measured(checkout: Path, words: list[str], cache: Path) -> tuple[dict[str, float], str]:
    """CPU seconds and peak memory of a Python process, and what it prints."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(checkout),
        "XDG_CACHE_HOME": str(cache),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", *words], env=environment, cwd=cache, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):  # 3: chains that have not converged
        raise SystemExit(f"{checkout}: {words[1:]} ended with {done.returncode}\n{done.stderr}")
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # the largest of all children so far: rows are measured in a process of their own
    return {"cpu_s": round(seconds, 2), "peak_mb": round(after.ru_maxrss / 1024)}, done.stdout


def row_of(kind: str, name: str, *details: object) -> dict[str, float]:
    """A row, of one checkout: see `commands` and `calls`."""
    checkout, cache = Path(str(details[0])), Path(str(details[1]))
    if kind == "command":
        return measured(checkout, [COMMAND, *map(str, details[2:])], cache)[0]
    setup, call, repeats = map(str, details[2:])
    text = TIMED.format(setup=setup, call=call, repeats=int(repeats))
    times = json.loads(measured(checkout, [text], cache)[1].splitlines()[-1])
    return {"first_cpu_s": round(times[0], 3), "cpu_s": round(min(times[1:] or times), 3)}


def in_own_process(*words: object) -> dict[str, float]:
    """Peak memory of children is the largest so far, so that every row has a parent of its own."""
    arguments = [sys.executable, __file__, "--row", json.dumps(list(map(str, words)))]
    done = subprocess.run(arguments, capture_output=True, text=True)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout)


def benchmark(other: Path, chosen: list[str]) -> dict[str, dict[str, object]]:
    table: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for side, checkout in (("this", HERE), ("other", other)):
            folder = Path(scratch) / side
            rows = [("command", name, words) for name, words in commands(folder)]
            rows += [("call", name, list(map(str, rest))) for name, *rest in calls()]
            for kind, name, details in rows:
                if chosen and not name.startswith(tuple(chosen)):
                    continue
                # rows of one command share a cache, which the first of them fills
                cache = folder / name.split(",")[0].replace(" ", "-")
                cache.mkdir(parents=True, exist_ok=True)
                print(f"{side}: {name} …", file=sys.stderr)
                row = in_own_process(kind, name, checkout, cache, *details)
                table.setdefault(name, {})[side] = row
    for sides in table.values():
        mine, others = (sides[side].get("cpu_s") for side in ("this", "other"))
        if mine is not None and others:
            sides["ratio"] = round(mine / others, 3)
    return table


if __name__ == "__main__":
    if sys.argv[1:2] == ["--row"]:
        print(json.dumps(row_of(*json.loads(sys.argv[2]))))
    elif len(sys.argv) > 1:
        print(json.dumps(benchmark(Path(sys.argv[1]).resolve(), sys.argv[2:]), indent=1))
    else:
        raise SystemExit(__doc__)
