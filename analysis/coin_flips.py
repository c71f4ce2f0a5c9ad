"""A setting of your own: coin flips, defined, trained, logged, fitted and reported from one file.

    python analysis/coin_flips.py OUT

Takes a minute or two, and the extra: pip install 'rational_icl[train]'. Nothing in the package is
edited. To use the command line on such logs, name this file:
`rational-icl --load analysis/coin_flips.py check OUT/logs`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import rational_icl as ri
from rational_icl.settings import Symbols, register


@register
@dataclass(frozen=True)
class CoinFlips(Symbols):
    """A pool of coins: P(heads) w_d ~ Beta(a, a); a sequence is C flips of one coin.

    With h heads among the t flips seen:

        memorizing    sum_d r_d w_d,  r_d proportional to p_d w_d^h (1 - w_d)^(t-h)
        generalizing  (h + a) / (t + 2a)

    Tasks are the probabilities w (task,); inputs are 0 (tails) and 1 (heads).

    Args:
        concentration: a, above 0; 1 is uniform, less favours biased coins.
    """

    name: ClassVar[str] = "coin_flips"
    strategies: ClassVar[tuple[str, ...]] = ("memorizing", "generalizing")
    default_strategies: ClassVar[tuple[str, ...]] = strategies
    program_bits: ClassVar[Mapping[str, float]] = {"memorizing": 4200.0, "generalizing": 3800.0}
    task_axes: ClassVar[tuple[str, ...]] = ("task",)

    concentration: float

    @classmethod
    def sizes_of(cls, tasks, inputs):
        return {"num_dims": 2, "context_length": inputs.shape[1]}

    def problem_with_sizes(self):
        if self.num_dims != 2 or not self.concentration > 0:
            return "num_dims must be 2 (a coin has two sides) and concentration above 0"
        return None

    def problem_with_tasks(self, tasks):
        good = tasks.ndim == 1 and tasks.dtype.kind == "f" and ((tasks > 0) & (tasks < 1)).all()
        return None if good else "expected one probability of heads a task, between 0 and 1"

    def normalised_tasks(self, tasks):
        return tasks.astype(np.float64)

    def draw_tasks(self, rng, num_tasks):
        return np.clip(rng.beta(*[self.concentration] * 2, size=num_tasks), 1e-12, 1 - 1e-12)

    def draw_inputs(self, rng, tasks, pool, pool_prob):
        return (rng.random((len(tasks), self.context_length)) < tasks[:, None]).astype(np.uint8)

    def truth(self, tasks, inputs):
        return np.repeat(np.stack([1 - tasks, tasks], 1)[:, None], self.context_length, axis=1)

    def log_likelihood(self, prepared, inputs, position):
        return jnp.where(inputs[position] == 1, jnp.log(prepared), jnp.log1p(-prepared))

    def average(self, prepared, task_weight, inputs, position):
        heads = task_weight @ prepared
        return jnp.stack([1 - heads, heads])

    def continuous(self, strategy, inputs):
        seen = jax.nn.one_hot(inputs, 2, dtype=jnp.float64)
        count = jnp.cumsum(seen, axis=0) - seen + self.concentration
        return count / count.sum(axis=1, keepdims=True)

    def prior_parameters(self, strategy):
        return 1


def main(out: Path) -> None:
    from rational_icl.train import Grid, Recipe, train_grid

    recipe = Recipe(
        steps=1500, num_checkpoints=20, batch_size=32, learning_rate=2e-3, init_std=0.0, width=32
    )
    setting = CoinFlips(2, 16, 0.5)
    train_grid(Grid(setting, (2, 4, 8, 16, 32), (0,), recipe), out / "logs")
    analysis = ri.analyse(ri.open_log(out / "logs"), ri.accounts.Rational())
    print("Report:", ri.write_report(analysis, out / "report"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
