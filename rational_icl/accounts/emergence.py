"""The account by which generalizing emerges at a time set by sizes of the task."""

from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Params
from rational_icl.accounts.two_strategies import TwoStrategies
from rational_icl.cells.records import Cells


class Emergence(TwoStrategies):
    """Emergence of generalizing, once and for good, at a time set by sizes. Source: notes on [1].

        π_G = σ((ln N − ln t_e)/s),   t_e = A C^a m^b D^κ

    C is the context length, m the number of dimensions. The source has t_e ∝ C √m and little
    dependence on D; the logistic of ln N and D^κ are our own forms.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | A | > 0 | emergence time at C = m = D = 1 | step |
    | a | (0, 2) | exponent of the context length | 1 |
    | b | (0, 1) | exponent of the number of dimensions | 1 |
    | kappa | (−1, 1) | exponent of task diversity | 1 |
    | s | (0, 2) | width of the transition in ln N | 1 |

    In one log C and m are usually the same everywhere; then only A C^a m^b can be told. The ranges
    hold what the theory says, a sudden emergence that hardly depends on D; without them a fit to
    runs that memorize in the end drives κ and s to infinity.

    [1] Zucchet et al. (2025), arXiv:2505.17863.
    """

    name: ClassVar[str] = "emergence"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: a around 1, b around ½ and κ around 0, flat; A within e⁴ of 12 steps."""
        return {
            "A": dist.LogNormal(2.5, 2.0),
            "a": dist.Uniform(0.0, 2.0),
            "b": dist.Uniform(0.0, 1.0),
            "kappa": dist.Uniform(-1.0, 1.0),
            "s": dist.Uniform(0.0, 2.0),
        }

    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of memorizing, (ln t_e − ln N)/s: sizes enter, losses do not."""
        log_emergence = (
            jnp.log(params["A"])
            + params["a"] * jnp.log(cells.context_length)
            + params["b"] * jnp.log(cells.num_dims)
            + params["kappa"] * jnp.log(cells.num_tasks)
        )
        return (log_emergence - jnp.log(cells.step)) / params["s"]
