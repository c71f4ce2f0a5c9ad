"""Refits, many at once: posteriors of one model with cells left out, or of simulated cells."""

from typing import Any

import equinox as eqx
import jax
import numpy as np

from rational_icl.posterior.model import Data, Model
from rational_icl.posterior.nuts import chains, check_number, constrained

AT_ONCE = 12
"""Posteriors sampled between two looks at the progress bar, one chain each."""
_TARGET_ACCEPT = 0.9


def posteriors(
    model: Model, data: Data, num_warmup: int, num_draws: int, seed: int
) -> dict[str, np.ndarray]:
    """Draws of all that the model names, one chain for each data set: (data set, draw, ...)."""
    for name, value in (("num_warmup", num_warmup), ("num_draws", num_draws)):
        check_number(name, value)
    runner = chains(model, num_warmup, False)
    keys = jax.random.split(jax.random.key(seed), len(data.condition))
    state = runner.warm_up(runner.start(keys, data), data, _TARGET_ACCEPT)
    drawn = runner.draw(state, data, num_draws)
    named: dict[str, Any] = constrained(model, data, shared_data=False)(drawn.position)
    return {**named, "diverging": drawn.statistics["diverging"]}


def with_used(data: Data, used: np.ndarray) -> Data:
    """Copies of the data, one per row of `used`."""
    copies = jax.tree.map(lambda leaf: np.repeat(np.asarray(leaf)[None], len(used), axis=0), data)
    return eqx.tree_at(lambda d: d.response.used, copies, used)
