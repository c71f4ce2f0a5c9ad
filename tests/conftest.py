"""Fixtures shared by all tests, and what a worker compiles. Arrays and files are read-only."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Every test, and every command that a test starts, compiles into one folder and reads it from
# there afterwards; set before JAX is imported. `pytest --cache-clear` empties it.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax
import numpy as np
import posteriors
import pytest
from builders import urn_run, write_missing

from rational_icl.cells.records import Behaviour, Cells
from rational_icl.logs import store


@pytest.fixture(scope="module", autouse=True)
def released() -> Iterator[None]:
    """Compiled programs are let go after each file.

    A process may map 65,530 pieces of memory and no more: the programs of a few thousand tests end
    it with a segmentation fault.
    """
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def urn() -> dict[str, np.ndarray]:
    """The arrays of one run: 4 tasks, 4 symbols, 6 positions, steps 10, 20 and 40."""
    run = urn_run()
    for array in run.values():
        array.setflags(write=False)
    return run


@pytest.fixture(scope="session")
def urn_folder(urn: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`urn` as a finished folder `urn.zarr`; copy it before changing it."""
    folder = tmp_path_factory.mktemp("folder") / "urn.zarr"
    write_missing(folder, urn)
    return folder


@pytest.fixture(scope="session")
def urn_packed(urn: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`urn` as a packed file `urn.zarr.zip`; copy it before changing it."""
    folder = tmp_path_factory.mktemp("packed") / "urn.zarr"
    write_missing(folder, urn)
    return store.pack(folder)


@pytest.fixture(scope="session")
def small() -> tuple[Cells, Behaviour]:
    """Cells of a small posterior: four task diversities, two runs each, eight steps."""
    cells = posteriors.design()
    return cells, posteriors.noisy(cells, 1)


@pytest.fixture(scope="session")
def posterior(small: tuple[Cells, Behaviour]) -> Any:
    """Draws of the default model: 2 chains of 300 after 150 of warming up, seed 0. Read-only."""
    return posteriors.sampled(*small)
