"""Binned sufficient statistics against the plain mean over predictions."""

import jax
import numpy as np
import pytest
from adversarial import CASES, coarseness, noisy_mixture, urns
from oracles import measures
from synthetic import evaluate, statistics

from rational_icl.cells.statistics import NUM_BLOCKS, joined, run_statistics
from rational_icl.cells.statistics.binned import BinnedStatistics
from rational_icl.cells.statistics.bins import bin_width
from rational_icl.settings import Categorical, Probabilities
from rational_icl.settings.draws import draw_from
from rational_icl.strategies.predictors import strategy_predictions

OUTCOME = Probabilities()
REQUIRED = 1e-6  # nats: what the statistics promise, for any weights
TYPICAL = 1e-8  # nats: what bins of two give on urns, where third moments have either sign
THIRD = 0.0963  # the largest third derivative of log(w + (1 - w) e^l), 1 / 6√3
SUMS = 1e-12  # relative: the same float64 sums in another order
GROWTH = 0.05  # twice the sequences may reach a few bins in the tails that were empty before

INSIDE = {
    2: [[w, 1 - w] for w in (1e-12, 1e-6, 0.03, 0.2, 0.5, 0.77, 0.999, 1 - 1e-12)],
    3: [
        [1 / 3, 1 / 3, 1 / 3],
        [1e-12, 0.2, 0.8 - 1e-12],
        [0.3, 1e-12, 0.7 - 1e-12],
        [0.05, 0.95 - 1e-12, 1e-12],
        [1 - 2e-12, 1e-12, 1e-12],
    ],
}


def assert_equals_oracle(name: str, weights: list[list[float]], tolerance: float) -> None:
    transformer, strategies = CASES[name](len(weights[0]))
    divergence = statistics(transformer, strategies).divergence
    for w in weights:
        expected = measures.mixture_divergence(transformer[0], strategies, w)
        found = evaluate(divergence, w)[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=f"weights {w}")


@pytest.mark.parametrize("num_strategies", [2, 3])
@pytest.mark.parametrize("name", [name for name in CASES if name != "skewed_within_a_bin"])
def test_divergence_equals_the_plain_mean(name: str, num_strategies: int):
    assert_equals_oracle(name, INSIDE[num_strategies], REQUIRED)


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_divergence_holds_its_bound_for_the_worst_mass_within_a_bin(num_strategies: int):
    """Log-ratios of a bin differ by its width, and of three strategies in opposite directions."""
    span = bin_width(num_strategies) * (1 if num_strategies == 2 else 2)
    allowed = span**3 * THIRD / 48
    assert num_strategies > 2 or allowed < REQUIRED
    assert_equals_oracle("skewed_within_a_bin", INSIDE[num_strategies], allowed)


@pytest.mark.parametrize("num_strategies", [2, 3])
def test_divergence_on_urns_is_far_more_exact_than_promised(num_strategies: int):
    allowed = TYPICAL * coarseness(num_strategies)  # bins of more strategies are wider
    assert allowed < REQUIRED
    assert_equals_oracle("urns", INSIDE[num_strategies], allowed)


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
    assert isinstance(first, BinnedStatistics)
    assert isinstance(second, BinnedStatistics)
    assert isinstance(whole, BinnedStatistics)
    assert len(first.bins) < len(whole.bins)
    for total in (first + second, second + first):
        for field, expected in vars(whole).items():
            np.testing.assert_allclose(getattr(total, field), expected, rtol=SUMS, atol=SUMS)
        found, expected = (evaluate(one.divergence, [0.2, 0.5, 0.3]) for one in (total, whole))
        np.testing.assert_allclose(found, expected, rtol=0, atol=SUMS)


def test_runs_of_different_bins_stand_beside_each_other():
    runs = [statistics(*CASES[name](2)) for name in ("urns", "extreme_ratios", "nearly_identical")]
    assert len({len(run.bins) for run in runs}) == 3
    together = evaluate(joined([run.divergence for run in runs]), [0.3, 0.7])
    alone = [evaluate(run.divergence, [0.3, 0.7])[0] for run in runs]
    np.testing.assert_allclose(together, alone, rtol=SUMS)


@pytest.mark.parametrize("bins", [1, 4, 7, 8, 9, 17, 33, 100, 1000])
def test_empty_bins_round_their_number_up_and_change_nothing(bins: int):
    """To one of four sizes between a power of two and the next."""
    strategies = np.stack([np.full(bins, 0.5), 0.5 * np.exp(-bin_width(2) * np.arange(bins))])
    both = np.stack([strategies, 1 - strategies], axis=-1)[:, :, None]
    transformer = noisy_mixture(both, 28)
    held = statistics(transformer, both)
    divergence = held.divergence
    size = divergence.mass.shape[1]
    assert len(held.bins) <= size <= 1.25 * len(held.bins)
    assert size % max(1, 2 ** (size.bit_length() - 1) // 4) == 0
    for more in (divergence, divergence.padded(size + 5)):
        assert np.asarray(more.mass)[:, len(held.bins) :].sum() == 0
        for w in INSIDE[2]:
            expected = measures.mixture_divergence(transformer[0], both, w)
            np.testing.assert_allclose(evaluate(more, w)[0], expected, rtol=0, atol=REQUIRED)


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


def test_bins_do_not_grow_with_the_number_of_sequences():
    setting, rng = Categorical(4, 12), np.random.default_rng(27)
    tasks = setting.draw_tasks(rng, 4)
    inputs, _ = draw_from(setting, rng, tasks, 4000)
    strategies = strategy_predictions(setting, tasks, inputs, ("memorizing", "generalizing"))
    transformer = strategies.mean(axis=0)[None]
    once, twice = (statistics(transformer[:, :n], strategies[:, :n]) for n in (2000, 4000))
    assert len(twice.bins) <= (1 + GROWTH) * len(once.bins)
    again = statistics(np.tile(transformer, (1, 2, 1, 1)), np.tile(strategies, (1, 2, 1, 1)))
    assert [leaf.shape for leaf in jax.tree.leaves(again)] == [
        leaf.shape for leaf in jax.tree.leaves(twice)
    ]


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
