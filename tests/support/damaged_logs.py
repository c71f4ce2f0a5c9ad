"""Small logs, each made wrong in one known way, from a shipped log and by public functions only."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

import rational_icl as ri

DATA = Path(__file__).parent.parent.parent / "data"
Arrays = dict[str, np.ndarray]
_SPLITS = ("id", "ood")
_CHECKPOINTS = (0, 14, 27)


def arrays_of(run: str) -> Arrays:
    """Three checkpoints of a run of balls and urns, as `np.savez` wants them."""
    read = ri.open_log(DATA / "urns")[run]
    held = {name: read.to_xarray(name) for name in _SPLITS}
    facts = held["id"].attrs
    sizes = ("num_tasks", "num_dims", "context_length", "batch_size", "seed")
    found = {name: np.array(facts[name]) for name in ("setting", *sizes)}
    found["steps"] = np.asarray(read.steps)[list(_CHECKPOINTS)]
    found["tasks"] = np.asarray(read.tasks)
    rng = np.random.default_rng(3)
    found["ood_tasks"] = read.setting.draw_tasks(rng, 32)
    for name, one in held.items():
        wide = np.exp(one["log_prob"].to_numpy()[list(_CHECKPOINTS)].astype(np.float64))
        found[f"{name}_predictions"] = wide / wide.sum(axis=-1, keepdims=True)
        found[f"{name}_inputs"] = one["inputs"].to_numpy()
    read.close()
    return found


def save(folder: Path, **runs: Arrays) -> Path:
    """A log of some runs."""
    for name, arrays in runs.items():
        np.savez(folder / f"{name}.npz", **arrays)
    ri.import_npz([folder / f"{name}.npz" for name in runs], folder / "log")
    return folder / "log"


def _one(change: Callable[[Arrays], None]) -> Callable[[Path], Path]:
    """A log of one run, changed."""

    def make(folder: Path) -> Path:
        run = arrays_of("D16-s0")
        change(run)
        return save(folder, a=run)

    return make


def _repeated(run: Arrays) -> None:
    for name in _SPLITS:
        run[f"{name}_predictions"][1] = run[f"{name}_predictions"][2]


def _shifted(run: Arrays) -> None:
    for name in _SPLITS:
        run[f"{name}_predictions"] = np.roll(run[f"{name}_predictions"], -1, axis=2)


def _seen(run: Arrays) -> None:
    for name in _SPLITS:
        came = np.eye(8)[run[f"{name}_inputs"]]
        run[f"{name}_predictions"] = 0.6 * run[f"{name}_predictions"] + 0.4 * came


def _swapped(run: Arrays) -> None:
    for kind in ("inputs", "predictions"):
        one, other = f"id_{kind}", f"ood_{kind}"
        run[one], run[other] = run[other], run[one]


def _foreign_tasks(run: Arrays) -> None:
    run["tasks"] = arrays_of("D16-s1")["tasks"]


def _ruled_out(run: Arrays) -> None:
    came = run["id_inputs"][3, 5]
    run["id_predictions"][2, 3, 5] = np.where(np.arange(8) == came, 0.0, 1 / 7)
    run["ood_predictions"][1, 0, 0] = np.eye(8)[run["ood_inputs"][0, 0]]


def _shuffled(run: Arrays) -> None:
    run["id_predictions"] = np.roll(run["id_predictions"], 1, axis=1)


def _nothing(run: Arrays) -> None:
    """As it was logged."""


def _twice(folder: Path) -> Path:
    log = save(folder, a=arrays_of("D16-s0"), b=arrays_of("D16-s1"))
    shutil.copy(log / "a.zarr.zip", log / "c.zarr.zip")
    return log


def _another_seed(folder: Path) -> Path:
    run = arrays_of("D16-s0")
    return save(folder, a=run, b={**run, "seed": np.array(7)})


def _conditions(folder: Path) -> Path:
    other = {**arrays_of("D16-s1"), "batch_size": np.array(8)}
    return save(folder, a=arrays_of("D16-s0"), b=other)


def _uneven(folder: Path) -> Path:
    names = ("D16-s0", "D16-s1", "D32-s0", "D32-s1")
    runs = {name: arrays_of(name) for name in names[:3]}
    for key in ("steps", "id_predictions", "ood_predictions"):
        runs["D32-s0"][key] = runs["D32-s0"][key][:2]
    return save(folder, **runs)


def _broken_files(folder: Path) -> Path:
    names = {"a": "D16-s0", "b": "D16-s1", "c": "D32-s0", "d": "D32-s1"}
    log = save(folder, **{name: arrays_of(run) for name, run in names.items()})
    for name, after in (("a", b"id/log_prob/c/1"), ("b", b"tasks/c/0")):
        path = log / f"{name}.zarr.zip"
        content = bytearray(path.read_bytes())
        content[content.index(after) + 100] ^= 1
        path.write_bytes(content)
    (log / "c.zarr.zip").write_bytes(b"no archive")
    return log


def _missing_file(folder: Path) -> Path:
    """Copied runs of a shipped log, of which one listed in its log.json is not there."""
    log = folder / "log"
    log.mkdir()
    for name in ("log.json", "D16-s0.zarr.zip", "D16-s1.zarr.zip"):
        shutil.copy(DATA / "urns_mlp_8" / name, log)
    return log


DAMAGED: dict[str, Callable[[Path], Path]] = {
    "none": _one(_nothing),
    "repeated checkpoint": _one(_repeated),
    "shifted by a position": _one(_shifted),
    "outcome seen": _one(_seen),
    "splits swapped": _one(_swapped),
    "tasks of another run": _one(_foreign_tasks),
    "outcomes ruled out": _one(_ruled_out),
    "sequences shuffled": _one(_shuffled),
    "run twice": _twice,
    "run under another seed": _another_seed,
    "several conditions": _conditions,
    "seeds and steps missing": _uneven,
    "broken files": _broken_files,
    "listed files missing": _missing_file,
}
"""By the damage: a function that makes the log in an empty folder, and says where it is."""
