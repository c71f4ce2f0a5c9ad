"""Task tables stored in any type count as those of float64, and others are left as they are.

Tolerances. LZMA's size of the same float64 table varies by up to 2.5 % with the last 29 bits of its
numbers (measured on 64 to 256 tasks), so single tables agree to ONE and means over several to MEAN.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from builders import save_npz
from worlds import saved_run

from rational_icl import accounts, open_log, summarize
from rational_icl.checks import inspect_log
from rational_icl.fitting.fits import fit
from rational_icl.fitting.holdout import Regions
from rational_icl.logs import import_npz
from rational_icl.prediction.crossovers import crossovers
from rational_icl.settings import Categorical, Classification, Markov, Regression, Setting
from rational_icl.strategies.complexity import table_bits
from rational_icl.strategies.precision import NARROW, precision, unrounded
from rational_icl.strategies.predictors import strategy_predictions

ONE = 0.03
MEAN = 0.005
SETTINGS = {
    "urns": Categorical(8, 16),
    "regression": Regression(8, 8, 0.1),
    "classification": Classification(16, 8, 0.5),
    "markov": Markov(6, 16),
}
TYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": jnp.bfloat16}
AFTERWARDS = ("as stored", "normalised again", "normalised in float32")

every_setting = pytest.mark.parametrize("name", SETTINGS)
every_type = pytest.mark.parametrize("kind", TYPES)


def drawn(setting: Setting, num_tasks: int, seed: int = 0) -> np.ndarray:
    return setting.draw_tasks(np.random.default_rng([seed, num_tasks]), num_tasks)


def stored(tasks: np.ndarray, kind: str, afterwards: str = "as stored") -> np.ndarray:
    """What is read as float64 of tasks that were stored in a type."""
    wide = tasks.astype(TYPES[kind]).astype(np.float64)
    if afterwards != "as stored":
        wide = wide / wide.sum(axis=-1, keepdims=True)
    return wide.astype(np.float32).astype(float) if "float32" in afterwards else wide


@every_type
@every_setting
def test_bits_are_those_of_float64(name: str, kind: str):
    setting, ratios = SETTINGS[name], []
    for num_tasks in (4, 16, 64, 256):
        for seed in range(3):
            tasks = drawn(setting, num_tasks, seed)
            rounded = stored(tasks, kind)
            assert precision(rounded) == kind
            ratios.append(table_bits(rounded) / table_bits(tasks))
            assert abs(ratios[-1] - 1) < ONE
    assert abs(np.mean(ratios) - 1) < MEAN


@pytest.mark.parametrize("afterwards", AFTERWARDS[1:])
@every_type
@pytest.mark.parametrize("name", ["urns", "markov"])
def test_rows_that_were_normalised_again_are_recognised(name: str, kind: str, afterwards: str):
    setting, ratios = SETTINGS[name], []
    for num_tasks in (2, 4, 64, 256):
        tasks = drawn(setting, num_tasks, 3)
        rounded = stored(tasks, kind, afterwards)
        assert precision(rounded) == kind
        np.testing.assert_allclose(unrounded(rounded).sum(axis=-1), 1, rtol=1e-14)
        ratios.append(table_bits(rounded) / table_bits(tasks))
        assert abs(ratios[-1] - 1) < ONE
    assert abs(np.mean(ratios) - 1) < 2 * MEAN


@every_setting
def test_numbers_that_were_never_rounded_stay_to_the_bit(name: str):
    for num_tasks in (1, 2, 4, 64):
        tasks = drawn(SETTINGS[name], num_tasks, 4)
        assert precision(tasks) == "float64"
        np.testing.assert_array_equal(unrounded(tasks), tasks)
        again = SETTINGS[name].normalised_tasks(tasks)
        np.testing.assert_array_equal(unrounded(again), again)


STRUCTURED = {
    "halves": np.tile([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]], (40, 1)),
    "one_hot": np.eye(8)[np.arange(64) % 8],
    "uniform": np.full((64, 3), 1 / 3),
    "sixths": np.tile([[1 / 6, 1 / 3, 1 / 2], [1 / 2, 1 / 6, 1 / 3]], (30, 1)),
    "permuted": np.array([np.roll([0.1, 0.2, 0.3, 0.4], shift) for shift in range(40)]),
    "counts": np.random.default_rng(6).multinomial(256, np.full(8, 1 / 8), size=64) / 256,
    "constant": np.full((100, 4), 0.7),
}


@pytest.mark.parametrize("kind", ["float64", *TYPES])
@pytest.mark.parametrize("name", STRUCTURED)
def test_tables_with_a_structure_of_their_own_stay(name: str, kind: str):
    table = STRUCTURED[name]
    table = table if kind == "float64" else stored(table, kind)
    np.testing.assert_array_equal(unrounded(table), table)
    assert precision(table) != kind or kind == "float64"


@every_type
@every_setting
def test_what_is_drawn_again_rounds_to_what_was_stored(name: str, kind: str):
    """And zeros and labels are left alone, copies of a task are copies, calls are equal."""
    tasks = drawn(SETTINGS[name], 20, 7)
    tasks = np.concatenate([tasks, tasks[:10]])
    if name == "urns":
        tasks[:, 2] = 0
    rounded = stored(tasks, kind)
    complete = unrounded(rounded)
    again = complete.astype(TYPES[kind]).astype(float)
    if name in ("urns", "markov") and kind == "float32" and abs(rounded.sum(-1) - 1).max() < 1e-6:
        np.testing.assert_allclose(complete, rounded, rtol=2e-7)  # made to sum to one afterwards
    else:
        np.testing.assert_array_equal(again, rounded)
    np.testing.assert_array_equal(complete[20:], complete[:10])
    np.testing.assert_array_equal(complete == 0, rounded == 0)
    np.testing.assert_array_equal(complete, unrounded(rounded))
    assert (complete != rounded).mean() > 0.5
    if name == "classification":
        np.testing.assert_array_equal(complete[:, -1], tasks[:, -1])


@every_type
def test_subnormal_numbers_of_a_type_are_completed_within_its_spacing(kind: str):
    (of_type,) = [one for one in NARROW if one.name == kind]
    small = np.random.default_rng(8).random((50, 4)) * 40 * 2.0**of_type.least
    rounded = stored(small, kind)
    assert precision(rounded) == kind
    assert np.abs(unrounded(rounded) - rounded).max() <= 2.0 ** (of_type.least - 1)


@every_type
def test_a_learner_that_stores_float32_costs_the_same_whatever_was_stored(kind: str):
    tasks = drawn(SETTINGS["regression"], 128, 9)
    expected = table_bits(tasks, np.float32)
    assert table_bits(stored(tasks, kind), np.float32) == pytest.approx(expected, rel=ONE)
    assert expected < table_bits(tasks) - 20 * tasks.size


# --- whole logs ------------------------------------------------------------------------------

STEPS = (20, 60, 200, 600, 2000, 6000)


def run_of(num_tasks: int, dtype: type | None) -> dict[str, np.ndarray]:
    """Regression, because its tasks are not normalised when they are read."""
    setting = Regression(4, 8, 0.25)

    def transformer(tasks: np.ndarray, given) -> np.ndarray:
        exact = strategy_predictions(setting, tasks, given.inputs, setting.strategies[:2])
        first = 1 / (1 + np.exp(-np.log(np.array(STEPS) / (25 * num_tasks))))
        return np.tensordot(np.stack([first, 1 - first], axis=1), exact, axes=1)

    run = saved_run(setting, num_tasks, 0, STEPS, transformer, num_sequences=16)
    if dtype is not None:
        run["tasks"] = run["tasks"].astype(dtype)
    return run


def log_of(folder: Path, **runs: dict[str, np.ndarray]) -> Path:
    import_npz(
        [save_npz(folder / f"{name}.npz", **run) for name, run in runs.items()], folder / "log"
    )
    return folder / "log"


def test_a_fit_does_not_depend_on_the_type_of_the_tasks(tmp_path: Path):
    """β and N* of the same transformers; losses differ a little too, as tasks do."""
    fits = {}
    for kind in (None, np.float32, np.float16):
        folder = tmp_path / str(kind and kind.__name__)
        folder.mkdir()
        path = log_of(folder, **{f"D{d}": run_of(d, kind) for d in (8, 32, 128)})
        cells, behaviour = summarize(open_log(path), progress=False)
        none = np.zeros(len(cells), dtype=bool)
        regions = Regions(~none, none, none)
        account = accounts.make("rational", cells.strategies)
        fits[kind] = fit(account, cells, behaviour, regions=regions, num_starts=4)
    expected = fits.pop(None)
    steps = crossovers(expected, [8, 32, 128])["predicted"].to_numpy()
    for found in fits.values():
        assert found.params["beta"] == pytest.approx(expected.params["beta"], rel=0.01)
        np.testing.assert_allclose(
            crossovers(found, [8, 32, 128])["predicted"].to_numpy(), steps, rtol=0.02
        )


def test_check_says_where_types_are_mixed(tmp_path: Path):
    path = log_of(tmp_path, a=run_of(4, None), b=run_of(8, np.float32), c=run_of(16, np.float32))
    (finding,) = [
        one for one in inspect_log(path, progress=False).findings if one.kind == "mixed_precision"
    ]
    assert finding.severity == "note"
    assert "float64 (a); float32 (b, c)" in finding.problem


@pytest.mark.parametrize("kind", [None, np.float32])
def test_check_is_silent_where_all_are_of_one_type(tmp_path: Path, kind: type | None):
    path = log_of(tmp_path, a=run_of(4, kind), b=run_of(8, kind))
    assert "mixed_precision" not in {one.kind for one in inspect_log(path, progress=False).findings}
