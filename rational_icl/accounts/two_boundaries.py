"""The account by which a kinetic and a capacity boundary divide task diversities."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Params
from rational_icl.accounts.two_strategies import TwoStrategies
from rational_icl.cells.records import Cells


class TwoBoundaries(TwoStrategies):
    """Two boundaries in D: memorizing before or after generalizing, and only up to a capacity.

    Source: [1], abstract; the form is our own.

        n    = min(N, τ_G) + (1 − ρ) max(N − τ_G, 0)
        π_M  = c_D σ((ln n − ln(τ_M D^ν))/s),   c_D = min(1, (D_2/D)^η)

    Few tasks are memorized before generalizing is there, at τ_G. More tasks are memorized after,
    and slower by ρ, because generalizing has explained the loss away: a kink in N*(D) at
    D_1 = (τ_G/τ_M)^(1/ν), the kinetic boundary. Tasks beyond D_2 do not all fit: a part of
    generalizing is permanent, the bottleneck.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | nu | > 0 | exponent of D in the time to memorize | 1 |
    | tau_G | > 0 | when generalizing is there | step |
    | tau_M | > 0 | time to memorize one task | step |
    | rho | (0, 1) | slow-down of memorizing from then on | 1 |
    | eta | > 0 | how capacity falls with D | 1 |
    | D_2 | > 0 | how many tasks fit | task |
    | s | > 0 | width of the transition in ln N | 1 |

    [1] Gibson, Cui & Reddy (2026), arXiv:2604.12151.
    """

    name: ClassVar[str] = "two_boundaries"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: times and capacity within a factor of e⁴ (95 %), exponents around 1, ρ flat."""
        return {
            "nu": dist.LogNormal(-0.35, 0.5),
            "tau_G": dist.LogNormal(6.5, 2.0),
            "tau_M": dist.LogNormal(3.5, 2.0),
            "rho": dist.Uniform(0.0, 1.0),
            "eta": dist.LogNormal(0.0, 0.7),
            "D_2": dist.LogNormal(6.0, 2.0),
            "s": dist.LogNormal(-0.5, 0.7),
        }

    def log_odds(self, params: Params, cells: Cells) -> Float[Array, " cell"]:
        """Log odds of memorizing, ln c_D σ(u) − ln (1 − c_D σ(u)), of logs only."""
        log_tasks = jnp.log(cells.num_tasks)
        after = jnp.maximum(cells.step - params["tau_G"], 0.0)
        progress = jnp.minimum(cells.step, params["tau_G"]) + (1 - params["rho"]) * after
        late = jnp.log(progress) - jnp.log(params["tau_M"]) - params["nu"] * log_tasks
        u = late / params["s"]
        short = params["eta"] * (log_tasks - jnp.log(params["D_2"]))
        # 1 − c σ(u) = σ(−u) + (1 − c) σ(u); the second term has no log where all tasks fit
        unfit = jnp.log(-jnp.expm1(-jnp.where(short > 0, short, 1.0)))
        beyond = jnp.logaddexp(jax.nn.log_sigmoid(-u), unfit + jax.nn.log_sigmoid(u))
        within = jax.nn.log_sigmoid(u) - jnp.maximum(short, 0.0)
        return within - jnp.where(short > 0, beyond, jax.nn.log_sigmoid(-u))
