"""Choice of the accounts to compare, by the names they go by."""

from collections.abc import Mapping, Sequence

from rational_icl import accounts as registry
from rational_icl._errors import FitError
from rational_icl.accounts import Account
from rational_icl.comparison.tables import CEILING, FLOOR


def choose(
    accounts: Sequence[str | Account] | Mapping[str, Account] | None, strategies: tuple[str, ...]
) -> tuple[dict[str, Account], dict[str, str]]:
    """Accounts to compare, by name, with the floor; and reasons why others were not made."""
    floor = registry.make(FLOOR, strategies)
    by_name = accounts if isinstance(accounts, Mapping) else {}
    names = [entry.name for entry in accounts or () if isinstance(entry, Account)]
    for name in (*by_name, *names):
        if name == CEILING or (name == FLOOR and by_name.get(name, floor) != floor):
            raise FitError(f"accounts: {name!r} is the name of a bound; give yours another")
    if isinstance(accounts, Mapping):
        return {**accounts, FLOOR: floor}, {}
    requested = registry.names() if accounts is None else accounts
    chosen: dict[str, Account] = {}
    problems: dict[str, str] = {}
    for entry in (*requested, FLOOR):
        name = entry if isinstance(entry, str) else entry.name
        if name in chosen and name != FLOOR:
            raise FitError(f"accounts: two are called {name!r}; give them different names")
        try:
            account = registry.make(entry, strategies)
        except FitError as error:
            if name not in registry.names():
                raise
            problems[name] = str(error)
        else:
            chosen[name] = account
    return chosen, problems
