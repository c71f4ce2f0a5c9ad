"""Reads mutated logs, many a process, and says of each what became of it.

    python tests/support/fuzzing.py FIRST COUNT

prints a JSON object: how many were refused, read as written, read as the file declares, or read
after a forgery; the slowest; the memory they took together; and what failed, by seed.
"""

import io
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mutations
import numpy as np
from mutations import Files
from worlds import saved_run

from rational_icl._errors import LogError
from rational_icl.logs import Run, import_npz, open_log
from rational_icl.logs import manifest as log_json
from rational_icl.settings import Categorical, Classification, Regression

SECONDS = 1.0  # of CPU: others may use the machine
HANG_SECONDS = 30
BYTES = 200 * 2**20
LAZILY = "as xarray"
_MEMORY = Path("/dev/shm")  # where folders are made and removed a hundred times as fast
_HALF = 3e-3  # of a probability stored as a half-precision logarithm


class Hang(BaseException):
    """A log kept its reader busy."""


def sound_runs() -> dict[str, dict[str, np.ndarray]]:
    """Small runs by name, with all that is optional in one or another."""

    def steps(values: np.ndarray) -> np.ndarray:
        return np.stack([values, values[::-1]])

    def even(tasks: np.ndarray, drawn: Any) -> np.ndarray:
        return np.full((2, len(drawn.inputs), 5, 4), 0.25)

    def last(tasks: np.ndarray, drawn: Any) -> np.ndarray:
        return steps(np.cumsum(drawn.inputs[..., -1:], axis=1))

    def labels(tasks: np.ndarray, drawn: Any) -> np.ndarray:
        return steps(np.full((len(drawn.inputs), 1, 2), [0.3, 0.7]))

    overrides = {"strategies": ["memorizing", "generalizing"], "loss": [0.5, 1.0]}
    return {
        "urns": saved_run(
            *(Categorical(4, 5), 3, 1, (10, 20), even),
            task_prob=[0.5, 0.25, 0.25],
            complexity=[4000.0, 3000.0],
            **overrides,
        ),
        "regression": saved_run(
            Regression(2, 4, 0.25, task_exponent=1.0), 5, 2, (1, 100), last, **{"factors.x": 0.5}
        ),
        "classification": saved_run(Classification(2, 3, 0.5), 9, 3, (7, 8), labels),
    }


def sound_logs(folder: Path) -> dict[tuple[str, str], Files]:
    """The files of the same logs, by run and form."""
    found = {}
    for name, run in sound_runs().items():
        npz = folder / name / "npz" / "run.npz"
        npz.parent.mkdir(parents=True)
        np.savez(npz, **run)
        packed = folder / name / "packed"
        import_npz([npz], packed)
        held = mutations.unzipped((packed / "run.zarr.zip").read_bytes())
        found[name, "folder"] = {f"run.zarr/{file}": content for file, content in held.items()}
        log_json.write(packed, {"by": "hand"})
        found[name, "packed"] = mutations.read(packed)
        found[name, "npz"] = mutations.read(npz.parent)
    return found


def mutated(seed: int, logs: dict[tuple[str, str], Files]) -> tuple[str, str, Files, bool]:
    """A damaged log: of which run, in which form, its files, and whether it is a forgery."""
    rng = np.random.default_rng([31, seed])
    name, form = mutations.one(rng, sorted(logs))
    files = dict(logs[name, form])
    if rng.integers(5):
        files.pop("log.json", None)  # which would notice most of it
    forged = form in mutations.FORGERIES and not rng.integers(4)
    mutation = mutations.one(rng, (mutations.FORGERIES if forged else mutations.ACCIDENTS)[form])
    files = mutation(rng, files)
    if not forged and not rng.integers(5) and any(isinstance(one, bytes) for one in files.values()):
        files = mutations.one(rng, mutations.BYTES)(rng, files)
    return name, form, files, forged


def numbers(run: Run, lazily: bool) -> dict[str, Any]:
    """All that a log says of a run."""
    run.validate()
    found: dict[str, Any] = {
        "metadata": run.metadata.to_attributes(),
        "tasks": run.tasks,
        "steps": run.steps,
        "task_prob": run.task_prob,
        "overrides": run.overrides,
        "splits": run.splits,
        **run.tables(),
    }
    for split in run.splits:
        for checkpoint in range(len(run.steps)):
            found[f"{split} {checkpoint}"] = run.predictions(split, checkpoint)
    if lazily:
        array = run.to_xarray("id")[run.setting.outcome.array]
        found[LAZILY] = {"values": np.asarray(array.values, np.float64), "axes": list(array.dims)}
    repr(run)
    return found


def read_log(folder: Path, form: str, lazily: bool = True) -> dict[str, Any]:
    """All that a mutated log says, imported first if need be; `lazily`: to xarray as well."""
    if form == "npz":
        paths = sorted(path for path in folder.iterdir())
        import_npz(paths, folder / "imported")
        folder = folder / "imported"
    log = open_log(folder)
    repr(log)
    json.dumps(log.provenance)
    log.verify_checksums()
    (run,) = log.values()
    return numbers(run, lazily)


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, dict) and isinstance(found, dict):
        return found.keys() == expected.keys() and all(same(found[k], expected[k]) for k in found)
    return np.array_equal(found, expected) and type(found) is type(expected)


def as_declared(found: dict[str, Any], content: bytes) -> bool:
    """Whether what was imported is what the file says."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    metadata = {
        **found["metadata"],
        **{f"factors.{k}": v for k, v in found["metadata"]["factors"].items()},
    }
    exact = {"steps": found["steps"], "ood_tasks": found["ood/tasks"], "tasks": found["tasks"]}
    for split in found["splits"]:
        exact |= {f"{split}_{kind}": found.get(f"{split}/{kind}") for kind in ("inputs", "targets")}
    for key, array in arrays.items():
        if key in metadata and array.reshape(-1).tolist() != [metadata[key]]:
            return False
        near = 1e-3 if key == "tasks" else 0  # rows of probabilities are normalised
        if exact.get(key) is not None and not np.allclose(exact[key], array, rtol=near, atol=0):
            return False
        if key.endswith("_predictions"):
            split = key.removesuffix("_predictions")
            read = np.stack([found[f"{split} {step}"] for step in range(len(found["steps"]))])
            if not np.allclose(read, array, rtol=2 * _HALF, atol=2 * _HALF):
                return False
    return True


def judged(read: Callable[[], dict[str, Any]], accept: Callable[[dict[str, Any]], str]) -> str:
    """What became of a log. Raises whatever must not happen."""
    try:
        found = read()
    except LogError as error:
        message = str(error)
        if not message.isprintable() or not ("run" in message or "log" in message):
            raise AssertionError(f"says little: {message}") from error
        if isinstance(error.__context__, MemoryError):
            raise AssertionError(f"too large: {message}") from error
        return "refused"
    return accept(found)


def acceptance(expected: dict[str, Any], form: str, files: Files, forged: bool) -> Callable:
    def accept(found: dict[str, Any]) -> str:
        if same({LAZILY: expected[LAZILY], **found}, expected):
            return "as written"
        if form == "npz" and as_declared(found, files["run.npz"]):  # pyright: ignore
            return "as declared"
        assert forged, f"silent: {[k for k in expected if not same(found.get(k), expected[k])]}"
        return "forged"

    return accept


def run_cases(first: int, count: int) -> dict[str, Any]:
    """Judge the logs of so many seeds."""
    outcomes, failures, slowest = Counter(), {}, 0.0
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        scratch = Path(folder)
        logs = sound_logs(scratch / "sound")
        expected = {}
        for (name, form), files in logs.items():
            mutations.write(files, scratch / "log")
            expected[name, form] = read_log(scratch / "log", form)
            shutil.rmtree(scratch / "log")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        limit_memory()
        signal.signal(signal.SIGALRM, _hang)
        for seed in range(first, first + count):
            name, form, files, forged = mutated(seed, logs)
            mutations.write(files, scratch / "log")
            lazily = seed % 5 == 0  # which takes as long as all else
            accept = acceptance(expected[name, form], form, files, forged)
            start = time.process_time()
            signal.alarm(HANG_SECONDS)
            try:
                outcomes[judged(partial(read_log, scratch / "log", form, lazily), accept)] += 1
            except (Exception, Hang) as error:
                failures[seed] = f"{name} {form} {error!r} {traceback.format_exc()[-1500:]}"
            signal.alarm(0)
            slowest = max(slowest, time.process_time() - start)
            shutil.rmtree(scratch / "log")
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    return {**outcomes, "slowest": slowest, "bytes": grown, "failures": failures}


def limit_memory() -> None:
    """Let what is allocated beyond reason fail."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    held = pages * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (held + 2**30, resource.RLIM_INFINITY))


def _hang(*_: Any) -> None:
    raise Hang


if __name__ == "__main__":
    warnings.simplefilter("error")
    print(json.dumps(run_cases(*map(int, sys.argv[1:])), indent=1))
