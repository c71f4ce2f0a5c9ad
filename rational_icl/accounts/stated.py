"""Parameters that a person states, instead of fitting them."""

import math
from collections.abc import Mapping
from typing import Any

from numpyro.distributions import Distribution

from rational_icl._errors import FitError
from rational_icl.accounts.base import Account
from rational_icl.cells.records import Cells


def checked_params(account: Account, params: object, cells: Cells) -> dict[str, float]:
    """Stated parameters of an account as floats, in the order of its priors.

    Args:
        account: whose they are.
        params: by name.
        cells: as the account would be asked about.

    Raises:
        FitError: one is missing, not the account's, or no number in its range; or the account has
            none before it knows which task diversities were logged.
    """
    if not account.priors and account.for_cells(cells).priors:
        raise FitError(
            f"account {account.name!r} has parameters for each logged task diversity, which nobody "
            "can state; fit it to a log"
        )
    if not isinstance(params, Mapping):
        raise FitError(f"params: {params!r}; expected a mapping of names to numbers")
    listed = ", ".join(account.priors) or "none"
    missing = ", ".join(name for name in account.priors if name not in params)
    unknown = ", ".join(str(name) for name in params if name not in account.priors)
    problems = [
        f"{names} {verb}" for names, verb in ((missing, "missing"), (unknown, "not known")) if names
    ]
    if problems:
        raise FitError(
            f"params: {' and '.join(problems)}; those of account {account.name!r} are {listed}"
        )
    return {name: _in_range(name, params[name], account.priors[name]) for name in account.priors}


def _in_range(name: str, value: Any, prior: Distribution) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise FitError(f"params: {name} = {value!r}; expected a number") from None
    support = prior.support
    assert support is not None  # `validate` holds accounts to it
    if not (math.isfinite(number) and bool(support(number))):
        low, high = (getattr(support, f"{end}_bound", None) for end in ("lower", "upper"))
        ends = [] if low is None else [f"above {low:g}" if high is None else f"from {low:g}"]
        ends += [] if high is None else [f"to {high:g}"]
        raise FitError(f"params: {name} = {number:g}; expected a number {' '.join(ends)}".rstrip())
    return number
