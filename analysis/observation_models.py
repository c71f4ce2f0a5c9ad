"""Which observation model do transformers ask for? Held-out runs decide.

    python analysis/observation_models.py [LOG] [--out TABLE.csv]

Each candidate is refitted with every run left out, and scored by the log density of that run's
best-mixture weights, and by how often its intervals cover them. Candidates: the divergence of the
published criterion, tempered, to second order about the best mixture of each cell; a Beta and a
logit-normal distribution of the best weight; Student-t tails; effects of task diversity and run;
autocorrelated residuals.
"""

import argparse
import math
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd

import rational_icl as ri
from rational_icl.posterior.coordinates import Response, softened
from rational_icl.posterior.noise import Observation, StudentResiduals


class Independent(Observation):
    """Weights of two strategies that scatter independently, with one precision."""

    num_tasks_effects: bool = eqx.field(static=True, default=False)
    smooth_effects: bool = eqx.field(static=True, default=False)
    run_effects: bool = eqx.field(static=True, default=False)

    @property
    def priors(self):
        return {"precision": dist.LogNormal(math.log(100.0), 3.0)}

    def of_weight(self, noise, log_weight, response: Response) -> dist.Distribution:
        """The distribution of the first strategy's weight."""
        raise NotImplementedError

    def log_density(self, noise, log_weight, response):
        return self.of_weight(noise, log_weight, response).log_prob(_weight(response))

    def simulate(self, key, noise, log_weight, response):
        weight = self.of_weight(noise, log_weight, response).sample(key)
        both = jnp.clip(jnp.stack([weight, 1 - weight], axis=1), 0.0, 1.0)
        return softened(jnp.log(both), response.softening)


class TemperedDivergence(Independent):
    """p(w) ∝ exp(−precision · curvature · (w − π)² / 2) on [0, 1].

    The published criterion weighs cells by nats of divergence; about the best weight that is its
    curvature there, and `precision` the inverse temperature.
    """

    curvature: tuple[float, ...] = eqx.field(static=True, default=())

    def of_weight(self, noise, log_weight, response):
        scale = 1 / jnp.sqrt(noise["precision"] * jnp.asarray(self.curvature))
        return dist.TruncatedNormal(jnp.exp(log_weight[:, 0]), scale, low=0.0, high=1.0)


class BetaWeights(Independent):
    """Beta with mean π; weights and means are softened off the ends first."""

    def of_weight(self, noise, log_weight, response):
        delta = response.softening
        mean = (jnp.exp(log_weight[:, 0]) + delta) / (1 + 2 * delta)
        beta = dist.Beta(mean * noise["precision"], (1 - mean) * noise["precision"])
        shrink = dist.transforms.AffineTransform(-delta, 1 + 2 * delta)
        return dist.TransformedDistribution(beta, shrink)


def _weight(response: Response) -> jax.Array:
    delta = response.softening
    soft = jax.nn.sigmoid(response.coordinate[:, 0]) * (1 + 2 * delta) - delta
    return jnp.clip(soft, 0.0, 1.0)


def curvature(cells: ri.Cells, behaviour: ri.Behaviour, chosen: np.ndarray) -> tuple[float, ...]:
    """Second derivative of each chosen cell's divergence along w_1, by central differences."""
    split = behaviour.splits["id"]
    width = 1e-3
    centre = np.clip(split.best_weight[:, 0], width, 1 - width)

    def at(weight: np.ndarray) -> np.ndarray:
        both = np.stack([weight, 1 - weight], axis=1)
        with jax.enable_x64(True), np.errstate(divide="ignore"):
            return np.asarray(split.divergence(np.log(both)))

    second = (at(centre - width) - 2 * at(centre) + at(centre + width)) / width**2
    order = np.lexsort((np.asarray(cells.step), behaviour.run))
    return tuple(map(float, np.maximum(second, 1e-6)[order[chosen[order]]]))


def candidates(curvatures: tuple[float, ...]) -> dict[str, Observation]:
    none = {"num_tasks_effects": False, "run_effects": False}
    plain = {"correlated": False, "heavy_tails": False}
    return {
        "Student-t, both effects, autocorrelated": StudentResiduals(),
        "Student-t, both effects, independent over D, autocorrelated": StudentResiduals(
            smooth_effects=False
        ),
        "Student-t, both effects": StudentResiduals(correlated=False),
        "logit-normal, both effects, autocorrelated": StudentResiduals(heavy_tails=False),
        "Student-t, run effects, autocorrelated": StudentResiduals(num_tasks_effects=False),
        "Student-t, autocorrelated": StudentResiduals(**none),
        "Student-t": StudentResiduals(**none, correlated=False),
        "logit-normal": StudentResiduals(**none, **plain),
        "Beta": BetaWeights(),
        "tempered divergence": TemperedDivergence(curvature=curvatures),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shipped = Path(__file__).parent.parent / "data" / "urns"
    parser.add_argument("log", nargs="?", type=Path, default=shipped)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", help="candidates whose name contains this")
    options = parser.parse_args()
    log = ri.open_log(options.log)
    cells, behaviour = ri.summarize(log, ("memorizing", "generalizing"))
    early = ri.partition_cells(cells, behaviour).excluded_early
    regions = ri.Regions(~early, np.zeros_like(early), early)
    rows = []
    for name, observation in candidates(curvature(cells, behaviour, ~early)).items():
        if options.only and options.only not in name:
            continue
        posterior = ri.sample(
            ri.accounts.Rational(),
            cells,
            behaviour,
            regions=regions,
            observation=observation,
            num_chains=1,
            num_warmup=25,
            num_draws=25,
            adapt=False,
            progress=False,
        )
        held_out = ri.leave_one_run_out(posterior, num_warmup=300, num_draws=200)
        density = held_out.groupby("left_out")["log_density"].first()
        whole = ri.coverage(held_out).iloc[0].drop("log_density")
        row = {"model": name, "elpd": density.sum(), "se": density.std() * len(density) ** 0.5}
        rows.append(row | {"worst_run": density.min()} | whole.to_dict())
        print(pd.DataFrame(rows).round(3).to_string(index=False), flush=True)
    if options.out:
        pd.DataFrame(rows).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
