"""Markov chains over a model, several at once, by NumPyro's NUTS.

NumPyro's `MCMC` compiles anew for every data set and gives all chains the same one. Here one
compiled program serves any data of the same shape, and each chain may have its own, so that a
posterior can be refitted with every run left out, or to hundreds of simulated logs.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer.hmc import hmc
from numpyro.infer.util import constrain_fn, potential_energy
from tqdm import tqdm

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl._threads import in_threads
from rational_icl.posterior.model import Data, Model, series_level

_AT_ONCE = 25
"""Iterations between two updates of the progress bar."""
_PRIOR_DRAWS = 64
_MOST_TREE_DEPTH: Any = (6, 10)  # NumPyro takes both, though its signature says otherwise
"""While warming up, and afterwards. Trees are deep before the mass matrix is known, and cutting
them short costs nothing that is kept."""
QUICK = {"xla_backend_optimization_level": 0}
"""Compiler options for what runs once: optimizing it would take longer."""
STATISTICS = ("diverging", "num_steps", "mean_accept_prob", "energy", "potential_energy")


class Draws(NamedTuple):
    """What chains visited.

    Args:
        position: unconstrained parameters, each (chain, draw, ...).
        statistics: by name, each (chain, draw).
        state: where every chain stands, to go on from.
    """

    position: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]
    state: Any


class Chains:
    """NUTS over a model: dense mass matrix for all but the effects, adapted while warming up.

    Chains of one data set run in a thread each, so that none waits for the longest tree of the
    others; those of many small data sets run as one program.
    """

    def __init__(self, model: Model, num_warmup: int, target_accept: float, shared_data: bool):
        self._model = model
        self._num_warmup = num_warmup
        self._shared_data = shared_data
        axis = None if shared_data else 0
        init_kernel, sample_kernel = hmc(
            potential_fn_gen=lambda data: partial(potential_energy, model, (data,), {}), algo="NUTS"
        )

        def start(key: Array, data: Data) -> Any:
            start_key, chain_key = jax.random.split(key)
            position = _starting_point(model, start_key, data)
            # NumPyro takes blocks too, though its signature says otherwise
            blocks: Any = [tuple(sorted(name for name in position if name != "level"))]
            return init_kernel(
                position,
                num_warmup,
                dense_mass=blocks,
                target_accept_prob=target_accept,
                max_tree_depth=_MOST_TREE_DEPTH,
                model_args=(data,),
                model_kwargs={},
                rng_key=chain_key,
            )

        def advance(state: Any, data: Data) -> tuple[Any, Any]:
            def once(state, _):
                state = sample_kernel(state, (data,), {})
                return state, (state.z, {name: getattr(state, name) for name in STATISTICS})

            return jax.lax.scan(once, state, length=_AT_ONCE)

        # the kernel keeps what starting it decides, so `start` has to be traced before `advance`
        self._start = jax.jit(jax.vmap(start, in_axes=(0, axis)), compiler_options=QUICK)
        self._advance = jax.jit(advance if shared_data else jax.vmap(advance))

    def start(self, keys: Array, data: Data) -> Any:
        """States before warming up, one per key."""
        state = self._start(keys, data)
        if not np.isfinite(np.asarray(state.potential_energy)).all():
            raise FitError(
                "no starting point of finite density among draws from the prior; the prior does "
                "not fit these cells"
            )
        return state

    def warm_up(self, state: Any, data: Data, progress: str | None = None) -> Any:
        """States after adaptation."""
        return self._go(state, data, self._num_warmup, progress)[0]

    def draw(self, state: Any, data: Data, num_draws: int, progress: str | None = None) -> Draws:
        """Draws from adapted states."""
        state, (position, statistics) = self._go(state, data, num_draws, progress)
        return Draws(position, statistics, state)

    def _go(self, state: Any, data: Data, number: int, progress: str | None) -> tuple[Any, Any]:
        if not self._shared_data:
            with _bar(number, progress) as bar:
                return self._follow(state, data, number, bar, proceed=lambda: None)
        number_of_chains = len(state.potential_energy)
        parts = [jax.tree.map(lambda leaf, i=i: leaf[i], state) for i in range(number_of_chains)]
        self._advance.lower(parts[0], data).compile()  # once, not once a thread
        with _bar(number * number_of_chains, progress) as bar:

            @in_float64
            def follow(part: Any, proceed: Callable[[], None]) -> tuple[Any, Any]:
                return self._follow(part, data, number, bar, proceed)

            done = in_threads(follow, parts)
        return jax.tree.map(lambda *leaves: _stacked(leaves), *done)

    def _follow(
        self, state: Any, data: Data, number: int, bar: tqdm, proceed: Callable[[], None]
    ) -> tuple[Any, Any]:
        """The state after some iterations, and what they visited."""
        collected = []
        for _ in range(number // _AT_ONCE):
            state, new = self._advance(state, data)
            collected.append(jax.tree.map(np.asarray, new))
            proceed()
            with bar.get_lock():
                bar.update(_AT_ONCE)
        axis = 0 if self._shared_data else 1
        return state, jax.tree.map(lambda *parts: np.concatenate(parts, axis=axis), *collected)


def _stacked(leaves: Sequence[Any]) -> Any:
    return (np if isinstance(leaves[0], np.ndarray) else jnp).stack(leaves)


def _bar(total: int, progress: str | None) -> tqdm:
    return tqdm(total=total, desc=progress, unit="draw", disable=progress is None)


@lru_cache(maxsize=4)
def chains(model: Model, num_warmup: int, target_accept: float, shared_data: bool) -> Chains:
    """The compiled chains of a model; kept, so that further data sets compile nothing."""
    return Chains(model, num_warmup, target_accept, shared_data)


def check_number(name: str, value: int) -> None:
    """Refuse a number of iterations that chains cannot be advanced by.

    Raises:
        FitError: it is not a positive multiple of 25.
    """
    if not isinstance(value, int) or value < _AT_ONCE or value % _AT_ONCE:
        raise FitError(f"{name}: {value!r}; expected a positive multiple of {_AT_ONCE}")


def constrained(model: Model, data: Data, shared_data: bool) -> Callable[[Any], dict[str, Array]]:
    """A function from unconstrained parameters (chain, draw, ...) to all that the model names."""

    def one(position: dict[str, Array], data: Data) -> dict[str, Array]:
        return constrain_fn(model, (data,), {}, position, return_deterministic=True)

    def chain(positions: dict[str, Array], data: Data) -> dict[str, Array]:
        return jax.lax.map(lambda position: one(position, data), positions, batch_size=64)

    mapped = jax.jit(jax.vmap(chain, in_axes=(0, None if shared_data else 0)))
    return lambda positions: jax.tree.map(np.asarray, mapped(positions, data))


def prior_draw(model: Model, key: Array, data: Data) -> dict[str, Array]:
    """One draw of every parameter but the levels of series, constrained."""
    sites = _sites(model, key, data)
    return {name: site["value"] for name, site in sites.items() if name != "level"}


def _sites(model: Model, key: Array, data: Data) -> dict[str, Any]:
    level = series_level(data.response.coordinate, data.response)
    seeded = handlers.seed(handlers.substitute(model, data={"level": level}), key)
    trace = handlers.trace(seeded).get_trace(data)
    return {
        name: site
        for name, site in trace.items()
        if site["type"] == "sample" and not site["is_observed"]
    }


def _starting_point(model: Model, key: Array, data: Data) -> dict[str, Array]:
    """The likeliest of many draws from the prior, with series at their observed levels."""

    def candidate(key: Array) -> tuple[dict[str, Array], Array]:
        free = {
            name: biject_to(site["fn"].support).inv(site["value"])
            for name, site in _sites(model, key, data).items()
        }
        energy = potential_energy(model, (data,), {}, free)
        return free, jnp.where(jnp.isfinite(energy), energy, jnp.inf)

    free, energy = jax.lax.map(candidate, jax.random.split(key, _PRIOR_DRAWS))
    return jax.tree.map(lambda leaf: leaf[jnp.argmin(energy)], free)
