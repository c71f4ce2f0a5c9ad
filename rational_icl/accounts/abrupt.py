"""The account by which generalizing appears abruptly, once a chain of steps is learnt."""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl._jit import in_float64
from rational_icl.accounts.base import Params
from rational_icl.accounts.two_strategies import TwoStrategies, log_complement
from rational_icl.cells.records import Cells

START = 0.01
"""Of β1, α and ξ: the start from which the numbers of the source's loss are found again."""

_T_MIN, _T_MAX = 1e-5, 1e5
_NUM_TIMES = 8192
_ROUNDING = 0.01
"""Competence at which the clip at nought is rounded off."""
_MEMORIZED = 5.0
"""ln of the time in units of the clock after which all is memorized: weights are 1 to e⁻¹⁴⁸."""


class Abrupt(TwoStrategies):
    """Abrupt induction: logits learn slowly, then all at once. Source: [1], own re-derivation.

        p_1 = e^β1/(e^β1 + 2n − 1)                    attention finds the label of an item
        p_2 = e^(α p_1)/(e^(α p_1) + n − 1)           and the item that matches
        q   = (1 − p_2)/(n − 1)
        P   = e^(ξ p_2)/(e^(ξ p_2) + (n − 1) e^(ξ q) + labels − n)     and so the correct label

    Gradient flow on −log P from β1 = α = ξ = 0.01, which with n = 8 of 32 labels gives P = .05,
    .06, .74, .97 at t = 54, 60, 66, 84. The competence of generalizing is P above the guess 1/n
    among the labels in context; a clock memorizes meanwhile, and both share the weight:

        g = (P(rate · N) − 1/n)/(1 − 1/n), not below 0
        m = 1 − exp(−N/(τ_M D^ν)),   π_M = m/(m + g (1 − m))

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | rate | > 0 | time of the flow per step: learning rate | step⁻¹ |
    | tau_M | > 0 | time to memorize one task | step |
    | nu | > 0 | exponent of D in the time to memorize | 1 |

    Our own: the memorizing clock, how the two share, and the clip at nought, which is
    0.01 ln(1 + e^(g/0.01)). The flow is followed to t = 10⁵; P then stays as it is. With as many
    labels as items P stays at 1/n at first (to t of some hundreds), though not for ever.

    Args:
        num_items: n, items in context.
        num_labels: labels in all.

    [1] Reddy (2023), arXiv:2312.03002.
    """

    name: ClassVar[str] = "abrupt"
    num_items: int = 8
    num_labels: int = 32

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: a rise at t = 66 within a factor of e⁴ of 1,500 steps (95 %); ν around 0.7."""
        return {
            "rate": dist.LogNormal(-3.1, 2.0),
            "tau_M": dist.LogNormal(4.0, 2.0),
            "nu": dist.LogNormal(-0.35, 0.5),
        }

    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of memorizing over generalizing, ln m − ln(1 − m) − ln g."""
        log_step, log_tasks = jnp.log(cells.step), jnp.log(cells.num_tasks)
        log_age = log_step - jnp.log(params["tau_M"]) - params["nu"] * log_tasks
        correct = self.correct(log_step + jnp.log(params["rate"]))
        above = (correct - 1 / self.num_items) / (1 - 1 / self.num_items)
        competence = _ROUNDING * jax.nn.softplus(above / _ROUNDING)
        log_unmemorized = -jnp.exp(jnp.minimum(log_age, _MEMORIZED))  # ln(1 − m)
        return log_complement(log_age) - log_unmemorized - jnp.log(competence)

    def correct(self, log_time: Float[Array, "*time"]) -> Float[Array, "*time"]:
        """Probability P of the correct label at logs of flow time, interpolated by cubics."""
        value, slope = _solution(self.num_items, self.num_labels)
        width = (np.log(_T_MAX) - np.log(_T_MIN)) / (_NUM_TIMES - 1)
        index = jnp.clip((log_time - np.log(_T_MIN)) / width, 0.0, _NUM_TIMES - 1.0)
        before = jnp.minimum(index.astype(int), _NUM_TIMES - 2)
        s = index - before
        start, end = jnp.asarray(value)[before], jnp.asarray(value)[before + 1]
        start_slope, end_slope = (width * jnp.asarray(slope)[before + i] for i in (0, 1))
        rise = end - start
        curved = (1 - s) * (start_slope - rise) - s * (end_slope - rise)
        return start + s * rise + s * (1 - s) * curved


def log_correct(
    logits: Float[Array, "logit=3"], num_items: int, num_labels: int
) -> Float[Array, ""]:
    """Log probability of the correct label, log P, from the logits β1, α and ξ."""
    beta, alpha, xi = logits
    num_others = num_items - 1
    p_label = jnp.exp(beta) / (jnp.exp(beta) + 2 * num_items - 1)
    p_match = jnp.exp(alpha * p_label) / (jnp.exp(alpha * p_label) + num_others)
    p_other = (1 - p_match) / num_others
    unmatched = num_others * jnp.exp(xi * p_other) + num_labels - num_items
    return xi * p_match - jnp.log(jnp.exp(xi * p_match) + unmatched)


@lru_cache(maxsize=8)
def _solution(
    num_items: int, num_labels: int
) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    """P and dP/d ln t at times evenly spaced in ln t; no parameter of a fit is in it."""
    # a fit asks for it while it is traced; numbers are computed in a thread, where nothing is
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_solve, num_items, num_labels).result()


@in_float64
def _solve(
    num_items: int, num_labels: int
) -> tuple[Float[np.ndarray, " time"], Float[np.ndarray, " time"]]:
    import diffrax

    def correct(logits):
        return jnp.exp(log_correct(logits, num_items, num_labels))

    def flow(log_time, logits, args):
        return jnp.exp(log_time) * jax.grad(log_correct)(logits, num_items, num_labels)

    def slope(log_time, logits):
        return jax.grad(correct)(logits) @ flow(log_time, logits, None)

    times = jnp.linspace(np.log(_T_MIN), np.log(_T_MAX), _NUM_TIMES)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(flow),
        diffrax.Tsit5(),
        t0=times[0],
        t1=times[-1],
        dt0=0.01,
        y0=jnp.full(3, START),
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-10),
        max_steps=100_000,
    )
    assert solution.ys is not None
    slopes = jax.vmap(slope)(times, solution.ys)
    return np.asarray(jax.vmap(correct)(solution.ys)), np.asarray(slopes)
