"""The transformer: causal, normalised, of the size it says."""

import jax
import numpy as np
import pytest

from rational_icl.settings import Categorical
from rational_icl.train.model import Interface, Transformer, initial
from rational_icl.train.objective import logged

URN = Categorical(num_dims=5, context_length=7)


@pytest.fixture(scope="module")
def model() -> Transformer:
    sizes = {"width": 16, "num_layers": 2, "num_heads": 2, "mlp_factor": 2.0}
    return initial(jax.random.key(0), Interface.of(URN), 0.02, **sizes)


def log_prob(model: Transformer, symbols: np.ndarray) -> np.ndarray:
    """What a log holds of one sequence."""
    (tokens,) = URN.tokens(symbols[None])
    return np.asarray(logged(URN.outcome, model(jax.numpy.asarray(tokens))))


def test_what_is_logged_are_log_probabilities(model):
    symbols = np.random.default_rng(1).integers(5, size=7)
    found = log_prob(model, symbols)
    assert found.shape == (7, 5)
    np.testing.assert_allclose(np.exp(found).sum(axis=-1), 1, atol=1e-5)  # float32


def test_no_position_sees_its_own_or_a_later_symbol(model):
    symbols = np.array([0, 1, 2, 3, 4, 0, 1])
    changed = symbols.copy()
    changed[3:] = [0, 0, 0, 0]
    first, second = log_prob(model, symbols), log_prob(model, changed)
    np.testing.assert_array_equal(first[:4], second[:4])
    assert np.abs(first[4:] - second[4:]).max() > 1e-6


def test_initial_weights(model):
    hidden = model.blocks[0].mlp.layers[0]
    assert hidden.weight.shape == (32, 16)
    np.testing.assert_allclose(np.std(hidden.weight), 0.02, rtol=0.15)  # of 512 draws
    assert not np.any(hidden.bias)
    assert np.all(model.final_norm.weight == 1)
