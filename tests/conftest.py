"""Fixtures shared by all tests: one small run, as arrays and as files. All are read-only."""

from pathlib import Path

import numpy as np
import pytest
from builders import urn_run, write_missing

from rational_icl.logs import store


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
