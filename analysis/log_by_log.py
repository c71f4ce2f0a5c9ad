"""Tables that scripts make log by log: an interrupted one goes on where it ended."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import pandas as pd

DATA = Path(__file__).parent.parent / "data"
SHIPPED = ("urns", "urns_mlp_0.5", "urns_mlp_8", "regression", "classification", "markov")


def main(of_log: Callable[[Path], pd.DataFrame], script: str, words: str) -> None:
    """Run a script: LOG …, all shipped ones unless given, and --out, a table beside the script.

    Args:
        of_log: see `log_by_log`.
        script, words: its `__file__` and docstring.
    """
    parser = argparse.ArgumentParser(description=words.splitlines()[0])
    parser.add_argument("logs", nargs="*", type=Path, default=[DATA / name for name in SHIPPED])
    parser.add_argument("--out", type=Path, default=Path(script).with_suffix(".csv"))
    options = parser.parse_args()
    log_by_log(of_log, options.logs, options.out, digits=5)


def log_by_log(
    of_log: Callable[[Path], pd.DataFrame], logs: Sequence[Path], out: Path, digits: int
) -> None:
    """Write a table of all logs as CSV, which is complete after each; logs in it are passed over.

    Args:
        of_log: the rows of a log, with a column `log`, its name.
        logs: paths.
        out: the table.
        digits: decimals that are kept.
    """
    tables = [pd.read_csv(out)] if out.exists() else []
    done = set(tables[0]["log"]) if tables else set()
    for path in logs:
        if path.name in done:
            print(f"{path.name}: in {out} already")
            continue
        tables.append(of_log(path))
        partial = out.with_suffix(".partial")
        pd.concat(tables).round(digits).to_csv(partial, index=False)
        partial.replace(out)
        jax.clear_caches()  # the next log compiles all anew, and the system limits their number
