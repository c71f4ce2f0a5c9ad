"""How long to sample: until chains can be trusted, within a budget, and equally for equal seeds."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import jax

from rational_icl import _arviz
from rational_icl._arviz import InferenceData
from rational_icl._errors import FitError
from rational_icl._progress import say
from rational_icl.posterior.convergence import TARGETS, Attempt, judge, mixing
from rational_icl.posterior.idata import appended, to_groups
from rational_icl.posterior.nuts import Chains, chains, check_number
from rational_icl.posterior.specification import Specification


@dataclass(frozen=True)
class Plan:
    """Plan of sampling; `sample` says what each option is.

    Raises:
        FitError: numbers of iterations are not multiples of 25, there is no chain, or the
            acceptance to aim at is not a probability.
    """

    num_chains: int = 4
    num_warmup: int = 1000
    num_draws: int = 1000
    max_draws: int = 8000
    target_accept: float = TARGETS[0]
    adapt: bool = True

    def __post_init__(self) -> None:
        for name in ("num_warmup", "num_draws", "max_draws"):
            check_number(name, getattr(self, name))
        if self.num_chains < 1 or not 0 < self.target_accept < 1:
            raise FitError(
                f"num_chains {self.num_chains}, target_accept {self.target_accept}; expected at "
                "least 1, and a number between 0 and 1"
            )

    @property
    def targets(self) -> tuple[float, ...]:
        """Acceptances to aim at: at first, and after divergences."""
        higher = [target for target in TARGETS if target > self.target_accept]
        return (self.target_accept, *(higher if self.adapt else ()))

    @property
    def options(self) -> dict[str, Any]:
        """Options that a posterior keeps: all but the number of draws, which it shows."""
        options = asdict(self)
        del options["num_draws"]
        if not self.adapt:
            del options["max_draws"]
        return options

    def further(self, attempt: Attempt | None) -> list[int]:
        """Numbers of draws to add, piece by piece; empty once an attempt is over.

        As many again as there are: a chain is looked at a few times only, so that a lucky look does
        not end it.
        """
        if attempt is None:
            return [self.num_draws]
        abandoned = attempt.divergences and attempt.target_accept < self.targets[-1]
        if not self.adapt or attempt.mixed or abandoned:
            return []
        more = max(0, min(attempt.num_draws, self.max_draws - attempt.num_draws))
        # equal pieces, for which what works them out is compiled once
        pieces = [self.num_draws] * (more // self.num_draws)
        return [*pieces, more % self.num_draws] if more % self.num_draws else pieces


def draw(
    specification: Specification, plan: Plan, seed: int, attrs: Mapping[str, str], progress: bool
) -> InferenceData:
    """Posterior drawn as planned, whose attributes tell of every attempt."""
    runner = chains(specification.model, plan.num_warmup, True)
    keys = jax.random.split(jax.random.key(seed), plan.num_chains)
    state = runner.start(keys, specification.data)
    run = _Run(specification, plan, runner, seed, attrs, progress)
    idata, attempts = None, []
    for target in plan.targets:
        if attempts:  # where chains stand, with the mass matrix they have: warmed up for longer
            state = runner.restart(state, specification.data)
        idata, state, attempt = run.attempt(state, target, plan.num_warmup * (len(attempts) + 1))
        attempts.append(attempt)
        if not attempt.divergences:
            break
    return with_attempts(idata, attempts)


def with_attempts(idata: InferenceData, attempts: list[Attempt]) -> InferenceData:
    """Posterior whose attributes tell how every attempt fared."""
    idata.attrs["attempts"] = json.dumps([asdict(attempt) for attempt in attempts])
    return idata


@dataclass(frozen=True)
class _Run:
    """What all attempts at a posterior share."""

    specification: Specification
    plan: Plan
    runner: Chains
    seed: int
    attrs: Mapping[str, str]
    progress: bool

    def attempt(
        self, state: Any, target: float, num_warmup: int
    ) -> tuple[InferenceData, Any, Attempt]:
        """Draws at one acceptance to aim at, where chains stand after them, and how they fared."""
        specification, data = self.specification, self.specification.data
        state = self.runner.warm_up(state, data, target, "warming up" if self.progress else None)
        idata, attempt = None, None
        while pieces := self.plan.further(attempt):
            for number in pieces:
                draws = self.runner.draw(state, data, number, "sampling" if self.progress else None)
                state = draws.state
                idata = (
                    _arviz.inference_data(to_groups(specification, draws, self.seed), self.attrs)
                    if idata is None
                    else appended(idata, specification, draws)
                )
            attempt = judge(idata, mixing(idata), target, num_warmup)
            say(str(attempt), progress=self.progress)
        assert attempt is not None  # a plan has draws at first
        return idata, state, attempt
