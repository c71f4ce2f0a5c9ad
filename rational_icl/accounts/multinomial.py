"""Benchmarks of any number of strategies: what a theory of three or four must beat."""

from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl.accounts.base import Account, Params
from rational_icl.accounts.benchmarks import CurvedSurface, LogisticSurface, logarithms
from rational_icl.cells.records import Cells


class MultinomialSurface(Account):
    """A multinomial logistic surface over ln N and ln D, with interaction, of three or more.

        log π_k = a_k + b_k x + c_k y + d_k x y + const,   x = ln N/1000, y = ln D/32

    and nought for the first strategy.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | intercept_k, slope_step_k, slope_num_tasks_k, interaction_k | real | of strategies 2 … K | 1 |
    """

    name: ClassVar[str] = "multinomial_surface"
    theory: ClassVar[bool] = False
    ordered: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = tuple(LogisticSurface().priors)
    num_strategies: int = eqx.field(static=True, default=3)

    @classmethod
    def of(cls, strategies: tuple[str, ...]) -> "Account":
        """The account for three or more strategies.

        Raises:
            FitError: there are two, of which `logistic_surface` is the same.
        """
        if len(strategies) < 3:
            raise FitError(
                f"account {cls.name!r}: {len(strategies)} strategies ({', '.join(strategies)}); it "
                "is of three or more, and of two `logistic_surface` is the same"
            )
        return cls(len(strategies))

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Weakly informative normal priors, those of the logistic surfaces."""
        of_two = CurvedSurface().priors
        return {
            f"{kind}_{k}": of_two[kind]
            for k in range(2, self.num_strategies + 1)
            for kind in self.kinds
        }

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Normalised surfaces, that of the first strategy nought."""
        x, y = logarithms(cells)
        terms = jnp.stack([jnp.ones_like(x), x, y, x * y, x**2][: len(self.kinds)])
        surfaces = [
            jnp.stack([params[f"{kind}_{k}"] for kind in self.kinds]) @ terms
            for k in range(2, self.num_strategies + 1)
        ]
        return jax.nn.log_softmax(jnp.stack([jnp.zeros_like(x), *surfaces], axis=1), axis=1)


class CurvedMultinomialSurface(MultinomialSurface):
    """A multinomial logistic surface of three or more, with interaction and curvature along ln N.

        log π_k = a_k + b_k x + c_k y + d_k x y + e_k x² + const,   x = ln N/1000, y = ln D/32

    Parameters as in `MultinomialSurface`, and curvature_k, e.
    """

    name: ClassVar[str] = "multinomial_surface_curved"
    kinds: ClassVar[tuple[str, ...]] = tuple(CurvedSurface().priors)
