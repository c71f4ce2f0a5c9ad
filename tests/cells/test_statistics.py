"""Statistics on nodes against the plain mean over predictions."""

import jax
import numpy as np
import pytest
from adversarial import CASES, noisy_mixture, urns
from oracles import measures
from synthetic import evaluate, statistics

from rational_icl.cells.statistics import NUM_BLOCKS, joined, run_statistics
from rational_icl.cells.statistics.choice import families_of
from rational_icl.cells.statistics.families import DistinctOutcomes, FewNodes
from rational_icl.cells.statistics.nodes import NodeStatistics
from rational_icl.settings import Categorical, Probabilities
from rational_icl.settings.draws import draw_from
from rational_icl.strategies.predictors import strategy_predictions

OUTCOME = Probabilities()
REQUIRED = 1e-6  # nats: what the statistics promise, for any weights
TYPICAL = 1e-9  # nats: what a few dozen nodes of two strategies leave of urns
SUMS = 1e-12  # relative: the same float64 sums in another order
GROWTH = 0.3  # of the number of nodes: new outcomes may have log-ratios that none had before

INSIDE = {
    2: [[w, 1 - w] for w in (1e-12, 1e-6, 0.03, 0.2, 0.5, 0.77, 0.999, 1 - 1e-12)],
    3: [
        [1 / 3, 1 / 3, 1 / 3],
        [1e-12, 0.2, 0.8 - 1e-12],
        [0.3, 1e-12, 0.7 - 1e-12],
        [0.05, 0.95 - 1e-12, 1e-12],
        [1 - 2e-12, 1e-12, 1e-12],
        [1e-14, 1 - 2e-14, 1e-14],
        [0.5, 0.5 - 1e-14, 1e-14],
    ],
}


def assert_equals_oracle(name: str, weights: list[list[float]], tolerance: float) -> None:
    transformer, strategies = CASES[name](len(weights[0]))
    divergence = statistics(transformer, strategies).divergence
    for w in weights:
        expected = measures.mixture_divergence(transformer[0], strategies, w)
        found = evaluate(divergence, w)[0]
        np.testing.assert_allclose(
            found, expected, rtol=SUMS, atol=tolerance, err_msg=f"weights {w}"
        )


@pytest.mark.parametrize("num_strategies", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_divergence_equals_the_plain_mean(name: str, num_strategies: int):
    assert_equals_oracle(name, INSIDE[num_strategies], REQUIRED)


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_divergence_on_urns_is_far_more_exact_than_promised(num_strategies: int):
    assert_equals_oracle("urns", INSIDE[num_strategies], TYPICAL)


@pytest.mark.parametrize("num_strategies", [2, 3])
@pytest.mark.parametrize("name", CASES)
def test_divergence_at_the_vertices(name: str, num_strategies: int):
    """Infinite where the only strategy left forbids what the transformer does."""
    assert_equals_oracle(name, np.eye(num_strategies).tolist(), REQUIRED)


def test_what_every_strategy_forbids_is_infinitely_far():
    transformer, strategies = urns(2)
    strategies[..., 3] = 0
    strategies /= strategies.sum(axis=-1, keepdims=True)
    allowed = transformer.copy()
    allowed[..., 3] = 0
    allowed /= allowed.sum(axis=-1, keepdims=True)
    both = np.concatenate([transformer, allowed])
    found = evaluate(statistics(both, strategies).divergence, [0.4, 0.6])
    assert found[0] == np.inf
    expected = measures.mixture_divergence(allowed[0], strategies, [0.4, 0.6])
    np.testing.assert_allclose(found[1], expected, rtol=0, atol=TYPICAL)


@pytest.mark.parametrize("name", ["urns", "zeros_in_a_strategy"])
def test_statistics_of_disjoint_parts_add_up(name: str):
    transformer, strategies = CASES[name](3)
    transformer = np.concatenate([transformer, transformer[:, ::-1] ** 2 + 1e-3])
    transformer /= transformer.sum(axis=-1, keepdims=True)
    block = np.arange(strategies.shape[1]) % NUM_BLOCKS
    parts = [
        run_statistics(OUTCOME, np.log(transformer[:, part]), strategies[:, part], block[part])
        for part in (slice(0, 5), slice(5, None))
    ]
    whole = run_statistics(OUTCOME, np.log(transformer), strategies, block)
    first, second = parts
    for total in (first + second, second + first):
        assert isinstance(total, NodeStatistics)
        for field in ("offset", "distance", "strategy_distance", "count"):
            found, expected = getattr(total, field), getattr(whole, field)
            np.testing.assert_allclose(found, expected, rtol=SUMS, atol=SUMS)
        # nodes of parts are others than those of the whole
        for w in INSIDE[3]:
            found, expected = (evaluate(one.divergence, w) for one in (total, whole))
            np.testing.assert_allclose(found, expected, rtol=0, atol=REQUIRED)


def test_parts_of_the_same_nodes_have_no_more_of_them_together():
    transformer, strategies = urns(3)
    found = statistics(transformer, strategies)
    twice = found + found
    assert twice.ratio.shape == found.ratio.shape
    one, other = (evaluate(part.divergence, [0.2, 0.5, 0.3]) for part in (found, twice))
    np.testing.assert_allclose(one, other, rtol=SUMS)


def test_runs_of_different_nodes_stand_beside_each_other():
    runs = [statistics(*CASES[name](2)) for name in ("urns", "extreme_ratios", "nearly_identical")]
    assert len({run.ratio.shape for run in runs}) == 3
    together = evaluate(joined([run.divergence for run in runs]), [0.3, 0.7])
    alone = [evaluate(run.divergence, [0.3, 0.7])[0] for run in runs]
    np.testing.assert_allclose(together, alone, rtol=SUMS)


@pytest.mark.parametrize("outcomes", [1, 4, 7, 8, 9, 17, 33, 60])
def test_nodes_without_a_coefficient_round_their_number_up_and_change_nothing(outcomes: int):
    """To one of four sizes between a power of two and the next."""
    strategies = np.stack([np.full(outcomes, 0.5), 0.5 * np.exp(-0.04 * np.arange(outcomes))])
    both = np.stack([strategies, 1 - strategies], axis=-1)[:, :, None]
    transformer = noisy_mixture(both, 28)
    held = statistics(transformer, both)
    divergence = held.divergence
    nodes, size = held.ratio.shape[1], divergence.coefficient.shape[1]
    assert nodes <= size <= 1.25 * nodes
    assert size % max(1, 2 ** (size.bit_length() - 1) // 4) == 0
    for more in (divergence, divergence.padded(size + 5)):
        assert not np.asarray(more.coefficient)[:, nodes:].any()
        for w in INSIDE[2]:
            expected = measures.mixture_divergence(transformer[0], both, w)
            np.testing.assert_allclose(evaluate(more, w)[0], expected, rtol=0, atol=SUMS)


def test_distances_are_symmetrised_divergences_block_by_block():
    transformer, strategies = urns(3)
    found = statistics(transformer, strategies)
    for block in range(NUM_BLOCKS):
        here = slice(block, None, NUM_BLOCKS)
        for k, strategy in enumerate(strategies):
            expected = measures.symmetrised_kl(transformer[0, here], strategy[here])
            distance = found.distance[0, block, k] / found.count[block]
            np.testing.assert_allclose(distance, expected, rtol=SUMS)
            between = [measures.symmetrised_kl(strategy[here], one[here]) for one in strategies]
            np.testing.assert_allclose(
                found.strategy_distance[block, k] / found.count[block], between, rtol=SUMS
            )
    assert found.count.sum() == strategies[0].size / strategies.shape[-1]


def test_nodes_do_not_grow_with_the_number_of_sequences():
    setting, rng = Categorical(4, 12), np.random.default_rng(27)
    tasks = setting.draw_tasks(rng, 4)
    inputs, _ = draw_from(setting, rng, tasks, 4000)
    strategies = strategy_predictions(setting, tasks, inputs, ("memorizing", "generalizing"))
    transformer = strategies.mean(axis=0)[None]
    once, twice = (statistics(transformer[:, :n], strategies[:, :n]) for n in (2000, 4000))
    assert twice.ratio.shape[1] <= (1 + GROWTH) * once.ratio.shape[1] < 100


# --- nodes ------------------------------------------------------------------------------------


def ratios_of(strategies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """r of every outcome, (outcome, strategy), and the prediction that it is of."""
    flat = strategies.reshape(len(strategies), -1).T
    prediction = np.arange(len(flat)) // strategies.shape[-1]
    return flat / flat.sum(axis=1, keepdims=True), prediction


@pytest.mark.parametrize("num_strategies", [2, 3, 4])
def test_coefficients_carry_the_plain_sum_over_outcomes(num_strategies: int):
    """Σ_i c_i log(r_i·w) beside Σ_j a_j log(r_j·w), a loop over outcomes; c sums to the mass."""
    ratio, prediction = ratios_of(CASES["many_alike"](num_strategies)[1])
    ((members, family),) = families_of(ratio, prediction, 5e-7 * (prediction[-1] + 1))
    assert isinstance(family, FewNodes)
    assert members.tolist() == list(range(len(ratio)))
    assert len(family.node) < len(ratio) / 3
    rng = np.random.default_rng(35)
    mass = rng.random((len(ratio), 2))
    coefficient = family.coefficients(family.columns(slice(None)).T @ mass)
    np.testing.assert_allclose(coefficient.sum(axis=0), mass.sum(axis=0), rtol=SUMS)
    drawn = rng.dirichlet(np.full(num_strategies, 0.3), size=20) + 1e-14
    for w in drawn / drawn.sum(axis=1, keepdims=True):
        expected = np.zeros(2)
        for r_j, a_j in zip(ratio, mass, strict=True):
            expected += a_j * np.log(sum(r * weight for r, weight in zip(r_j, w, strict=True)))
        found = coefficient.T @ np.log(family.node @ w)
        # a promise for each prediction, of which some 1.2 outcomes count
        allowed = REQUIRED * (prediction[-1] + 1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_families_are_disjoint_and_each_keeps_its_share_of_the_promise(num_strategies: int):
    """Where log-ratios lie hundreds of nats apart, outcomes are split until nodes carry them."""
    ratio, prediction = ratios_of(CASES["many_far_apart"](num_strategies)[1])
    families = list(families_of(ratio, prediction, 5e-7 * (prediction[-1] + 1)))
    members = np.concatenate([each for each, _ in families])
    assert np.sort(members).tolist() == list(range(len(ratio)))
    for each, family in families:
        if isinstance(family, DistinctOutcomes):
            every = np.asarray(family.columns(slice(None)).todense())
            np.testing.assert_array_equal(every @ family.node, ratio[each])


def test_nodes_are_the_same_every_time():
    """No machine may differ from another by more than rounding: nothing is drawn without a seed."""
    one, other = (statistics(*CASES["many_alike"](3)) for _ in range(2))
    assert one.ratio.tobytes() == other.ratio.tobytes()
    assert one.coefficient.tobytes() == other.coefficient.tobytes()


def test_every_promise_is_kept_where_nodes_have_to_be_chosen_again(monkeypatch):
    """Two nodes at first: more are taken, then outcomes are split, then they are nodes."""
    monkeypatch.setattr("rational_icl.cells.statistics.choice._MOST_NODES", 2)
    assert_equals_oracle("many_alike", INSIDE[3], REQUIRED)


@pytest.mark.parametrize("name", ["zeros_in_a_strategy", "zeros_in_the_transformer"])
def test_gradients_are_finite_where_a_log_ratio_is_minus_infinity(name: str):
    transformer, strategies = CASES[name](2)
    divergence = statistics(transformer, strategies).divergence
    assert (divergence.ratio == 0).any()

    def value(logit):
        return divergence(jax.nn.log_softmax(jax.numpy.stack([logit, 0 * logit]))[None])[0]

    with jax.enable_x64(True):
        for logit in (-30.0, 0.5, 30.0):
            up, down = (value(jax.numpy.asarray(logit + step)) for step in (1e-5, -1e-5))
            slope = jax.grad(value)(jax.numpy.asarray(logit))
            # central differences: curvature below one, so 1e-10 plus rounding 1e-15 / 1e-5
            np.testing.assert_allclose(slope, (up - down) / 2e-5, rtol=1e-6, atol=1e-8)
