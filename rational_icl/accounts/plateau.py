"""The rational account with a ceiling on memorizing."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.accounts.base import Account, Params
from rational_icl.accounts.rational import Rational
from rational_icl.cells.records import Cells


class Plateau(Account):
    """An account whose first strategy cannot exceed a ceiling that falls with task diversity.

        π_1 = π_1' / (1 + (D/D_c)^η),   the rest goes to the second strategy

    with π' the weights of the inner account. Own form, for runs that stop short of memorizing.

    | parameter | range | meaning | unit |
    |---|---|---|---|
    | num_tasks_c | > 0 | D_c, task diversity at which the ceiling is one half | tasks |
    | eta | > 0 | η, how fast it falls | 1 |
    | others | | those of the inner account | |
    """

    name: ClassVar[str] = "rational_plateau"
    ordered: ClassVar[bool] = True
    inner: Account = Rational()

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        """Priors: D_c between 2 and 80,000 and η between ¼ and 4 (95 %)."""
        ceiling_priors = {"num_tasks_c": dist.LogNormal(6.0, 2.7), "eta": dist.LogNormal(0.0, 0.7)}
        return {**self.inner.priors, **ceiling_priors}

    def log_weights(self, params: Params, cells: Cells) -> Float[Array, "cell strategy"]:
        """Log weights of the inner account with the first strategy under the ceiling."""
        inner = self.inner.log_weights(params, cells)
        over = params["eta"] * (jnp.log(cells.num_tasks) - jnp.log(params["num_tasks_c"]))
        log_memorizing = inner[:, 0] + jax.nn.log_sigmoid(-over)
        log_next = jnp.logaddexp(inner[:, 1], inner[:, 0] + jax.nn.log_sigmoid(over))
        return jnp.concatenate([log_memorizing[:, None], log_next[:, None], inner[:, 2:]], axis=1)

    def pivoted(self, cells: Cells) -> Account:
        """The plateau of the pivoted inner account."""
        return Plateau(self.inner.pivoted(cells))

    def natural(self, params: Params) -> dict[str, Array]:
        """Natural parameters of the inner account, with num_tasks_c and eta."""
        ceiling = {name: params[name] for name in ("num_tasks_c", "eta")}
        return {**self.inner.natural(params), **ceiling}
