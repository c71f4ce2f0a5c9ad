"""Three and four strategies: statistics, best mixtures and fits, in every setting.

Tolerances. Divergences on nodes promise 1e-6 nats for any weights. Squared errors are exact:
float64 sums of ~1,000 terms in another order, 1e-12 relative. Best mixtures are exact to rounding,
but nodes move the slope by ~1e-6, which is 1e-4 in a weight that changes a divergence by .01 w².
Logs hold means in float32 (relative 6e-8) and log-probabilities in half precision (5e-4 each, at
random): weights fitted to 24 sequences of them are known to 1e-5 and 2e-3.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from builders import save_npz
from click.testing import CliRunner, Result
from scipy.special import rel_entr
from worlds import saved_run

import rational_icl as ri
from rational_icl.cells.mixtures import best_mixtures, relative_distance
from rational_icl.cells.statistics import (
    NUM_BLOCKS,
    Divergence,
    RunStatistics,
    joined,
    run_statistics,
)
from rational_icl.cli import main
from rational_icl.settings import Categorical, Classification, Markov, Regression, Setting
from rational_icl.settings.draws import draw_from, evaluation_data
from rational_icl.strategies.losses import profile
from rational_icl.strategies.predictors import strategy_predictions

PROMISE = 1e-6  # nats
SUMS = 1e-12  # relative
WEIGHT = {"regression": 1e-9, "markov": 1e-3}  # of a best mixture, from numbers not yet stored
FITTED = {"regression": 1e-5, "markov": 2e-3}  # of a fitted account, from a log

SETTINGS = {
    "categorical": (Categorical(8, 16), 16, 64),
    "regression": (Regression(3, 10, 0.25), 8, 64),
    "classification": (Classification(8, 16, 0.5), 32, 1000),
    "markov": (Markov(5, 20), 8, 64),
}
PROBABILITIES = ("categorical", "classification", "markov")


def strategies(kind: str, number: int) -> np.ndarray:
    """Predictions of the first strategies; a fourth, if need be, knows half of the tasks."""
    setting, num_tasks, num_sequences = SETTINGS[kind]
    rng = np.random.default_rng([701, num_tasks])
    tasks = setting.draw_tasks(rng, num_tasks)
    inputs = draw_from(setting, rng, tasks, num_sequences).inputs
    found = strategy_predictions(setting, tasks, inputs, setting.strategies[:number])
    if len(found) < number:
        half = strategy_predictions(
            setting, tasks[: num_tasks // 2], inputs, setting.strategies[:1]
        )
        found = np.concatenate([found, half])
    return found


def transformers(predicted: np.ndarray, kind: str) -> np.ndarray:
    """Checkpoints that are a mixture, near one, and near the first strategy."""
    rng = np.random.default_rng(702)
    mixed = np.tensordot(rng.dirichlet(np.ones(len(predicted))), predicted, axes=1)
    noise = 0.5 * rng.standard_normal((2, *mixed.shape))
    if kind == "regression":
        return np.stack([mixed, mixed + noise[0], predicted[0] + noise[1]])
    near = np.stack([mixed, mixed * np.exp(noise[0]), predicted[0] * np.exp(noise[1])])
    return near / near.sum(axis=-1, keepdims=True)


def logged(transformer: np.ndarray, kind: str) -> np.ndarray:
    return transformer if kind == "regression" else np.log(transformer)


def statistics(kind: str, transformer: np.ndarray, predicted: np.ndarray) -> RunStatistics:
    block = np.arange(predicted.shape[1]) % NUM_BLOCKS
    return run_statistics(SETTINGS[kind][0].outcome, logged(transformer, kind), predicted, block)


def random_weights(number: int) -> np.ndarray:
    """Inside the simplex and near its faces."""
    rng = np.random.default_rng(703)
    drawn = [rng.dirichlet(np.full(number, spread), size=12) for spread in (1.0, 0.3)]
    weights = np.maximum(np.concatenate(drawn), 1e-12)
    return weights / weights.sum(axis=1, keepdims=True)


def evaluate(divergence: Divergence, weights: np.ndarray) -> np.ndarray:
    """The divergence at each of the weights (weight, strategy), (weight, step)."""

    def one(weight: jax.Array) -> jax.Array:
        return divergence(jax.numpy.tile(jax.numpy.log(weight), (divergence.shape[0], 1)))

    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(one))(weights))


def mixtures(predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(weight, 1, sequence, position, outcome), to be compared with checkpoints."""
    return np.tensordot(weights, predicted, axes=1)[:, None]


# --- the divergence as a function of the weights ---------------------------------------------


@pytest.mark.parametrize("number", [3, 4])
@pytest.mark.parametrize("kind", PROBABILITIES)
def test_divergence_equals_the_plain_mean(kind: str, number: int):
    predicted = strategies(kind, number)
    transformer = transformers(predicted, kind)
    divergence = statistics(kind, transformer, predicted).divergence
    assert divergence.shape == (3, number)
    weights = random_weights(number)
    expected = rel_entr(transformer, mixtures(predicted, weights)).sum(axis=-1).mean(axis=(2, 3))
    np.testing.assert_allclose(evaluate(divergence, weights), expected, rtol=0, atol=PROMISE)


@pytest.mark.parametrize(("m", "context", "num_tasks"), [(8, 16, 32), (16, 32, 64), (2, 8, 16)])
def test_divergence_where_clamped_predictions_pile_up(m: int, context: int, num_tasks: int):
    """Many certain predictions are nearly the same, so that their errors have one sign."""
    setting, rng = Classification(m, context, 0.5), np.random.default_rng(704)
    tasks = setting.draw_tasks(rng, num_tasks)
    drawn = draw_from(setting, rng, tasks, 3000)
    predicted = strategy_predictions(setting, tasks, drawn.inputs, setting.strategies)
    certain = 0.998 * setting.truth(drawn.tasks, drawn.inputs) + 0.001
    transformer = np.stack([certain, np.tensordot([0.1, 0.8, 0.1], predicted, axes=1)])
    block = np.arange(3000) % NUM_BLOCKS
    divergence = run_statistics(setting.outcome, np.log(transformer), predicted, block).divergence
    weights = np.concatenate([random_weights(3), [[0.08, 0.12, 0.8]]])
    expected = rel_entr(transformer, mixtures(predicted, weights)).sum(axis=-1).mean(axis=(2, 3))
    np.testing.assert_allclose(evaluate(divergence, weights), expected, rtol=0, atol=PROMISE)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_squared_divergence_is_exact(number: int):
    """w'Ew against the mean squared error over twice the noise variance."""
    predicted = strategies("regression", number)
    transformer = transformers(predicted, "regression")
    divergence = statistics("regression", transformer, predicted).divergence
    assert divergence.shape == (3, number)
    weights = random_weights(number)
    apart = transformer - mixtures(predicted, weights)
    expected = (apart**2).mean(axis=(2, 3, 4)) / (2 * 0.25)
    # where T is the mixture itself, what is left is rounding
    np.testing.assert_allclose(evaluate(divergence, weights), expected, rtol=SUMS, atol=1e-15)


def test_squared_statistics_hold_the_distances_of_every_block():
    predicted = strategies("regression", 3)
    transformer = transformers(predicted, "regression")
    found = statistics("regression", transformer, predicted)
    for block in range(NUM_BLOCKS):
        here = slice(block, None, NUM_BLOCKS)
        apart = (transformer[:, None, here] - predicted[None, :, here]) ** 2 / (2 * 0.25)
        np.testing.assert_allclose(found.distance[:, block], apart.sum(axis=(2, 3, 4)), rtol=SUMS)
        between = (predicted[:, None, here] - predicted[None, :, here]) ** 2 / (2 * 0.25)
        np.testing.assert_allclose(
            found.strategy_distance[block], between.sum(axis=(2, 3, 4)), rtol=SUMS
        )
    np.testing.assert_array_equal(found.count, 64 / NUM_BLOCKS * 10)


@pytest.mark.parametrize(
    ("kind", "number"),
    [("regression", 3), ("categorical", 3), ("classification", 4), ("markov", 4)],
)
def test_statistics_of_disjoint_parts_add_up(kind: str, number: int):
    predicted = strategies(kind, number)
    transformer = transformers(predicted, kind)
    block = np.arange(predicted.shape[1]) % NUM_BLOCKS
    part = np.random.default_rng(705).random(predicted.shape[1]) < 0.3
    outcome = SETTINGS[kind][0].outcome
    whole = statistics(kind, transformer, predicted)
    first, second = (
        run_statistics(
            outcome, logged(transformer[:, chosen], kind), predicted[:, chosen], block[chosen]
        )
        for chosen in (part, ~part)
    )
    exact = set(vars(whole)) - {"ratio", "coefficient"}  # parts have nodes of their own
    allowed = SUMS if kind == "regression" else PROMISE
    for total in (first + second, second + first):
        for field in exact:
            found, expected = getattr(total, field), getattr(whole, field)
            np.testing.assert_allclose(found, expected, rtol=SUMS, atol=SUMS)
        weights = random_weights(number)
        found, expected = (evaluate(one.divergence, weights) for one in (total, whole))
        np.testing.assert_allclose(found, expected, rtol=SUMS, atol=allowed)
        for found, expected in zip(relative_distance(total), relative_distance(whole), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=SUMS)


@pytest.mark.parametrize(("kind", "number"), [("regression", 3), ("markov", 4)])
def test_statistics_of_a_block_are_those_of_its_sequences(kind: str, number: int):
    predicted = strategies(kind, number)
    transformer = transformers(predicted, kind)
    whole = statistics(kind, transformer, predicted)
    weights = random_weights(number)
    # an eighth of what the promise is a mean over
    allowed = SUMS if kind == "regression" else NUM_BLOCKS * PROMISE
    for block in (0, NUM_BLOCKS - 1):
        here = slice(block, None, NUM_BLOCKS)
        alone = statistics(kind, transformer[:, here], predicted[:, here])
        found, expected = (
            evaluate(one.divergence, weights) for one in (whole.of_block(block), alone)
        )
        np.testing.assert_allclose(found, expected, rtol=SUMS, atol=allowed)
        assert whole.of_block(block).count.sum() == whole.count[block]


@pytest.mark.parametrize(("kind", "number"), [("regression", 3), ("markov", 4)])
def test_runs_stand_beside_each_other(kind: str, number: int):
    predicted = strategies(kind, number)
    transformer = transformers(predicted, kind)
    one = statistics(kind, transformer, predicted).divergence
    few = statistics(kind, transformer[:2, :9], predicted[:, :9]).divergence
    weights = random_weights(number)
    together = joined([one, few])
    assert together.shape == (5, number)
    assert together.finite.all()
    expected = np.hstack([evaluate(one, weights), evaluate(few, weights)])
    np.testing.assert_allclose(evaluate(together, weights), expected, rtol=SUMS, atol=1e-15)
    np.testing.assert_allclose(
        evaluate(together.select(slice(3, 5)), weights), expected[:, 3:], rtol=SUMS, atol=1e-15
    )


# --- best mixtures ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "weights"),
    [
        ("regression", [[0.2, 0.5, 0.3], [0.02, 0.97, 0.01], [0.6, 0.0, 0.4], [0.0, 0.0, 1.0]]),
        (
            "markov",
            [[0.1, 0.4, 0.2, 0.3], [0.7, 0.1, 0.1, 0.1], [0.5, 0.0, 0.0, 0.5], [0, 0, 0, 1]],
        ),
    ],
)
def test_best_mixtures_recover_known_weights(kind: str, weights: list[list[float]]):
    predicted = strategies(kind, len(weights[0]))
    transformer = np.tensordot(np.array(weights), predicted, axes=1)
    found, least = best_mixtures(statistics(kind, transformer, predicted).divergence)
    np.testing.assert_allclose(found, weights, rtol=0, atol=WEIGHT[kind])
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(least, 0, rtol=0, atol=PROMISE)


def test_best_mixtures_of_means_are_the_constrained_least_squares():
    """Against normal equations with a Lagrange multiplier, where the optimum is inside."""
    predicted = strategies("regression", 3)
    rng = np.random.default_rng(706)
    mixed = np.tensordot([0.3, 0.3, 0.4], predicted, axes=1)
    transformer = mixed + 0.5 * rng.standard_normal(mixed.shape)
    flat = predicted.reshape(3, -1)
    system = np.ones((4, 4))
    system[:3, :3], system[3, 3] = flat @ flat.T, 0.0
    solution = np.linalg.solve(system, np.append(flat @ transformer.ravel(), 1.0))[:3]
    assert (solution > 0.05).all()
    found, least = best_mixtures(statistics("regression", transformer[None], predicted).divergence)
    np.testing.assert_allclose(found[0], solution, rtol=0, atol=WEIGHT["regression"])
    error = ((transformer.ravel() - solution @ flat) ** 2).mean() / (2 * 0.25)
    np.testing.assert_allclose(least, error, rtol=1e-9)


# --- from files to a fit: transformers that are the account's own mixtures -------------------


class Case(NamedTuple):
    """A setting, its strategies and the parameters by which logs of it are made."""

    setting: Setting
    names: tuple[str, ...]
    truth: dict[str, float]


CASES = {
    "regression": Case(
        Regression(2, 6, 1.0), Regression.strategies, {"alpha": 0.6, "beta": 0.25, "gamma": 1.0}
    ),
    "markov": Case(Markov(3, 12), Markov.strategies, {"alpha": 0.6, "beta": 0.25, "gamma": 3.0}),
}
DIVERSITIES = (2, 4, 8, 24)
STEPS = (5, 13, 36, 97, 260, 700, 1900, 5000)


@pytest.fixture(scope="module", autouse=True)
def few_sequences() -> Iterator[None]:
    """Losses from 512 sequences: whatever they are, logs are made and read with the same ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rational_icl.strategies.losses._MOST_SEQUENCES", 512)
        yield


@cache
def true_weights(kind: str, num_tasks: int) -> np.ndarray:
    """(step, strategy), by the formula of the rational account."""
    case = CASES[kind]
    tasks = evaluation_data(case.setting, num_tasks, 0, 2, 2).tasks
    worth = profile(case.setting, tasks, case.names, 0)
    steps = np.array(STEPS, dtype=float)[:, None]
    score = -case.truth["gamma"] * steps ** (1 - case.truth["alpha"]) * worth.loss
    score = score - np.log(2) * worth.complexity ** case.truth["beta"]
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


class Fitted(NamedTuple):
    """Everything that a log of one case led to."""

    kind: str
    case: Case
    path: Path
    log: ri.Log
    cells: ri.Cells
    behaviour: ri.Behaviour
    fit: ri.Fit
    weights: np.ndarray


@pytest.fixture(scope="module", params=CASES)
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    kind = request.param
    case, folder = CASES[kind], tmp_path_factory.mktemp(kind)

    def mixing(num_tasks: int) -> Callable[[np.ndarray, Any], np.ndarray]:
        def predicted(tasks: np.ndarray, drawn: Any) -> np.ndarray:
            own = strategy_predictions(case.setting, tasks, drawn.inputs, case.names)
            return np.tensordot(true_weights(kind, num_tasks), own, axes=1)

        return predicted

    paths = []
    for diversity in DIVERSITIES:
        run = saved_run(case.setting, diversity, 0, STEPS, mixing(diversity), num_sequences=24)
        paths.append(folder / f"D{diversity}.npz")
        save_npz(paths[-1], **run)
    ri.import_npz(paths, folder / "logs")
    log = ri.open_log(folder / "logs")
    cells, behaviour = ri.summarize(log, case.names, progress=False)
    fit = ri.fit(ri.accounts.Rational(), cells, behaviour, num_starts=6)
    weights = np.concatenate([true_weights(kind, diversity) for diversity in DIVERSITIES])
    return Fitted(kind, case, folder / "logs", log, cells, behaviour, fit, weights)


def test_weights_move_enough_to_tell_the_parameters(fitted: Fitted):
    """Of what follows, so that recovering them means something."""
    assert (np.ptp(fitted.weights, axis=0) > 0.05).all()


def test_best_mixtures_of_a_log_are_the_weights_it_was_made_with(fitted: Fitted):
    for split in ("id", "ood"):
        found = fitted.behaviour.splits[split]
        np.testing.assert_allclose(
            found.best_weight, fitted.weights, rtol=0, atol=FITTED[fitted.kind]
        )
        np.testing.assert_allclose(found.best_divergence, 0, rtol=0, atol=2 * PROMISE)


def test_a_fit_recovers_the_parameters_and_the_weights(fitted: Fitted):
    found = np.exp(fitted.fit.log_weights(fitted.cells))
    np.testing.assert_allclose(found, fitted.weights, rtol=0, atol=FITTED[fitted.kind])
    for name, value in fitted.case.truth.items():
        np.testing.assert_allclose(fitted.fit.params[name], value, rtol=0.01, err_msg=name)


def test_no_checkpoint_is_too_early_for_three_strategies(fitted: Fitted):
    assert not fitted.fit.regions.excluded_early.any()
    # 80 % of 8 steps and of 4 diversities, rounded up
    assert fitted.fit.regions.fitted.sum() == 7 * 4
    assert fitted.fit.regions.held_out.sum() == 8 * 4 - 7 * 4


def test_agreement_is_perfect_in_every_cell(fitted: Fitted):
    frame = ri.cell_agreement(
        fitted.log, fitted.cells, fitted.behaviour, fitted.fit, progress=False
    )
    assert len(frame) == len(STEPS) * len(DIVERSITIES)
    for k, name in enumerate(fitted.case.names):
        np.testing.assert_allclose(
            frame[f"weight_{name}"], fitted.weights[:, k], rtol=0, atol=FITTED[fitted.kind]
        )
    for split in ("id", "ood"):
        np.testing.assert_allclose(frame[f"divergence_{split}"], 0, rtol=0, atol=1e-5)
        # a ratio of distances, as well known as the weights but for their geometry
        np.testing.assert_allclose(
            frame[f"predicted_relative_distance_{split}"],
            frame[f"relative_distance_{split}"],
            rtol=0,
            atol=10 * FITTED[fitted.kind],
        )
        if fitted.kind == "regression":
            assert frame[f"r_squared_{split}"].min() > 1 - 1e-6
        else:
            assert frame[f"total_variation_{split}"].max() < 1e-3


def test_the_phase_diagram_goes_through_the_logged_weights_and_on(fitted: Fitted):
    phase = ri.phase_diagram(fitted.fit, [*DIVERSITIES, 64], STEPS)
    seen = phase["weight"].sel(num_tasks=list(DIVERSITIES)).to_numpy()
    np.testing.assert_allclose(
        seen.reshape(-1, len(fitted.case.names)), fitted.weights, rtol=0, atol=FITTED[fitted.kind]
    )
    assert phase["strategy"].to_numpy().tolist() == list(fitted.case.names)
    np.testing.assert_allclose(phase["weight"].sum("strategy"), 1, rtol=1e-12)
    assert phase["seen"].to_numpy().tolist() == [True] * 4 + [False]
    # a larger table: never more of the strategy that must remember it
    first = phase["weight"].isel(strategy=0)
    assert (first.sel(num_tasks=64) <= first.sel(num_tasks=2)).all()


# --- the command line ------------------------------------------------------------------------


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_command_line_fits_the_strategies_that_are_asked_for(fitted: Fitted, tmp_path: Path):
    out = tmp_path / "fit.json"
    few = tmp_path / "logs"
    few.mkdir()
    for diversity in DIVERSITIES[:2]:
        shutil.copy(fitted.log[f"D{diversity}"].path, few)
    asked = [*fitted.case.names[2:], *fitted.case.names[:2]][:3]
    result = call("fit", few, "--out", out, "--strategies", ",".join(asked))
    assert result.exit_code == 0, result.output
    assert json.loads(out.read_text())["strategies"] == asked
    table = tmp_path / "predicted.csv"
    result = call("predict", out, "--num-tasks", "4", "--steps", "10,100", "--out", table)
    assert result.exit_code == 0, result.output
    header = table.read_text().splitlines()[0].split(",")
    assert [name for name in header if name.startswith("weight_")] == [f"weight_{n}" for n in asked]


@pytest.mark.parametrize(
    "words", ["memorizing", "memorizing,memorizing", "memorizing,guessing", "", "memorizing,"]
)
def test_the_command_line_refuses_strategies_that_are_not_two_different_ones(
    fitted: Fitted, tmp_path: Path, words: str
):
    out = tmp_path / "fit.json"
    result = call("fit", fitted.path, "--out", out, "--strategies", words)
    assert result.exit_code == 2
    assert result.output.startswith("rational-icl: strategies: ")
    assert "expected two or more different ones of" in result.output
    assert result.output.count("\n") == 1
    assert not out.exists()
