"""Which accounts are compared, by the names they go by."""

from collections.abc import Mapping, Sequence

from rational_icl import accounts as known
from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.comparison.tables import CEILING, FLOOR


def choose(
    accounts: Sequence[str | Account] | Mapping[str, Account] | None, strategies: tuple[str, ...]
) -> tuple[dict[str, Account], dict[str, str]]:
    """Accounts by name, the floor last if it was not asked for; and why others were not made."""
    floor = known.make(FLOOR, strategies)
    own = accounts if isinstance(accounts, Mapping) else {}
    given = [one.name for one in accounts or () if isinstance(one, Account)]
    for name in (*own, *given):
        if name == CEILING or (name == FLOOR and own.get(name, floor) != floor):
            raise FitError(f"accounts: {name!r} is the name of a bound; give yours another")
    if isinstance(accounts, Mapping):
        return {**accounts, FLOOR: floor}, {}
    asked = known.names() if accounts is None else accounts
    chosen: dict[str, Account] = {}
    problems: dict[str, str] = {}
    for one in (*asked, FLOOR):
        name = one if isinstance(one, str) else one.name
        if name in chosen and name != FLOOR:
            raise FitError(f"accounts: two are called {name!r}; give them different names")
        try:
            account = known.make(one, strategies)
        except FitError as error:
            if name not in known.names():
                raise
            problems[name] = str(error)
        else:
            chosen[name] = account
    return chosen, problems
