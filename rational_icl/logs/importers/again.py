"""A sample of what was imported, beside the same rows read a second time by other code.

What the first reading got wrong without noticing (a library's fault, a wrong offset or order) is
found here, before an import succeeds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from rational_icl._errors import LogError
from rational_icl.logs import forms
from rational_icl.logs.run import Run

NUM_ROWS = 24
"""How many rows of each array are read a second time."""


@dataclass(frozen=True)
class Row:
    """One row of one array of a run, as its source says it.

    Args:
        array: its name in a log, such as `tasks` or `id/inputs`; predictions are `id/predictions`.
        at: which row: a task or sequence; of predictions a step and a sequence.
        values: what is there.
        form: of predictions, in the words of `logs.forms`; None: as people save them.
    """

    array: str
    at: tuple[int, ...]
    values: Any
    form: str | None = None


def some(count: int, rng: np.random.Generator, most: int = NUM_ROWS) -> list[int]:
    """A few of so many rows, in order: the first, the last and some drawn at random."""
    if count <= most:
        return list(range(count))
    return sorted({0, count - 1, *rng.choice(count, size=most - 2, replace=False).tolist()})


def compare(run: Run, rows: Iterable[Row], where: str) -> None:
    """Hold a sample of rows against what a run holds on disk.

    Raises:
        LogError: they differ by more than storing rounds them.
    """
    tables, logged = run.tables(), lru_cache(maxsize=4)(run.logged)
    for row in rows:
        split, _, kind = row.array.rpartition("/")
        if kind == "predictions":
            step, sequence = row.at
            held = logged(split, int(np.searchsorted(run.steps, step)))[sequence]
            expected = _logged(run, row)
            same = np.allclose(held, expected, **_rounding(run), equal_nan=True)
        else:
            held, expected = tables[row.array][row.at], np.asarray(row.values)
            same = np.array_equal(held, expected)
        if not same:
            raise LogError(_message(row, held, expected, where))


def _logged(run: Run, row: Row) -> np.ndarray:
    setting = run.setting
    form = forms.FORMS[row.form] if row.form else forms.saved_form(setting)
    logged = form.to_logged(setting, np.asarray(row.values, dtype=np.float64))
    return setting.outcome.read(setting.outcome.stored(logged))


def _rounding(run: Run) -> dict[str, float]:
    eps = 4 * float(np.finfo(run.setting.outcome.dtype).eps)
    return {"rtol": eps, "atol": eps}


def _message(row: Row, held: np.ndarray, expected: np.ndarray, where: str) -> str:
    differ = "shapes"
    if held.shape == expected.shape:
        worst = np.argmax(np.ravel(held != expected))
        differ = f"{np.ravel(held)[worst]:.6g} and {np.ravel(expected)[worst]:.6g}"
    place = ", ".join(map(str, row.at))
    return (
        f"{where}: {row.array} at {place} differ between two ways of reading them ({differ}), so "
        "nothing is imported; the file is damaged or misread: save it in another way, such as one "
        ".npz file a run"
    )


def places(num_steps: int, sequences: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """A sample of (index of a step, sequence), in order."""
    return [divmod(index, sequences) for index in some(num_steps * sequences, rng)]
