"""From a run to behaviour, against plain sums over one checkpoint at a time.

Tolerances. Two ways of summing 10³ to 10⁴ float64 terms, of which none is larger than a few nats:
1e-12 of the sum of their sizes. Numbers do not depend on how many checkpoints are taken together.
"""

import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zarr
from builders import urn_run, write_missing
from scipy.special import rel_entr
from synthetic import evaluate, unmeasured
from threadpoolctl import threadpool_limits
from worlds import WORLDS

from rational_icl._errors import LogError
from rational_icl.cells import reduction
from rational_icl.cells.records import SplitBehaviour
from rational_icl.cells.reduction import reduce_split, split_behaviour, split_reference
from rational_icl.cells.statistics import NUM_BLOCKS, checkpoints_at_once, reference
from rational_icl.cells.statistics.nodes import NodeStatistics
from rational_icl.cells.summarize import summarize_run
from rational_icl.logs import Run
from rational_icl.settings import Means, Probabilities
from rational_icl.strategies.predictors import strategy_predictions

SUMS = 1e-12
PROMISE = 1e-6  # nats: what statistics on nodes promise
STRATEGIES = ("memorizing", "generalizing", "constant")
STEPS = tuple(range(1, 8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 7 checkpoints; copy it before changing it."""
    path = tmp_path_factory.mktemp("reduction") / "run.zarr"
    write_missing(path, urn_run(steps=STEPS, num_sequences=19, context_length=9))
    return path


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """A run of its own for every test."""
    path = tmp_path / "run.zarr"
    write_missing(path, urn_run(steps=STEPS))
    return path


def reduced(run: Run, split: str = "id") -> SplitBehaviour:
    return reduce_split(run, split, split_reference(run, split, STRATEGIES))


def overwrite(path: Path, checkpoint: int, values: np.ndarray) -> None:
    """As no writer of this package would."""
    array = zarr.open_group(path, mode="r+")["id/log_prob"]
    assert isinstance(array, zarr.Array)
    array[checkpoint] = values


# --- one checkpoint, half precision and others ------------------------------------------------


WEIGHTS = ((1.0, 1.0, 1.0, 1.0), (0.7, 0.1, 0.1, 0.1), (1e-9, 1.0, 1e-14, 0.3))


def plain(log_prob: np.ndarray, predicted: np.ndarray, block: np.ndarray) -> dict[str, np.ndarray]:
    """All sums of one checkpoint from their definitions, by block.

    The last is Σ T log Σ_k w_k r_k at three weights, over outcomes that some strategy allows.
    """
    prob = np.exp(log_prob)
    number, total = len(predicted), predicted.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        negentropy = np.where(prob > 0, prob * log_prob, 0.0)
        scale = np.where(prob > 0, prob * np.log(total), 0.0)
        ratio = np.where(total > 0, predicted / total, 1.0)
        at_weights = [
            np.where(
                (prob > 0) & (total > 0),
                prob * np.log(np.tensordot(w[:number], ratio, axes=1)),
                0.0,
            )
            for w in WEIGHTS
        ]
    apart = 0.5 * (rel_entr(prob, predicted) + rel_entr(predicted, prob))
    lost = np.where((total == 0) & (prob > 0), np.inf, 0.0)
    found = {
        "mass": np.zeros(NUM_BLOCKS),
        "offset": np.zeros(NUM_BLOCKS),
        "distance": np.zeros((NUM_BLOCKS, number)),
        "at_weights": np.zeros((NUM_BLOCKS, len(WEIGHTS))),
    }
    for sequence, name in enumerate(block):
        found["mass"][name] += np.where(total > 0, prob, 0.0)[sequence].sum()
        found["offset"][name] += np.where(total > 0, negentropy - scale, lost)[sequence].sum()
        found["distance"][name] += apart[:, sequence].sum(axis=(1, 2))
        found["at_weights"][name] += [each[sequence].sum() for each in at_weights]
    return found


def assert_equals_plain(stored: np.ndarray, predicted: np.ndarray, block: np.ndarray) -> None:
    """Statistics of checkpoints (step, ...) in the type of a file against `plain`."""
    found, doubtful = reference(Probabilities(), predicted, block).compared(stored, len(stored))
    assert isinstance(found, NodeStatistics)
    assert not doubtful.any()
    with np.errstate(divide="ignore"):
        log_mixture = np.log(np.array(WEIGHTS)[:, : len(predicted)] @ found.ratio)
    for step, one in enumerate(stored):
        expected = plain(Probabilities().read(one), predicted, block)
        coefficient = found.coefficient[step]
        np.testing.assert_allclose(coefficient.sum(axis=1), expected["mass"], rtol=SUMS, atol=SUMS)
        for name in ("offset", "distance"):
            np.testing.assert_allclose(
                getattr(found, name)[step], expected[name], rtol=SUMS, atol=SUMS
            )
        allowed = PROMISE * found.count.sum()
        np.testing.assert_allclose(
            coefficient @ log_mixture.T, expected["at_weights"], rtol=0, atol=allowed
        )


def drawn(number: int, zeros: bool) -> tuple[np.ndarray, np.ndarray]:
    """Checkpoints (5, 21, 6, 4) and strategies, of which some rule outcomes out."""
    rng = np.random.default_rng([811, number, zeros])
    predicted = rng.dirichlet(np.full(4, 0.6), size=(number, 21, 6))
    if zeros:
        predicted[0, :8, :, 1] = 0
        predicted[1, 4:12, :, 2] = 0
        predicted[:, 12:14, 2, 3] = 0
        predicted /= predicted.sum(axis=-1, keepdims=True)
    return rng.dirichlet(np.full(4, 0.9), size=(5, 21, 6)), predicted


BLOCKS = {
    "in turn": np.arange(21) % NUM_BLOCKS,
    "in one piece each": np.arange(21) // 4,
    "in disorder, some empty": np.random.default_rng(812).integers(2, 5, 21),
}


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize(("number", "zeros"), [(2, False), (2, True), (3, True), (4, False)])
def test_statistics_are_plain_sums(number: int, zeros: bool, kind: type, block: str):
    transformer, predicted = drawn(number, zeros)
    assert_equals_plain(np.log(transformer).astype(kind), predicted, BLOCKS[block])


@pytest.mark.parametrize("kind", [np.float16, np.float64])
@pytest.mark.parametrize("number", [2, 3])
def test_zeros_of_the_transformer_count_as_zeros(number: int, kind: type):
    """Minus infinity, and logarithms whose exponential underflows; 0 log 0 too."""
    transformer, predicted = drawn(number, zeros=True)
    transformer[1, 3:9, :, 1] = 0  # strategy 0 rules it out too, up to sequence 8
    transformer[2, :, 4] = np.eye(4)[np.arange(21) % 4]
    transformer[3, 12:14, 2, 3] = 0  # what every strategy rules out
    transformer /= transformer.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore"):
        stored = np.log(transformer).astype(kind)
    stored[4, 6, 2] = [np.log(0.5), -1000, np.log(0.5), -np.inf]
    block = BLOCKS["in turn"]
    assert_equals_plain(stored, predicted, block)
    found, _ = reference(Probabilities(), predicted, block).compared(stored, 5)
    assert isinstance(found, NodeStatistics)
    assert np.isinf(found.distance).any()
    assert np.isfinite(found.distance).any()
    assert np.isfinite(found.offset[3]).sum() == NUM_BLOCKS


def test_many_checkpoints_and_outcomes_make_no_difference():
    """More than a tile holds, and rows that are whole pages of memory."""
    rng = np.random.default_rng(813)
    predicted = rng.dirichlet(np.ones(8), size=(2, 20, 128))
    stored = np.log(rng.dirichlet(np.ones(8), size=(3, 20, 128))).astype(np.float16)
    assert_equals_plain(stored, predicted, np.arange(20) % NUM_BLOCKS)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_products_of_errors_are_plain_sums(kind: type):
    rng = np.random.default_rng(814)
    predicted = rng.normal(size=(3, 21, 6, 1))
    stored = rng.normal(size=(5, 21, 6, 1)).astype(kind)
    block = BLOCKS["in disorder, some empty"]
    found, doubtful = reference(Means(0.25), predicted, block).compared(stored, 5)
    assert not doubtful.any()
    for step, name, j in itertools.product(range(5), range(NUM_BLOCKS), range(3)):
        here = block == name
        apart = stored[step, here].astype(float) - predicted[j, here]
        expected = (apart**2).sum() / 0.5
        np.testing.assert_allclose(found.distance[step, name, j], expected, rtol=SUMS)


def test_few_checkpoints_are_taken_together_where_each_takes_much_memory(monkeypatch):
    """128, or 134 MB of predictions, or 64 MB of sums."""
    transformer, predicted = drawn(4, zeros=False)
    prepared = reference(Probabilities(), predicted, BLOCKS["in turn"])
    found, _ = prepared.compared(transformer, 5)
    assert isinstance(found, NodeStatistics)
    assert prepared.sums_bytes >= found.coefficient[0].nbytes
    assert [checkpoints_at_once(prepared, size) for size in (1, 10**7, 10**9)] == [128, 13, 1]
    monkeypatch.setattr("rational_icl.cells.statistics._SUMS_AT_ONCE", 7 * prepared.sums_bytes)
    assert checkpoints_at_once(prepared, 1) == 7


def test_sums_do_not_depend_on_the_number_of_threads():
    """To the bit: workers have one thread each, and a process of its own as many as there are."""
    rng = np.random.default_rng(816)
    predicted = rng.dirichlet(np.full(8, 0.5), size=(4, 100, 32))
    stored = np.log(rng.dirichlet(np.ones(8), size=(40, 100, 32)))
    prepared = reference(Probabilities(), predicted, np.arange(100) % NUM_BLOCKS)
    several, _ = prepared.compared(stored, len(stored))
    with threadpool_limits(1):
        single, _ = prepared.compared(stored, len(stored))
    assert isinstance(several, NodeStatistics)
    assert isinstance(single, NodeStatistics)
    np.testing.assert_array_equal(several.coefficient, single.coefficient)
    np.testing.assert_array_equal(several.distance, single.distance)


# --- from a run ------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["id", "ood"])
def test_behaviour_is_that_of_the_run(folder: Path, split: str):
    """Divergence and distances against predictions read one by one."""
    run = Run(folder)
    found = reduced(run, split)
    predicted = strategy_predictions(run.setting, run.tasks, run.inputs(split), STRATEGIES)
    weights = np.array([0.2, 0.5, 0.3])
    mixed = np.tensordot(weights, predicted, axes=1)
    divergence = evaluate(found.divergence, weights)
    for checkpoint in range(len(STEPS)):
        prob = run.predictions(split, checkpoint)
        expected = rel_entr(prob, mixed).sum(axis=-1).mean()
        np.testing.assert_allclose(divergence[checkpoint], expected, rtol=0, atol=PROMISE)
        near, far = (
            (rel_entr(prob, one) + rel_entr(one, prob)).sum(axis=-1).mean() for one in predicted[:2]
        )
        between = (rel_entr(*predicted[:2]) + rel_entr(*predicted[1::-1])).sum(axis=-1).mean()
        ratio = (np.clip((far - near) / between, -1, 1) + 1) / 2
        np.testing.assert_allclose(found.relative_distance[checkpoint], ratio, rtol=0, atol=1e-10)
        assert found.best_divergence[checkpoint] <= divergence[checkpoint] + SUMS


def test_few_checkpoints_at_once_are_the_same_as_all(folder: Path, monkeypatch: pytest.MonkeyPatch):
    run = Run(folder)
    whole = reduced(run)
    monkeypatch.setattr(reduction, "checkpoints_at_once", lambda *_: 3)
    parts = reduced(run)
    for name in ("relative_distance", "relative_distance_error", "best_divergence"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=0, atol=SUMS)
    np.testing.assert_allclose(parts.best_weight, whole.best_weight, rtol=0, atol=1e-9)
    # nodes are nearly dependent: rounding moves coefficients, but not what they sum up to
    for weights in ([0.2, 0.5, 0.3], [1e-9, 1e-14, 1 - 1e-9]):
        values, expected = (evaluate(each.divergence, weights) for each in (parts, whole))
        np.testing.assert_allclose(values, expected, rtol=0, atol=SUMS)


@pytest.mark.parametrize("name", ["regression", "markov", "classification"])
def test_every_kind_of_setting_is_reduced(name: str):
    """What a run would give, from a world: no NaN, weights on the simplex."""
    world = WORLDS[name]
    predicted = strategy_predictions(
        world.setting, world.tasks, world.inputs, world.setting.strategies, world.task_prob
    )
    outcome = world.setting.outcome
    stored = outcome.stored(outcome.to_logged(np.stack([predicted.mean(axis=0)] * 3)))
    block = np.arange(len(world.inputs)) % NUM_BLOCKS
    prepared = reference(outcome, predicted, block)
    found, doubtful = prepared.compared(stored, 3)
    assert not doubtful.any()
    behaviour = split_behaviour(found, prepared.of_strategies, unmeasured)
    np.testing.assert_allclose(behaviour.best_divergence, 0, rtol=0, atol=PROMISE)


# --- what is wrong is said as everywhere else -------------------------------------------------


def not_a_number(values: np.ndarray) -> np.ndarray:
    values[3, 2, 1] = np.nan
    return values


def logits(values: np.ndarray) -> np.ndarray:
    return values + np.float16(0.5)


def one_row(values: np.ndarray) -> np.ndarray:
    values[7, 5] += np.float16(0.01)
    return values


def huge(values: np.ndarray) -> np.ndarray:
    values[0, 0, 0] = np.inf
    return values


def nothing_possible(values: np.ndarray) -> np.ndarray:
    values[0, 0] = -np.inf
    return values


@pytest.mark.parametrize("damage", [not_a_number, logits, one_row, huge, nothing_possible])
def test_a_checkpoint_that_is_no_prediction_is_refused_in_the_readers_words(damaged: Path, damage):
    overwrite(damaged, 4, damage(Run(damaged).stored("id", 4)))
    run = Run(damaged)
    with pytest.raises(LogError) as expected:
        run.logged("id", 4)
    with pytest.raises(LogError) as found:
        reduced(run)
    assert str(found.value) == str(expected.value)
    assert "run 'run', id predictions, step 5: " in str(found.value)


def test_predictions_that_are_no_floating_point_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    zeros = np.zeros((19, 9, 4), dtype=np.int16)
    monkeypatch.setattr(Run, "stored", lambda *_: zeros)
    with pytest.raises(LogError, match="step 1: dtype int16; expected float16"):
        reduced(Run(folder))


@pytest.mark.parametrize("largest", [1e39, np.inf, np.nan])
def test_means_that_are_none_are_doubtful(largest: float):
    stored = np.zeros((3, 8, 2, 1))
    stored[1, 4, 1] = largest
    predicted = np.stack([np.zeros((8, 2, 1)), np.ones((8, 2, 1))])
    _, doubtful = reference(Means(0.25), predicted, np.arange(8)).compared(stored, 3)
    assert doubtful.tolist() == [False, True, False]


# --- what a run costs --------------------------------------------------------------------------


def test_predictors_are_computed_once_a_split_and_a_checkpoint_is_read_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    computed, read = [], Counter()
    stored = Run.stored

    def counted(setting, tasks, inputs, *further):
        computed.append(inputs.shape)
        return strategy_predictions(setting, tasks, inputs, *further)

    def noted(self: Run, split: str, checkpoint: int) -> np.ndarray:
        read[split, checkpoint] += 1
        return stored(self, split, checkpoint)

    monkeypatch.setattr(reduction, "strategy_predictions", counted)
    monkeypatch.setattr(reduction, "checkpoints_at_once", lambda *_: 2)
    monkeypatch.setattr(Run, "stored", noted)
    cells, behaviour = summarize_run(Run(folder), STRATEGIES)
    assert len(cells) == len(STEPS)
    assert behaviour.runs == ("run",)
    assert len(computed) == 2
    assert read == dict.fromkeys(itertools.product(("id", "ood"), range(len(STEPS))), 1)


def test_the_size_of_a_checkpoint_is_that_of_its_array(folder: Path):
    run = Run(folder)
    assert run.checkpoint_bytes("ood") == run.stored("ood", 1).nbytes


PEAKS = """
import sys, tracemalloc
from pathlib import Path
import numpy as np
from rational_icl.cells import statistics
from rational_icl.cells.reduction import reduce_split
from rational_icl.logs import Run
from rational_icl.settings import Probabilities

predicted = np.random.default_rng(815).dirichlet(np.full(8, 2.0), size=(2, 40, 64))
predicted[1] = predicted[0] + 0.001 * (predicted[1] - predicted[0])
stored = np.log(predicted[0]).astype(np.float16)
statistics._BYTES_AT_ONCE = 10 * stored.nbytes
Run.stored = lambda *_: stored.copy()
Run.checkpoint_bytes = lambda *_: stored.nbytes
run = Run(Path(sys.argv[1]))
block = np.arange(40) % statistics.NUM_BLOCKS
prepared = statistics.reference(Probabilities(), predicted, block)
for last in (20, 20, 200):  # what is compiled or cached, the first time
    Run.steps = np.arange(1, last + 1)
    tracemalloc.start()
    behaviour = reduce_split(run, "id", prepared)
    print(tracemalloc.get_traced_memory()[1] / stored.nbytes)
    tracemalloc.stop()
    assert len(behaviour.best_weight) == last
"""


def test_memory_does_not_grow_with_the_number_of_checkpoints(folder: Path):
    """In a process without checks of types, which keep something of every record."""
    command = [sys.executable, "-c", PEAKS, str(folder)]
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    _, few, many = map(float, printed.split())
    assert many < few + 0.4 * 180
