"""The account by which a memorizing and a generalizing circuit race each other."""

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Params
from rational_icl.accounts.two_strategies import TwoStrategies, log_complement
from rational_icl.cells.records import Cells

_LOG_ROOT = 0.5 * math.log(math.pi / 2)
_EARLY = -30.0
_FARTHEST = 1e3
"""Standard deviations: beyond it weights are 0 and 1, and slopes of log Φ lose all digits."""


class Kinetic(TwoStrategies):
    """A race: memorizing removes the errors that drive generalizing. Source: [1], code + own.

    The generalizing circuit (w, b) is driven by the errors c1(t) that memory still makes,

        ẇ = (c1/N_c)(e^b − c_2 w),   ḃ = (c1/N_c) w e^b,   c1(t) = ½ (1 + t/t_D)^(−p)

    with N_c the context length and t in optimizer steps. At c_2 = 0 and w(0) = 0 the flow is
    solved by w = √2 erfinv(I/(N_c τ*)), b = b_0 + w²/2, which blows up, the circuit being formed,
    when I(t) = ∫ c1 dt reaches N_c τ*, τ* = √(π/2) e^(−b_0). Seeds differ in b_0 ~ Normal(μ, s):

        π_G = Φ((ln I(t) − ln N_c − ln √(π/2) + μ)/s)
        I(t) = a D^ν [1 − (1 + t/t_D)^(1−p)],   t_D = 2a (p − 1) D^ν

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | nu | > 0 | exponent of D in the time to memorize | 1 |
    | a | > 0 | errors made before one task is memorized | step |
    | p_minus_1 | > 0 | p − 1, with p the power by which errors of memory fall | 1 |
    | mu | real | mean over seeds of the bias b_0, plus ln of flow time per step | 1 |
    | s | > 0 | its standard deviation over seeds | 1 |

    As t → ∞, π_G → Φ((ν ln D + ln a − ln N_c − ln √(π/2) + μ)/s): a threshold in D set early,
    which does not move. The clock of memory, its power law in D and the closed form are our own
    algebra; the flow is the source's. Left out: c_2, the circuit's share e^b/(e^b + N_c) before it
    is formed, and its slow decay afterwards (weight decay). The weight is the mean over seeds: one
    seed has either strategy, so that near the threshold they are bimodal.

    [1] Nguyen & Reddy (2024), arXiv:2412.00104.
    """

    name: ClassVar[str] = "kinetic"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: ν around 0.7, p around 2; a and e^μ within a factor of e⁴ and e⁶ (95 %)."""
        return {
            "nu": dist.LogNormal(-0.35, 0.5),
            "a": dist.LogNormal(2.5, 2.0),
            "p_minus_1": dist.LogNormal(0.0, 1.0),
            "mu": dist.Normal(0.0, 3.0),
            "s": dist.LogNormal(0.0, 0.7),
        }

    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of memorizing, log Φ(−z) − log Φ(z), z the argument of Φ in the class."""
        bias = log_clock(params, cells) - jnp.log(cells.context_length) - _LOG_ROOT
        z = jnp.clip((bias + params["mu"]) / params["s"], -_FARTHEST, _FARTHEST)
        return jax.scipy.special.log_ndtr(-z) - jax.scipy.special.log_ndtr(z)


def log_clock(params: Params, cells: Cells) -> Float[Array, " cell"]:
    """Log of the errors that memory has made so far, ln I(t), I in steps."""
    log_all = jnp.log(params["a"]) + params["nu"] * jnp.log(cells.num_tasks)
    log_above = jnp.log(params["p_minus_1"])
    log_ratio = jnp.log(cells.step) - jnp.log(2.0) - log_above - log_all  # ln t/t_D
    # early, I(t) = t/2 to the last digit; what is huge would cancel
    early = log_ratio < _EARLY
    grown = jax.nn.softplus(jnp.where(early, 0.0, log_ratio))  # ln (1 + t/t_D)
    log_half = jnp.log(cells.step) - jnp.log(2.0)
    log_x = jnp.where(early, log_half - log_all, log_above + jnp.log(grown))
    late = log_all + log_complement(log_x)
    return jnp.where(early & (log_x < _EARLY), log_half, late)
