"""The logs in `data/`: whole, small enough for git, made as they say, showing the phenomenon."""

from pathlib import Path

import numpy as np
import pytest

from rational_icl import Log, open_log
from rational_icl.cells.summarize import summarize_run
from rational_icl.logs import schema
from rational_icl.settings import draws

FOLDER = Path(__file__).parents[2] / "data" / "urns"
MEGABYTE = 1e6


@pytest.fixture(scope="module")
def log() -> Log:
    return open_log(FOLDER)


def last_relative_distance(log: Log, name: str) -> float:
    _, behaviour = summarize_run(log[name], ("memorizing", "generalizing"))
    return float(behaviour.splits["id"].relative_distance[-1])


def test_checksums_and_size(log):
    log.verify_checksums()
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert len(files) <= 300
    assert sum(path.stat().st_size for path in files) <= 50 * MEGABYTE


def test_the_grid_is_complete(log):
    cells = {(run.metadata.num_tasks, run.metadata.seed) for run in log.values()}
    assert cells == {(diversity, seed) for diversity in 2 ** np.arange(2, 10) for seed in range(3)}
    for run in log.values():
        assert run.steps[0] == 20
        assert run.steps[-1] >= 4000
        assert len(run.steps) >= 24
        assert run.setting.num_dims == 8
        assert run.setting.context_length >= 64
        assert run.metadata.batch_size == 64
        assert run.metadata.factors["learning_rate"] == 5e-4
        assert min(len(run.inputs(split)) for split in schema.SPLITS) >= 32


def test_tasks_and_sequences_are_functions_of_the_seed(log):
    for run in log.values():
        meta, sizes = run.metadata, [len(run.inputs(split)) for split in schema.SPLITS]
        drawn = draws.evaluation_data(run.setting, meta.num_tasks, meta.seed, *sizes)
        np.testing.assert_allclose(run.tasks, drawn.tasks, rtol=1e-12)
        assert set(run.splits) == set(drawn.splits) == set(schema.SPLITS)
        for split in schema.SPLITS:
            np.testing.assert_array_equal(run.inputs(split), drawn.splits[split].inputs)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_small_task_diversity_memorizes_and_large_generalizes(log, seed):
    assert last_relative_distance(log, f"D4-s{seed}") > 0.9
    assert last_relative_distance(log, f"D512-s{seed}") < 0.25


def test_some_task_diversity_crosses_in_between(log):
    _, behaviour = summarize_run(log["D32-s0"], ("memorizing", "generalizing"))
    distance = behaviour.splits["id"].relative_distance
    assert distance[:8].max() < 0.45
    assert distance[-1] > 0.55
