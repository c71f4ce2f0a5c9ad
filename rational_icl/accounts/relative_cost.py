"""The account by which the strategy with the shorter cumulative code is used."""

from typing import ClassVar

import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Account, Params, normalised
from rational_icl.cells.records import Cells

_SMALL_X, _SMALL_U = 1e-2, 1e-2
_LEAST_BITS = 1.0


class RelativeCost(Account):
    """Softmax of cumulative code lengths: what each strategy has cost to learn so far. Any K ≥ 2.

    Source: [1], abstract; the form is our own.

        log π_k  = −code_k(N)/T + const
        code_k(N) = N L_k + h ∫₀^N (1 + n/n_k)^(−p) dn,   n_k = τ K_k

    the prequential code length of strategy k: its asymptotic loss L_k, and on top of it an excess
    h that is learnt away as a power of n over a time proportional to the strategy's bits K_k.
    Strategies of few bits are used first, those of least loss last.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | T | > 0 | temperature: differences of code lengths that count | nat · step |
    | h | > 0 | excess loss before anything is learnt | nat |
    | tau | > 0 | learning time per bit | step · bit⁻¹ |
    | p | > 0 | power by which the excess falls | 1 |

    A strategy of less than one bit is taken to have one.

    [1] Ku, Griffiths & Chan (2025), arXiv:2505.09855.
    """

    name: ClassVar[str] = "relative_cost"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: T and τ within a factor of e⁵ (95 %), h around ¼ nat, p around 1.

        Wide, because losses of settings differ in scale, as is γ of `Rational`.
        """
        return {
            "T": dist.LogNormal(4.0, 2.5),
            "h": dist.LogNormal(-1.5, 2.0),
            "tau": dist.LogNormal(-3.0, 2.5),
            "p": dist.LogNormal(0.0, 0.5),
        }

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Softmax of −code/T: N in steps, L in nats per prediction, K in bits."""
        excess = cells.loss - cells.loss.min(axis=1, keepdims=True)
        scale = params["tau"] * jnp.maximum(cells.complexity, _LEAST_BITS)
        step = cells.step[:, None]
        cost = learning_cost(step, scale, params["p"])
        saved = learning_saved(step, scale, params["p"])
        # what is common to all is left out; of two numbers near N, what they lack is subtracted
        above, lacking = cost - cost.min(axis=1, keepdims=True), saved.max(1, keepdims=True) - saved
        extra = params["h"] * jnp.where(2 * cost.min(axis=1, keepdims=True) > step, lacking, above)
        return normalised(-(step * excess + extra) / params["T"])


def learning_cost(
    step: Float[Array, " cell #strategy"],
    scale: Float[Array, "cell strategy"],
    power: Float[Array, ""],
) -> Float[Array, "cell strategy"]:
    """Steps lost to learning, ∫₀^N (1 + n/n_k)^(−p) dn, for any p > 0.

    n_k ℓ (e^x − 1)/x, where ℓ = ln (1 + N/n_k) and x = (1 − p) ℓ, which is nought at p = 1.
    """
    grown = jnp.log1p(step / scale)
    x = (1 - power) * grown
    near = jnp.abs(x) < _SMALL_X
    series = 1 + x / 2 * (1 + x / 3 * (1 + x / 4 * (1 + x / 5 * (1 + x / 6))))
    safe = jnp.where(near, 1.0, x)
    return scale * grown * jnp.where(near, series, jnp.expm1(safe) / safe)


def learning_saved(
    step: Float[Array, " cell #strategy"],
    scale: Float[Array, "cell strategy"],
    power: Float[Array, ""],
) -> Float[Array, "cell strategy"]:
    """Steps saved by learning: N less `learning_cost`, with all digits where little is saved.

    ∫₀^N 1 − (1 + n/n_k)^(−p) dn: with u = N/n_k and ℓ = ln (1 + u), a series where (1 + p) u is
    small, n_k (−(1 + u) (e^(−pℓ) − 1) − p u)/(1 − p) where p is, and the difference elsewhere.
    """
    u = step / scale
    early, slow = (1 + power) * u < _SMALL_U, power < _SMALL_U
    small = jnp.where(early, u, 0.0)
    terms = 1 - (power + 2) / 4 * small * (1 - (power + 3) / 5 * small)
    series = power * small / 2 * (1 - (power + 1) / 3 * small * terms)
    p = jnp.where(slow, power, 0.0)
    exact = scale * (-(1 + u) * jnp.expm1(-p * jnp.log1p(u)) - p * u) / (1 - p)
    difference = step - learning_cost(step, scale, power)
    return jnp.where(early, step * series, jnp.where(slow, exact, difference))
