"""The transformer: causal, normalised, of the size it says."""

import jax
import numpy as np
import pytest

from rational_icl.train.model import Transformer, initial


@pytest.fixture(scope="module")
def model() -> Transformer:
    return initial(jax.random.key(0), 5, width=16, num_layers=2, num_heads=2, mlp_factor=2.0)


def test_outputs_are_log_probabilities(model):
    symbols = jax.random.randint(jax.random.key(1), (9,), 0, 5)
    np.testing.assert_allclose(np.exp(model(symbols)).sum(axis=-1), 1, atol=1e-5)  # float32


def test_no_position_sees_its_own_or_a_later_symbol(model):
    symbols = np.array([0, 1, 2, 3, 4, 0, 1])
    changed = symbols.copy()
    changed[3:] = [0, 0, 0, 0]
    first, second = model(jax.numpy.asarray(symbols)), model(jax.numpy.asarray(changed))
    np.testing.assert_array_equal(first[:4], second[:4])
    assert np.abs(first[4:] - second[4:]).max() > 1e-6


def test_initial_weights(model):
    hidden = model.blocks[0].mlp.layers[0]
    assert hidden.weight.shape == (32, 16)
    np.testing.assert_allclose(np.std(hidden.weight), 0.02, rtol=0.15)  # of 512 draws
    assert not np.any(hidden.bias)
    assert np.all(model.final_norm.weight == 1)
