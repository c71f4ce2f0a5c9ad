"""The other logs in `data/`: made as they say, from their seeds, and showing both strategies."""

import re
from pathlib import Path

import numpy as np
import pytest

from rational_icl import Log, open_log
from rational_icl.cells.summarize import summarize_run
from rational_icl.settings import draws

DATA = Path(__file__).parents[2] / "data"
MEGABYTE = 1e6
NAMES = ("classification", "markov", "regression")


@pytest.fixture(scope="module", params=NAMES)
def log(request: pytest.FixtureRequest) -> Log:
    return open_log(DATA / request.param)


def by_diversity(log: Log, split: str) -> dict[int, float]:
    """Relative distance at the last checkpoint, averaged over seeds."""
    found: dict[int, list[float]] = {}
    for run in log.values():
        names = run.setting.strategies[:2]
        value = summarize_run(run, names)[1].splits[split].relative_distance[-1]
        found.setdefault(run.metadata.num_tasks, []).append(float(value))
    return {diversity: float(np.mean(values)) for diversity, values in found.items()}


def test_checksums_and_size(log):
    log.verify_checksums()
    files = [path for path in log.path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 30 * MEGABYTE
    assert all(run.setting.name == log.path.name for run in log.values())


def test_tasks_and_sequences_are_functions_of_the_seed(log):
    for run in log.values():
        meta, sizes = run.metadata, [len(run.inputs(split)) for split in ("id", "ood")]
        drawn = draws.evaluation_data(run.setting, meta.num_tasks, meta.seed, *sizes)
        np.testing.assert_allclose(run.tasks, drawn.tasks, rtol=1e-12)
        for split in run.splits:
            np.testing.assert_array_equal(run.inputs(split), drawn.splits[split].inputs)


def test_the_command_is_in_the_readme(log):
    told = re.sub(r"\s*\\?\n\s*", " ", (log.path / "README.md").read_text())
    command = log.provenance["command"].replace(" OUT ", f" data/{log.path.name} ")
    assert command in told


@pytest.mark.full
def test_few_tasks_are_nearer_memorizing_and_many_nearer_generalizing(log):
    distance = by_diversity(log, "id")
    assert distance[min(distance)] > 0.5
    assert distance[max(distance)] < 0.25
