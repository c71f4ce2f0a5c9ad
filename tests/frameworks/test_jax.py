"""A plain JAX loop needs no adapter: a function of the inputs is logged as it is."""

import jax
import jax.numpy as jnp
import logging_checks
import numpy as np
import pytest

from rational_icl.logs import Run


def test_a_plain_loop_logs_the_models_own_predictions(open_logger):
    logger = open_logger()
    weights = jax.random.normal(jax.random.key(0), (5, 4))
    expected = {}

    def logits(weights, tokens):
        return jnp.cumsum(weights[tokens], axis=1)

    def mean_loss(weights, tokens, targets):
        log_prob = jax.nn.log_softmax(logits(weights, tokens))
        return -jnp.take_along_axis(log_prob, targets[..., None], axis=2).mean()

    for step in range(1, 9):
        inputs = logger.training_batch(step).inputs.astype(int)
        weights -= jax.grad(mean_loss)(weights, logger.setting.tokens(inputs), inputs)
        if logger.due(step):
            logger.log(step, lambda own, now=weights: logits(now, logger.setting.tokens(own)))
            table = np.asarray(weights)
            expected[step] = {
                split: table[np.insert(own[:, :-1].astype(int), 0, 4, axis=1)].cumsum(axis=1)
                for split, own in logger.inputs.items()
            }
    logging_checks.differ(expected)
    logging_checks.hold(logger.finish(), expected)


def test_the_example_makes_a_log_also_after_a_stop(example, stopped, tmp_path):
    main = example("jax")["main"]
    main(tmp_path / "whole", (2,), 60)
    stopped(main, tmp_path / "logs", (2,), 60)
    assert 0 < len(Run(tmp_path / "logs" / "D2-s0.zarr").steps) < 20
    main(tmp_path / "logs", (2,), 60)
    logging_checks.accepted(tmp_path / "logs", 1)
    whole, resumed = (tmp_path / name / "D2-s0.zarr.zip" for name in ("whole", "logs"))
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.full
def test_the_examples_log_is_reported(example, tmp_path):
    example("jax")["main"](tmp_path / "logs", (2, 8, 32), 200)
    logging_checks.reported(tmp_path / "logs", tmp_path / "report")
