"""Markov chains over a model, several at once, by NumPyro's NUTS.

NumPyro's `MCMC` compiles anew for every data set and gives all chains the same one. Here one
compiled program serves any data of the same shape, and each chain may have its own, so that a
posterior can be refitted with every run left out, or to hundreds of simulated logs.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.infer.hmc import hmc
from numpyro.infer.util import ParamInfo, constrain_fn, potential_energy

from rational_icl._arrays import Array
from rational_icl._errors import FitError
from rational_icl._jit import in_float64
from rational_icl._progress import progress_bar
from rational_icl._threads import in_threads
from rational_icl.posterior.model import Data, Model, series_level

_AT_ONCE = 25
"""Iterations between two updates of the progress bar."""
_PRIOR_DRAWS = 64
_CONSTRAINED = 250
"""Draws worked out by one call."""
_MOST_TREE_DEPTH: Any = (6, 10)  # NumPyro takes both, though its signature says otherwise
"""While warming up, and afterwards. Trees are deep before the mass matrix is known, and cutting
them short costs nothing that is kept."""
QUICK = {"xla_backend_optimization_level": 0}
"""Compiler options for what runs once: optimizing it would take longer."""
STATISTICS = ("diverging", "num_steps", "mean_accept_prob", "energy", "potential_energy")


class Draws(NamedTuple):
    """Draws of chains, and the state that they end in.

    Args:
        position: unconstrained parameters, each (chain, draw, ...).
        statistics: by name, each (chain, draw).
        state: where every chain stands, to go on from.
    """

    position: dict[str, np.ndarray]
    statistics: dict[str, np.ndarray]
    state: Any


class Chains:
    """Chains of NUTS over a model, with a dense mass matrix for all but the effects.

    Chains run in a thread each, so that none waits for the longest tree of the others: as one
    program, a step of four chains takes 1.4 times as long as four steps. The acceptance to aim at
    is an argument of the compiled program: to warm up again at another compiles nothing large.
    """

    def __init__(self, model: Model, num_warmup: int, shared_data: bool):
        self._model = model
        self._num_warmup = num_warmup
        self._shared_data = shared_data
        axis = None if shared_data else 0

        def start(key: Array, data: Data) -> Any:
            start_key, chain_key = jax.random.split(key)
            position = _starting_point(model, start_key, data)
            return _nuts(model, data, position, num_warmup, rng_key=chain_key)[0]

        def restart(state: Any, data: Data) -> Any:
            adapted = {
                name: getattr(state.adapt_state, name)
                for name in ("step_size", "inverse_mass_matrix")
            }
            key = state.rng_key
            return _nuts(model, data, _place(state), num_warmup, rng_key=key, **adapted)[0]

        def advance(state: Any, data: Data, target_accept: Array) -> tuple[Any, Any]:
            options = {"rng_key": state.rng_key, "target_accept_prob": target_accept}
            sample_kernel = _nuts(model, data, _place(state), num_warmup, **options)[1]

            def once(state, _):
                state = sample_kernel(state, (data,), {})
                return state, (state.z, {name: getattr(state, name) for name in STATISTICS})

            return jax.lax.scan(once, state, length=_AT_ONCE)

        self._start = jax.jit(jax.vmap(start, in_axes=(0, axis)), compiler_options=QUICK)
        self._restart = jax.jit(jax.vmap(restart, in_axes=(0, axis)), compiler_options=QUICK)
        self._advance = jax.jit(advance)

    def start(self, keys: Array, data: Data) -> Any:
        """States of chains before warming up, one per key."""
        state = self._start(keys, data)
        if not np.isfinite(np.asarray(state.potential_energy)).all():
            raise FitError(
                "no starting point of finite density among draws from the prior; the prior does "
                "not fit these cells"
            )
        return state

    def warm_up(
        self, state: Any, data: Data, target_accept: float, progress: str | None = None
    ) -> Any:
        """States of chains after adaptation to steps accepted with this probability."""
        return self._go(state, data, self._num_warmup, target_accept, progress)[0]

    def restart(self, state: Any, data: Data) -> Any:
        """States to warm up again from: where chains stand, with their mass matrix."""
        return self._restart(state, data)

    def draw(self, state: Any, data: Data, num_draws: int, progress: str | None = None) -> Draws:
        """Draws of chains from adapted states."""
        no_matter = 0.5  # steps are fixed by now
        state, (position, statistics) = self._go(state, data, num_draws, no_matter, progress)
        return Draws(position, statistics, state)

    def _go(
        self, state: Any, data: Data, number: int, target_accept: float, progress: str | None
    ) -> tuple[Any, Any]:
        target = jnp.asarray(target_accept)
        chains = range(len(state.potential_energy))
        states = [jax.tree.map(lambda leaf, i=i: leaf[i], state) for i in chains]
        datas = [
            data if self._shared_data else jax.tree.map(lambda leaf, i=i: leaf[i], data)
            for i in chains
        ]
        self._advance.lower(states[0], datas[0], target).compile()  # once, not once a thread
        with _bar(number * len(chains), progress) as bar:

            @in_float64
            def follow(index: int, proceed: Callable[[], None]) -> tuple[Any, Any]:
                return self._follow(states[index], datas[index], target, number, bar, proceed)

            done = in_threads(follow, chains)
        return jax.tree.map(lambda *leaves: _stacked(leaves), *done)

    def _follow(
        self,
        state: Any,
        data: Data,
        target_accept: Array,
        number: int,
        bar: Any,
        proceed: Callable[[], None],
    ) -> tuple[Any, Any]:
        """The state after some iterations, and what they visited."""
        collected = []
        for _ in range(number // _AT_ONCE):
            state, new = self._advance(state, data, target_accept)
            collected.append(jax.tree.map(np.asarray, new))
            proceed()
            with bar.get_lock():
                bar.update(_AT_ONCE)
        return state, jax.tree.map(lambda *parts: np.concatenate(parts), *collected)


def _stacked(leaves: Sequence[Any]) -> Any:
    return (np if isinstance(leaves[0], np.ndarray) else jnp).stack(leaves)


def _bar(total: int, progress: str | None) -> Any:
    return progress_bar(total=total, desc=progress, unit="draw", progress=progress is not None)


@lru_cache(maxsize=4)
def chains(model: Model, num_warmup: int, shared_data: bool) -> Chains:
    """Compiled chains of a model; kept, so that further data sets compile nothing."""
    return Chains(model, num_warmup, shared_data)


def _place(state: Any) -> ParamInfo:
    """Where a chain stands, with the energy there, so that it is not worked out again."""
    return ParamInfo(state.z, state.potential_energy, state.z_grad)


def _nuts(
    model: Model, data: Data, position: Any, num_warmup: int, **options: Any
) -> tuple[Any, Callable[..., Any]]:
    """A first state, and the kernel that advances it.

    NumPyro's kernel keeps what starting it decides, the acceptance to aim at too, so it is started
    within each program that uses it; the compiler drops the state where only the kernel is needed.
    """
    init_kernel, sample_kernel = hmc(
        potential_fn_gen=lambda data: partial(potential_energy, model, (data,), {}), algo="NUTS"
    )
    names = position.z if isinstance(position, ParamInfo) else position
    # NumPyro takes blocks too, though its signature says otherwise
    blocks: Any = [tuple(sorted(name for name in names if name != "level"))]
    state = init_kernel(
        position,
        num_warmup,
        dense_mass=blocks,
        max_tree_depth=_MOST_TREE_DEPTH,
        model_args=(data,),
        model_kwargs={},
        **options,
    )
    return state, sample_kernel


def check_number(name: str, value: int) -> None:
    """Refuse a number of iterations that chains cannot be advanced by.

    Raises:
        FitError: it is not a positive multiple of 25.
    """
    if not isinstance(value, int) or value < _AT_ONCE or value % _AT_ONCE:
        raise FitError(f"{name}: {value!r}; expected a positive multiple of {_AT_ONCE}")


def constrained(model: Model, data: Data, shared_data: bool) -> Callable[[Any], dict[str, Array]]:
    """Function from unconstrained parameters (chain, draw, ...) to all that the model names."""
    mapped = _constrained(model, shared_data)
    if not shared_data:
        return lambda positions: jax.tree.map(np.asarray, mapped(positions, data))

    def by_pieces(positions: dict[str, Array]) -> dict[str, Array]:
        shape = next(iter(positions.values())).shape[:2]
        number = math.prod(shape)
        rounds = -(-number // _CONSTRAINED)
        places = np.minimum(np.arange(rounds * _CONSTRAINED), number - 1).reshape(rounds, -1)
        flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in positions.items()}
        pieces = [
            jax.tree.map(np.asarray, mapped({k: v[index] for k, v in flat.items()}, data))
            for index in places
        ]
        joined = jax.tree.map(lambda *parts: np.concatenate(parts)[:number], *pieces)
        return {name: value.reshape(*shape, *value.shape[1:]) for name, value in joined.items()}

    return by_pieces


@lru_cache(maxsize=8)
def _constrained(model: Model, shared_data: bool) -> Callable[..., dict[str, Array]]:
    """The compiled program of `constrained`, which serves any number of draws of shared data."""

    def draws(positions: dict[str, Array], data: Data) -> dict[str, Array]:
        constrain = partial(constrain_fn, model, (data,), {}, return_deterministic=True)
        return jax.lax.map(constrain, positions, batch_size=_CONSTRAINED // 5)

    return jax.jit(draws if shared_data else jax.vmap(draws))


def prior_draw(model: Model, key: Array, data: Data) -> dict[str, Array]:
    """Draw from the prior of every parameter but the levels of series, constrained."""
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
