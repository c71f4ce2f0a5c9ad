"""One small posterior for all tests of this folder. Read-only."""

from typing import Any

import pytest
from posteriors import design, noisy, sampled

from rational_icl.cells.records import Behaviour, Cells


@pytest.fixture(scope="session")
def small() -> tuple[Cells, Behaviour]:
    """What it is of: four task diversities, two runs each, eight steps."""
    cells = design()
    return cells, noisy(cells, 1)


@pytest.fixture(scope="session")
def posterior(small: tuple[Cells, Behaviour]) -> Any:
    """Of the default model, 2 chains of 300 draws after 150 of warming up, seed 0."""
    return sampled(*small)
