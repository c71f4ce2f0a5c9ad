"""Which ingredients make the posterior over strategies predict best, where it was not fitted?

    python analysis/better_theory.py [LOG …] [--out TABLE.csv]

Crosses how evidence grows with training (power, logarithm, linear), what complexity costs (power,
logarithm, linear), what counts as complexity (bits with 0, ½, 1, 2 times the declared program, or
the number of tasks) and whether memorizing has a ceiling, and ranks all combinations beside
accounts without theory by what they predict of held-out cells: late steps, large and small task
diversities. Logs are all shipped settings unless given.
"""

import argparse
from itertools import product
from pathlib import Path

import jax
import pandas as pd

import rational_icl as ri
from rational_icl.accounts import Account, Crossed, Plateau, ingredients

DATA = Path(__file__).parent.parent / "data"
SHIPPED = ("urns", "regression", "classification", "markov")
GROWTH = {
    "power": ingredients.PowerGrowth(),
    "log": ingredients.LogGrowth(),
    "linear": ingredients.LinearGrowth(),
}
COST = {
    "power": ingredients.PowerCost(),
    "log": ingredients.LogCost(),
    "linear": ingredients.LinearCost(),
}
COMPLEXITY = {
    "bits, no program": ingredients.DeclaredBits(0.0),
    "bits, program × ½": ingredients.DeclaredBits(0.5),
    "bits": ingredients.DeclaredBits(1.0),
    "bits, program × 2": ingredients.DeclaredBits(2.0),
    "tasks": ingredients.TaskCount(),
}
BARE = ("logistic_surface", "scaling_collapse")
SCHEMES = ("late_steps", "large_num_tasks", "small_num_tasks")


def candidates(num_strategies: int) -> dict[str, Account]:
    """Every combination by name, and the accounts without theory where there are two strategies."""
    found: dict[str, Account] = {}
    for growth, cost, complexity in product(GROWTH, COST, COMPLEXITY):
        crossed = Crossed(GROWTH[growth], COST[cost], COMPLEXITY[complexity])
        name = f"{growth} evidence, {cost} of {complexity}"
        found[name] = crossed
        if num_strategies == 2:
            found[f"{name}, ceiling"] = Plateau(crossed)
    if num_strategies == 2:
        found |= {name: ri.accounts.make(name, ("memorizing", "generalizing")) for name in BARE}
    return found


def ranked(path: Path) -> pd.DataFrame:
    """One row per account, best first: ELPD over the three schemes, and the gap each closes.

    Those that could not be fitted come last, with the reason as their status.
    """
    log = ri.open_log(path)
    cells, behaviour = ri.summarize(log)
    every = candidates(len(cells.strategies))
    found = ri.compare(every, cells, behaviour, schemes=SCHEMES, num_starts=4)
    fitted = found.table[found.table["status"] == "fitted"]
    wide = fitted.pivot(index="account", columns="scheme", values=["elpd", "gap_closed"])
    runs = found.runs.pivot_table(index=["scheme", "run"], columns="account", values="log_density")
    total = wide["elpd"].sum(axis=1, min_count=len(SCHEMES)).dropna().sort_values(ascending=False)
    apart = runs[total.index].sub(runs[total.index[0]], axis=0)
    table = pd.DataFrame({"elpd": total, "elpd_difference": apart.sum()})
    # a run is one unit, however many schemes score it
    by_run = apart.groupby("run").sum()
    table["elpd_difference_se"] = len(by_run) ** 0.5 * by_run.std()
    for scheme in SCHEMES:
        table[f"gap_closed_{scheme}"] = wide["gap_closed"][scheme]
    table["gap_closed_least"] = wide["gap_closed"].min(axis=1)
    table = table.sort_values("elpd", ascending=False).rename_axis("account").reset_index()
    unfit = found.table[~found.table["status"].isin(["fitted", "ceiling"])]
    reasons = unfit[["account", "status"]].drop_duplicates("account")
    return pd.concat([table, reasons], ignore_index=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="*", type=Path, default=[DATA / name for name in SHIPPED])
    parser.add_argument("--out", type=Path, help="write the whole ranking as CSV")
    options = parser.parse_args()
    tables = []
    for path in options.logs:
        tables.append(ranked(path).assign(log=path.name))
        print(f"\n{path.name}\n{tables[-1].head(12).round(3).to_string(index=False)}", flush=True)
        others = tables[-1][tables[-1]["account"].isin(BARE)]
        if len(others):
            print(others.round(3).to_string(index=False, header=False), flush=True)
        unfit = tables[-1]["elpd"].isna()
        if unfit.any():
            print(tables[-1].loc[unfit, ["account", "status"]].to_string(index=False), flush=True)
        jax.clear_caches()  # the next log compiles all anew, and the system limits their number
        if options.out:
            pd.concat(tables).round(4).to_csv(options.out, index=False)


if __name__ == "__main__":
    main()
