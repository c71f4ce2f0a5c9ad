"""Which ingredients make the posterior over strategies predict best, where it was not fitted?

    python analysis/better_theory.py [LOG …] [--out TABLE.csv]

Crosses how evidence grows with training (power, logarithm, linear), what complexity costs (power,
logarithm, linear), what counts as complexity (bits with 0, ½, 1, 2 times the declared program, or
the number of tasks) and whether memorizing has a ceiling, and ranks all combinations beside
accounts without theory by the share of the gap between constant weights and best mixtures that they
leave: with each task diversity left out in turn, which ranks, and at later steps, each a question
of its own. Differences are paired over task diversities; with about ninety accounts, what is best
was chosen among as many on the same data, and Holm's p allows for their number. Logs are all
shipped settings unless given; those that the table holds already are not done again.
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
SCHEMES = ("leave_one_num_tasks_out", "late_steps")
SCORES = ("excess_left", "difference", "lower", "upper", "worse_at", "p", "p_holm", "verdict")


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
    """One row per account, best first by the first scheme; those that failed last.

    Columns account, SCORE_SCHEME for every score and scheme (see `compare`), problem, why it could
    not be fitted, and log.
    """
    cells, behaviour = ri.summarize(ri.open_log(path))
    accounts = candidates(len(cells.strategies))
    comparison = ri.compare(accounts, cells, behaviour, schemes=SCHEMES, num_starts=4)
    print(f"\n{path.name}\n{comparison.verdict.text}", flush=True)
    table = comparison.table[comparison.table["status"] != "ceiling"]
    parts = []
    for scheme in SCHEMES:
        rows = table[table["scheme"] == scheme].set_index("account")
        parts.append(rows[list(SCORES)].add_suffix(f"_{scheme}"))
    problems = table[table["problem"] != ""].drop_duplicates("account").set_index("account")
    ranking = pd.concat([*parts, problems["problem"]], axis=1).sort_values(
        f"excess_left_{SCHEMES[0]}", kind="stable"
    )
    return ranking.rename_axis("account").reset_index().assign(log=path.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="*", type=Path, default=[DATA / name for name in SHIPPED])
    parser.add_argument("--out", type=Path, help="write the whole ranking as CSV, log by log")
    options = parser.parse_args()
    tables = []
    if options.out and options.out.exists():
        tables.append(pd.read_csv(options.out))
        if not {"log", f"excess_left_{SCHEMES[0]}"} <= set(tables[0]):
            parser.error(f"{options.out}: is of another release; name another file, or remove it")
    done = set(pd.concat(tables)["log"]) if tables else set()
    for path in options.logs:
        if path.name in done:
            print(f"{path.name}: in {options.out} already")
            continue
        tables.append(ranked(path))
        shown = [f"{score}_{scheme}" for score in ("excess_left", "verdict") for scheme in SCHEMES]
        bare = tables[-1]["account"].isin((*BARE, "constant_weights"))
        shown = tables[-1].loc[bare | (tables[-1].index < 12), ["account", *shown]]
        print(shown.round(4).to_string(index=False), flush=True)
        jax.clear_caches()  # the next log compiles all anew, and the system limits their number
        if options.out:
            partial = options.out.with_suffix(".partial")
            pd.concat(tables).round(5).to_csv(partial, index=False)
            partial.replace(options.out)


if __name__ == "__main__":
    main()
