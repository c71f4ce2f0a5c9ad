"""Transformers and strategies that nodes could get wrong, by name.

Each is a function of the number of strategies: transformer (step, sequence, position, outcome),
strategies (strategy, sequence, position, outcome).
"""

import numpy as np

from rational_icl.settings import Categorical
from rational_icl.settings.draws import draw_from
from rational_icl.strategies.predictors import strategy_predictions


def noisy_mixture(strategies: np.ndarray, seed: int, noise: float = 0.5) -> np.ndarray:
    """One checkpoint near the even mixture, (step, sequence, position, outcome)."""
    mixed = strategies.mean(axis=0)
    noisy = mixed * np.exp(noise * np.random.default_rng(seed).standard_normal(mixed.shape))
    return (noisy / noisy.sum(axis=-1, keepdims=True))[None]


def urns(num_strategies: int) -> tuple[np.ndarray, np.ndarray]:
    """The strategies on urn sequences, and a transformer between them."""
    setting, rng = Categorical(4, 12), np.random.default_rng(21)
    tasks = setting.draw_tasks(rng, 6)
    inputs, _ = draw_from(setting, rng, tasks, 24)
    found = strategy_predictions(setting, tasks, inputs, setting.strategies[:num_strategies])
    return noisy_mixture(found, 22), found


def dirichlet(num_strategies: int, seed: int = 23) -> np.ndarray:
    """Strategies that have nothing to do with each other, with outcomes of 1e-9 and less."""
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(4, 0.3), size=(num_strategies, 16, 3))


def zeros_in_a_strategy(num_strategies: int) -> tuple[np.ndarray, np.ndarray]:
    strategies = dirichlet(num_strategies)
    strategies[0, :8, :, 1] = 0
    strategies[1, 4:12, :, 2] = 0
    strategies /= strategies.sum(axis=-1, keepdims=True)
    return noisy_mixture(strategies, 24), strategies


def zeros_in_the_transformer(num_strategies: int) -> tuple[np.ndarray, np.ndarray]:
    """Certain predictions, some of them of an outcome that only one strategy allows."""
    strategies = zeros_in_a_strategy(num_strategies)[1]
    outcome = (np.arange(16)[:, None] + np.arange(3)) % 4
    return np.eye(4)[outcome][None], strategies


def zeros_in_both(num_strategies: int) -> tuple[np.ndarray, np.ndarray]:
    """Both forbid the same outcome: at a vertex its bin is 0 log 0."""
    transformer, strategies = urns(num_strategies)
    for predicted in (transformer[0], strategies[0]):
        predicted[..., 3] = 0
        predicted /= predicted.sum(axis=-1, keepdims=True)
    return transformer, strategies


def nearly_identical(num_strategies: int) -> tuple[np.ndarray, np.ndarray]:
    one = dirichlet(1)
    tilts = 1e-9 * np.arange(num_strategies)[:, None, None, None] * np.array([1, -1, 1, -1])
    strategies = one * (1 + tilts)
    strategies /= strategies.sum(axis=-1, keepdims=True)
    return noisy_mixture(strategies, 25), strategies


def extreme_ratios(num_strategies: int) -> tuple[np.ndarray, np.ndarray]:
    strategies = dirichlet(num_strategies)
    strategies[0, :8, :, 1] = 1e-300
    strategies[1, 4:12, :, 2] = 1e-300
    strategies /= strategies.sum(axis=-1, keepdims=True)
    return noisy_mixture(dirichlet(num_strategies, 26), 26), strategies


def many_alike(num_strategies: int) -> tuple[np.ndarray, np.ndarray]:
    """More different outcomes than could all be nodes, of log-ratios of a few nats."""
    rng = np.random.default_rng(29)
    strategies = rng.dirichlet(np.full(5, 3.0), size=(num_strategies, 64, 4))
    return noisy_mixture(strategies, 30), strategies


def many_far_apart(num_strategies: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-ratios over hundreds of nats: no few of them carry all others."""
    rng = np.random.default_rng(31)
    strategies = np.exp(-500 * rng.random((num_strategies, 50, 2, 6)))
    strategies /= strategies.sum(axis=-1, keepdims=True)
    return noisy_mixture(strategies, 32), strategies


def many_with_zeros(num_strategies: int) -> tuple[np.ndarray, np.ndarray]:
    """A third of all outcomes ruled out by some strategies, at random."""
    rng = np.random.default_rng(33)
    strategies = rng.dirichlet(np.full(6, 2.0), size=(num_strategies, 100, 4))
    strategies[rng.random(strategies.shape) < 0.15] = 0
    strategies[..., 0] += 1e-3
    strategies /= strategies.sum(axis=-1, keepdims=True)
    return noisy_mixture(strategies, 34), strategies


CASES = {
    "urns": urns,
    "zeros_in_a_strategy": zeros_in_a_strategy,
    "zeros_in_the_transformer": zeros_in_the_transformer,
    "zeros_in_both": zeros_in_both,
    "nearly_identical": nearly_identical,
    "extreme_ratios": extreme_ratios,
    "many_alike": many_alike,
    "many_far_apart": many_far_apart,
    "many_with_zeros": many_with_zeros,
}
