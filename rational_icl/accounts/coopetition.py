"""The account by which two strategies share parts, and so both help and displace each other."""

from functools import partial
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Params
from rational_icl.accounts.shared_factors import MU_2, flow, losses, solve_all, states_at
from rational_icl.accounts.two_strategies import TwoStrategies
from rational_icl.cells.records import Cells

LONG = 160.0
"""Entries of d at D = D_0."""

_LONGEST = 1e5
_MOST_DIVERSITIES = 256


class Coopetition(TwoStrategies):
    """Gradient flow of two mechanisms that share two of three factors. Source: [1], code.

        minimise (L_1 + μ_1)(L_2 + μ_2) + cost · ½ mean (a⊗d)²
        L_1 = ½ mean (a*⊗b*⊗c* − a⊗b⊗c)²   in context, π_G
        L_2 = ½ mean (d*⊗b*⊗c* − d⊗b⊗c)²   in weights, π_M, slower because d is longer
        π_M = (L_1 + μ_1)/(L_1 + L_2 + μ_1 + μ_2)

    a, b, c ∈ R²⁰; dim d = 160 (D/D_0)^κ, a number that need not be whole. Gradients of a factor
    are combinations of itself and its target, so that its part along the target, x, and the length
    of the rest, y, obey equations of their own, exactly; b and c, which start alike, stay alike.
    Six numbers are left (`shared_factors`), in units of the target's length, |target|² = dim.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | mu_1 | > 0 | loss that in-context learning cannot remove | 1 |
    | cost | > 0 | of having both mechanisms | 1 |
    | D_0 | > 0 | task diversity where d is as long as in the source | task |
    | kappa | > 0 | how d grows with D | 1 |
    | rate | > 0 | time of the flow per step: learning rate | step⁻¹ |

    Our own: dim d as a power of D; the deterministic start, x = 0.35/√dim for every factor and
    |factor| = |target| (the source's code draws standard-normal factors, targets and starts alike,
    whose seeds differ in when and whether anything is learnt; 0.35 is chosen so that in-context
    learning is best near t = 3,000); μ_2 = 10⁻⁶ in place of 0, so that odds stay
    finite; d no shorter than 1 and no longer than 10⁵. The flow is followed for 768 steps, with the
    source's values up to t ≈ 20,000; weights then stay as they are. Weights are within about 0.01
    of the flow's, 0.02 far from the source's values.

    [1] Singh et al. (2025), arXiv:2503.05631.
    """

    name: ClassVar[str] = "coopetition"
    costly: ClassVar[bool] = True

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: μ_1 and cost near those of the source, D_0 within a factor of e³, rate near 1."""
        return {
            "mu_1": dist.LogNormal(-2.3, 0.7),
            "cost": dist.LogNormal(-2.3, 0.7),
            "D_0": dist.LogNormal(4.0, 1.5),
            "kappa": dist.LogNormal(-0.7, 0.5),
            "rate": dist.LogNormal(0.5, 1.5),
        }

    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of memorizing, ln (L_1 + μ_1) − ln (L_2 + μ_2) at flow time rate · N.

        Not a number beyond 256 task diversities.
        """
        size = min(len(cells), _MOST_DIVERSITIES)
        diversity, lane = jnp.unique(cells.num_tasks, return_inverse=True, size=size)
        ratio = params["kappa"] * (jnp.log(diversity) - jnp.log(params["D_0"]))
        length = jnp.exp(jnp.clip(np.log(LONG) + ratio, 0.0, np.log(_LONGEST)))
        states = solve_all(length, params["mu_1"], params["cost"], lane.max())
        slope = partial(flow, length=length[lane], mu_1=params["mu_1"], cost=params["cost"])
        time = params["rate"] * cells.step
        in_context, in_weights = losses(states_at(time, states, lane, slope))
        odds = jnp.log(in_context + params["mu_1"]) - jnp.log(in_weights + MU_2)
        return jnp.where(cells.num_tasks == diversity[lane], odds, jnp.nan)
