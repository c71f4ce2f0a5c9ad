"""Joint model of cells: an account, what it gets wrong, and how cells scatter about both."""

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Float, Integer
from numpyro.distributions import constraints

from rational_icl._arrays import Array
from rational_icl.accounts import Account
from rational_icl.cells.records import Cells
from rational_icl.posterior.coordinates import Response, contrasts
from rational_icl.posterior.effects import Effects, effect_log_density, kernel
from rational_icl.posterior.noise import Observation
from rational_icl.posterior.pooling import Pooling

_EFFECT_PRIORS = {
    "sd_num_tasks": dist.LogNormal(math.log(0.7), 0.7),
    "length_num_tasks": dist.LogNormal(math.log(2.0), 0.5),
    "sd_run": dist.LogNormal(math.log(0.3), 0.7),
}
_TYPICAL_VARIANCE = 0.05
_NEGLIGIBLE = 0.02
"""Log-odds, of an effect that is not there: far below what can be measured."""


class Data(eqx.Module):
    """Data that the model is conditioned on. Cells of a condition are neighbours.

    Args:
        cells: of every condition.
        response: of all cells, conditions one after the other.
        condition: of every series.
    """

    cells: tuple[Cells, ...]
    response: Response
    condition: Integer[Array, " series"]


class Latent(NamedTuple):
    """Latent quantities of the model, at one draw."""

    params: dict[str, Float[Array, " condition"]]
    noise: dict[str, Float[Array, " condition"]]
    effect: Float[Array, "series contrast"]
    log_weight: Float[Array, "cell strategy"]


class Model(eqx.Module):
    """Model of weights: an account's, moved by effects of task diversity and run, with noise.

        y_c ~ observation(softmax(log π_c + H'e_s / √2)),   e_s = a_D + b_s
        a ~ GP over ln D,   b_s ~ N(0, sd_run²)

    for cell c of series s with task diversity D (`rational_icl.posterior.effects`). a is what the
    account gets wrong alike in all runs of a task diversity, and nearly so in those of its
    neighbours; b is what differs between runs. e is sampled, with a integrated out.

    | parameter | prior | meaning | unit |
    |---|---|---|---|
    | sd_num_tasks | LogNormal(ln .7, .7) | standard deviation of a | log-odds |
    | length_num_tasks | LogNormal(ln 2, .5) | over which a forgets itself | ln D |
    | sd_run | LogNormal(ln .3, .7) | standard deviation of b | log-odds |

    Args:
        accounts: in sampled (pivoted) parameters, one per condition.
        observation: the noise.
        pooling: of the parameters of accounts and noise over conditions.
    """

    accounts: tuple[Account, ...]
    observation: Observation
    pooling: Pooling

    def __call__(self, data: Data) -> None:
        """State it to NumPyro."""
        latent = self._sampled(data)
        log_density = self.log_density(latent, data)
        numpyro.deterministic("log_density", log_density)
        numpyro.factor("observed", jnp.where(data.response.used, log_density, 0.0).sum())

    @property
    def noise_priors(self) -> dict[str, dist.Distribution]:
        """Priors of the observation, and of the effects that it has."""
        noise = self.observation
        smooth = noise.num_tasks_effects and noise.smooth_effects
        has = (noise.num_tasks_effects, smooth, noise.run_effects)
        effects = {
            name: prior
            for (name, prior), there in zip(_EFFECT_PRIORS.items(), has, strict=True)
            if there
        }
        return {**effects, **self.observation.priors}

    def log_density(self, latent: Latent, data: Data) -> Float[Array, " cell"]:
        """Log density of every cell's observed weights given the cell before it."""
        condition = data.condition[data.response.series]
        noise = {name: value[condition] for name, value in latent.noise.items()}
        return self.observation.log_density(noise, latent.log_weight, data.response)

    def _sampled(self, data: Data) -> Latent:
        number = len(self.accounts)
        log_prior = {}
        params: dict[str, Array] = {}
        noise: dict[str, Array] = {}
        for name, prior in self.accounts[0].priors.items():
            params[name], log_prior[name] = self.pooling.sample(name, prior, number)
        for name, prior in self.noise_priors.items():
            noise[name], log_prior[name] = self.pooling.of_noise.sample(name, prior, number)
        plain = self.plain_log_weight(params, data)
        effect = self._effect(noise, plain, data)
        numpyro.deterministic("effect", effect)
        latent = Latent(params, noise, effect, moved(plain, effect, data))
        by_condition = [
            account.natural({name: value[i] for name, value in params.items()})
            for i, account in enumerate(self.accounts)
        ]
        for name in by_condition[0]:
            numpyro.deterministic(
                f"natural_{name}", jnp.stack([natural[name] for natural in by_condition])
            )
        for kind in (params, noise):
            for name, value in kind.items():
                numpyro.deterministic(f"each_{name}", value)
        for name, value in log_prior.items():
            numpyro.deterministic(f"log_prior_{name}", value)
        return latent

    def plain_log_weight(
        self, params: dict[str, Array], data: Data
    ) -> Float[Array, "cell strategy"]:
        """Log weights that the account alone gives in every cell."""
        parts = [
            account.log_weights({name: value[i] for name, value in params.items()}, cells)
            for i, (account, cells) in enumerate(zip(self.accounts, data.cells, strict=True))
        ]
        return jnp.concatenate(parts)

    def _effect(
        self, noise: dict[str, Array], plain: Float[Array, "cell strategy"], data: Data
    ) -> Float[Array, "series contrast"]:
        shape = (len(data.condition), data.response.coordinate.shape[1])
        if not any(name in noise for name in _EFFECT_PRIORS):
            return jnp.zeros(shape)
        # what data tell of a series is where it lies, not how far that is from the account: chains
        # move in the former, which hardly depends on the parameters of the account
        level = numpyro.sample("level", dist.ImproperUniform(constraints.real, (), shape))
        base = jnp.asarray(contrasts(plain.shape[1]))
        effect = level - series_level(plain @ base.T, data.response)
        density = effect_log_density(effect, data.response.diversity, self.effects(noise, data))
        numpyro.factor("effect_prior", density)
        return effect

    def effects(self, noise: dict[str, Float[Array, " condition"]], data: Data) -> Effects:
        """Covariance of effects; hardly any where the noise has none."""
        diversity, log_num_tasks = data.response.diversity, data.response.log_num_tasks
        condition = jnp.zeros(len(log_num_tasks), int).at[diversity].set(data.condition)
        negligible = jnp.full(len(self.accounts), _NEGLIGIBLE)
        sd, run = (noise.get(name, negligible)[condition] for name in ("sd_num_tasks", "sd_run"))
        length = noise.get("length_num_tasks")
        reach = None if length is None else length[condition][:, None]
        distance = jnp.abs(log_num_tasks[:, None] - log_num_tasks)
        is_same = condition[:, None] == condition
        return Effects(jnp.where(is_same, sd[:, None] * sd * kernel(distance, reach), 0.0), run**2)


def moved(
    log_weight: Float[Array, "cell strategy"], effect: Float[Array, "series contrast"], data: Data
) -> Float[Array, "cell strategy"]:
    """Log weights with the effect of its series added to the coordinates of every cell."""
    base = jnp.asarray(contrasts(log_weight.shape[1]))
    return jax.nn.log_softmax(log_weight + (effect @ base / 2)[data.response.series], axis=1)


def series_level(
    coordinate: Float[Array, "cell contrast"], response: Response
) -> Float[Array, "series contrast"]:
    """Mean coordinates of every series, its better measured cells counting more."""
    trust = 1 / (_TYPICAL_VARIANCE + response.variance)
    series = len(response.diversity)
    total = jax.ops.segment_sum(trust, response.series, series)
    weighted = jax.ops.segment_sum(trust[:, None] * coordinate, response.series, series)
    return weighted / total[:, None]
