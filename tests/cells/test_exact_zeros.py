"""Probabilities of exactly zero, wherever they stand: who gives them, and that nothing breaks.

Random tables of predictions, in which strategies are sparse, one-hot, uniform or copies of each
other and the transformer has zeros of its own, against SciPy on the plain sum. The cases
have few different outcomes, so that statistics are the plain sums but for rounding; SLSQP stops at
1e-13.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
from builders import save_npz
from oracles import measures
from synthetic import (
    STRATEGIES,
    everything,
    make_behaviour,
    make_cells,
    statistics,
    unmeasured,
)
from worlds import saved_run

from rational_icl import accounts, open_log, summarize
from rational_icl._errors import FitError, LogError
from rational_icl.cells.mixtures import best_mixtures
from rational_icl.cells.records import SplitBehaviour
from rational_icl.cells.reduction import split_behaviour
from rational_icl.cells.statistics import NUM_BLOCKS, reference
from rational_icl.cells.statistics.nodes import MixtureDivergence
from rational_icl.cells.zeros import undefined, unreachable
from rational_icl.checks import inspect_log
from rational_icl.fitting.fits import fit
from rational_icl.logs import import_npz
from rational_icl.settings import Categorical, Markov, Probabilities, Setting
from rational_icl.settings.draws import draw_from
from rational_icl.strategies.losses import profile
from rational_icl.strategies.predictors import strategy_predictions

CASE = Path(__file__).parents[1] / "cases" / "exact_zeros.npz"
OUTCOME = Probabilities()
SUMS = 1e-9  # nats: few different outcomes are all nodes, so that statistics are the plain sum
LEAST = 1e-8  # nats: of the plain sum at the weights found, beside the least one
TINY = 1e-300
KINDS = ("sparse", "one_hot", "uniform", "copy", "masked")


def normalised(values: np.ndarray) -> np.ndarray:
    """Rows that sum to one; even ones where nothing is left."""
    total = values.sum(axis=-1, keepdims=True)
    return np.where(total > 0, values / np.where(total > 0, total, 1), 1 / values.shape[-1])


def strategies_of(rng: np.random.Generator, kinds: list[str], shape: tuple) -> np.ndarray:
    """One strategy of each kind, (strategy, sequence, position, outcome)."""
    every = []
    for kind in kinds:
        dense = rng.dirichlet(np.full(shape[-1], rng.choice([0.02, 0.3, 2.0])), size=shape[:-1])
        every.append(
            {
                "sparse": normalised(np.where(dense < 0.05, 0, dense)),
                "one_hot": np.eye(shape[-1])[rng.integers(shape[-1], size=shape[:-1])],
                "uniform": np.full(shape, 1 / shape[-1]),
                "copy": every[-1] if every else dense,
                "masked": normalised(np.where(rng.random(shape) < 0.4, 0, dense + TINY)),
            }[kind]
        )
    return np.stack(every)


def transformers_of(rng: np.random.Generator, strategies: np.ndarray) -> np.ndarray:
    """A mixture, a tilted one, one of what a strategy forbids, and one with zeros of its own."""
    mixture = np.tensordot(rng.dirichlet(np.full(len(strategies), 0.4)), strategies, axes=1)
    tilted = mixture ** rng.uniform(0.5, 1.5) * np.exp(0.3 * rng.standard_normal(mixture.shape))
    strayed = mixture + 1e-3 * (rng.random(mixture.shape) < 0.1)
    partial = mixture * (rng.random(mixture.shape) < 0.7)
    return normalised(np.stack([mixture, tilted, strayed, partial]))


def random_case(seed: int, num_strategies: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What is logged, as probabilities and as logarithms, and the strategies; half of it rounded to
    half precision."""
    rng = np.random.default_rng([seed, num_strategies])
    kinds = rng.choice(KINDS, size=num_strategies).tolist()
    shape = (int(rng.choice([1, 9])), int(rng.choice([1, 4])), int(rng.choice([2, 5])))
    strategies = strategies_of(rng, kinds, shape)
    logged = OUTCOME.to_logged(transformers_of(rng, strategies))
    if seed % 2:
        logged = OUTCOME.stored(logged)
    return OUTCOME.from_logged(OUTCOME.read(logged)), logged, strategies


def behaviour_of(logged: np.ndarray, strategies: np.ndarray) -> SplitBehaviour:
    block = np.arange(strategies.shape[1]) % NUM_BLOCKS
    prepared = reference(OUTCOME, strategies, block)
    return split_behaviour(
        prepared.compared(logged, len(logged))[0], prepared.of_strategies, unmeasured
    )


@pytest.mark.parametrize("num_strategies", [2, 3, 4])
@pytest.mark.parametrize("seed", range(12))
def test_best_mixtures_are_those_of_scipy_on_the_plain_sum(seed: int, num_strategies: int):
    transformer, logged, strategies = random_case(seed, num_strategies)
    behaviour = behaviour_of(logged, strategies)
    for one, weight, least in zip(
        transformer, behaviour.best_weight, behaviour.best_divergence, strict=True
    ):
        expected, value = measures.best_mixture(one, strategies)
        if value == np.inf:
            assert least == np.inf
            np.testing.assert_allclose(weight, expected, rtol=1e-9)
            continue
        assert least == pytest.approx(value, rel=0, abs=SUMS)
        plain = measures.mixture_divergence(one, strategies, weight)
        assert plain <= value + LEAST


@pytest.mark.parametrize("num_strategies", [2, 3, 4])
@pytest.mark.parametrize("seed", range(12))
def test_distances_and_errors_are_numbers_or_nan_never_infinite(seed: int, num_strategies: int):
    transformer, logged, strategies = random_case(seed, num_strategies)
    behaviour = behaviour_of(logged, strategies)
    expected = [measures.relative_distance(one, *strategies[:2]) for one in transformer]
    np.testing.assert_allclose(behaviour.relative_distance, expected, rtol=0, atol=1e-8)
    far = behaviour.best_divergence == np.inf
    covariance = behaviour.best_weight_covariance
    assert not np.isinf(covariance).any()
    if strategies.shape[1] > 1:
        assert np.isfinite(covariance[~far]).all()
    reason = undefined(behaviour, "id", STRATEGIES)
    assert bool(reason) == np.isnan(expected).any()


@pytest.mark.parametrize("num_strategies", [2, 3, 4])
@pytest.mark.parametrize("share", [0.3, 1e-3, 1e-6, 1e-9])
def test_a_strategy_that_alone_allows_an_outcome_keeps_what_it_takes(
    num_strategies: int, share: float
):
    """All others are sure of the first of two outcomes: -(1 - s) log(1 - w/2) - s log(w/2)."""
    strategies = np.zeros((num_strategies, 1, 1, 2))
    strategies[..., 0] = 1.0
    strategies[-1] = 0.5
    transformer = np.array([1 - share, share])[None, None, None]
    weight, _ = best_mixtures(statistics(transformer, strategies).divergence)
    assert weight[0, -1] == pytest.approx(2 * share, rel=1e-6)


@pytest.mark.parametrize("num_strategies", [2, 3, 4])
def test_curvature_is_exact_beside_a_face(num_strategies: int):
    """Σ T Q_j Q_k / mix² at weights of 1e-12, where slopes by log w would be lost in rounding."""
    rng = np.random.default_rng([7, num_strategies])
    strategies = rng.dirichlet(np.ones(4), size=(num_strategies, 1, 1))
    transformer = rng.dirichlet(np.ones(4), size=(1, 1, 1))
    weight = np.full(num_strategies, 1e-12)
    weight[0] = 1 - weight[1:].sum()
    divergence = statistics(transformer, strategies).divergence
    with jax.enable_x64(True):
        found = jax.hessian(lambda w: divergence.of_weights(w[None])[0])(weight)
    mixture = np.tensordot(weight, strategies, axes=1)
    expected = np.einsum(
        "v,jv,kv->jk", (transformer / mixture**2).ravel(), *[strategies[:, 0, 0]] * 2
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_case_that_ended_in_a_singular_matrix(tmp_path: Path):
    log = open_log(import_npz([CASE], tmp_path / "log")[0].parent)
    _, behaviour = summarize(log, progress=False)
    expected = {"id": (0.969229, 0.00040076), "ood": (0.9711261, 0.00099835)}
    for split, (weight, divergence) in expected.items():
        found = behaviour.splits[split]
        assert found.best_weight[0, 0] == pytest.approx(weight, rel=0, abs=2e-6)
        assert found.best_divergence[0] == pytest.approx(divergence, rel=0, abs=1e-7)
        assert undefined(found, split, STRATEGIES) == (
            f"1 of 1 cells on split {split} (strategy memorizing gives probability 0 to "
            "outcomes that the transformers allow)"
        )


# --- whole logs ------------------------------------------------------------------------------


class SparseUrns(Categorical):
    """Urns that lack some of the symbols."""

    def draw_tasks(self, rng: np.random.Generator, num_tasks: int) -> np.ndarray:
        dense = rng.dirichlet(np.full(self.num_dims, 0.4), size=num_tasks)
        return normalised(np.where(dense < 0.05, 0, dense))


class SparseChains(Markov):
    """Chains with forbidden transitions, round a ring so that every state can be reached."""

    def draw_tasks(self, rng: np.random.Generator, num_tasks: int) -> np.ndarray:
        m = self.num_dims
        dense = rng.dirichlet(np.full(m, 0.5), size=(num_tasks, m))
        return normalised(np.where(dense < 0.1, 0, dense) + 0.2 * np.roll(np.eye(m), 1, axis=1))


SPARSE = {"urns": SparseUrns(5, 12), "markov": SparseChains(4, 16)}
STEPS = (20, 100, 500, 2500, 12500)


def sparse_log(folder: Path, setting: Setting, diversities: tuple[int, ...] = (2, 4, 8)) -> Path:
    """Transformers that go from an uninformed prediction through generalizing to memorizing."""

    def transformer(tasks: np.ndarray, drawn) -> np.ndarray:
        nothing = np.full((*drawn.inputs.shape, setting.num_outcomes), 1 / setting.num_outcomes)
        exact = strategy_predictions(setting, tasks, drawn.inputs, setting.strategies[:2])
        late = 1 / (1 + np.exp(-np.log(np.array(STEPS) / (150 * len(tasks)))))
        early = np.exp(-np.array(STEPS) / 100)
        share = np.stack([(1 - early) * late, (1 - early) * (1 - late), early], axis=1)
        return np.tensordot(share, np.stack([*exact, nothing]), axes=1)

    files = [
        save_npz(folder / f"D{d}.npz", **saved_run(setting, d, 0, STEPS, transformer))
        for d in diversities
    ]
    import_npz(files, folder / "log")
    return folder / "log"


@pytest.fixture(scope="module", params=SPARSE)
def log(request, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sparse_log(tmp_path_factory.mktemp(request.param), SPARSE[request.param])


def test_check_says_beforehand_what_the_summary_finds(log: Path):
    """Who gives the zero, on which split, in how many cells of which run."""
    found = inspect_log(log, progress=False)
    assert {one.kind for one in found.findings} == {"ruled_out"}
    said = {(one.run, one.split): one for one in found.findings}
    cells, behaviour = summarize(open_log(log), progress=False)
    first = cells.strategies[0]
    for index, run in enumerate(behaviour.runs):
        for name, split in behaviour.splits.items():
            here = behaviour.run == index
            missing = int(np.isnan(split.relative_distance[here]).sum())
            if missing:
                words = f"strategy {first} gives probability 0 to outcomes that the transformer"
                assert words in said[run, name].problem
                assert f"in {missing} of {len(STEPS)} cells" in said[run, name].problem
            assert (missing > 0) == ((run, name) in said)
    assert said


def test_a_log_with_zeros_is_fitted_and_the_reason_counts_all_cells(log: Path):
    cells, behaviour = summarize(open_log(log), progress=False)
    account = accounts.make("rational", cells.strategies)
    found = fit(account, cells, behaviour, num_starts=2)
    assert np.isfinite(found.objective)
    assert found.objective >= behaviour.splits["id"].best_divergence.min()
    for name, split in behaviour.splits.items():
        missing = np.isnan(split.relative_distance).sum()
        text = undefined(split, name, cells.strategies)
        assert text.startswith(f"{missing} of {len(cells)} cells on split {name} (")
        assert f"strategy {cells.strategies[0]} gives probability 0" in text


def test_zeros_of_the_transformer_are_called_its_own():
    strategies = np.array([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5]])[:, None, None]
    logged = OUTCOME.to_logged(np.array([0.6, 0.4, 0])[None, None, None])
    behaviour = behaviour_of(logged, strategies)
    assert undefined(behaviour, "id", STRATEGIES) == (
        "1 of 1 cells on split id (the transformers give probability 0 to outcomes that a "
        "strategy allows)"
    )


def test_equal_strategies_are_called_so():
    strategies = np.array([[0.5, 0.5], [0.5, 0.5]])[:, None, None]
    behaviour = behaviour_of(OUTCOME.to_logged(np.array([0.6, 0.4])[None, None, None]), strategies)
    assert undefined(behaviour, "ood", STRATEGIES).endswith(
        "(memorizing and generalizing predict the same)"
    )


@pytest.mark.parametrize("setting", SPARSE.values(), ids=SPARSE)
def test_cells_that_every_strategy_rules_out_are_said_by_name(setting: Setting):
    finite = np.array([True, False])
    text = unreachable(finite, setting.memorizing[:1] * 2, setting, "ood", "cells")
    assert text.startswith("1 of 2 cells on split ood are infinitely far from every mixture of ")
    assert f"such as {setting.strategies[1]}, or leave these runs out" in text
    assert "add" not in unreachable(finite, setting.strategies, setting)


def test_fits_refuse_cells_that_every_strategy_rules_out():
    cells = make_cells()
    behaviour = make_behaviour(cells)
    divergence = behaviour.splits["id"].divergence
    assert isinstance(divergence, MixtureDivergence)
    np.asarray(divergence.offset)[3] = np.inf
    message = rf"1 of {len(cells)} fitted cells on split id .* of memorizing and generalizing: .*"
    with pytest.raises(FitError, match=message + "such as constant"):
        fit(
            accounts.make("rational", cells.strategies), cells, behaviour, regions=everything(cells)
        )


def test_a_strategy_of_infinite_loss_is_refused_by_name():
    class Stubborn(Categorical):
        strategies = ("memorizing", "generalizing", "constant")

        def continuous(self, strategy, inputs):
            found = super().continuous(strategy, inputs)
            if strategy != "constant":
                return found
            kept = found * (np.arange(self.num_dims) > 0)
            return kept / kept.sum(axis=-1, keepdims=True)

    setting = Stubborn(4, 6)
    tasks = setting.draw_tasks(np.random.default_rng(3), 3)
    with pytest.raises(LogError, match=r"'constant' has a loss of inf on sequences"):
        profile(setting, tasks, ("memorizing", "constant"), 0)


@pytest.mark.parametrize("name", SPARSE)
def test_losses_are_finite_where_tasks_rule_outcomes_out(name: str):
    setting = SPARSE[name]
    tasks = setting.draw_tasks(np.random.default_rng(4), 6)
    assert (tasks == 0).any()
    found = profile(setting, tasks, setting.strategies, 0)
    assert np.isfinite(found.loss).all()
    assert np.isfinite(found.gap_error).all()


@pytest.mark.parametrize("name", SPARSE)
def test_predictions_beside_impossible_sequences_are_distributions(name: str):
    setting = SPARSE[name]
    rng = np.random.default_rng(5)
    tasks, other = setting.draw_tasks(rng, 3), setting.draw_tasks(rng, 3)
    inputs = draw_from(setting, rng, other, 20).inputs
    predicted = strategy_predictions(setting, tasks, inputs, setting.strategies)
    assert (predicted >= 0).all()
    np.testing.assert_allclose(predicted.sum(axis=-1), 1, rtol=1e-12)
