"""A theory of your own, in thirty lines, beside the package's.

    python analysis/own_account.py [LOG]
    rational-icl --load analysis/own_account.py report LOG --account thrift --out report

The account: strategies are worth what they save per bit of complexity, so evidence and complexity
are divided instead of subtracted. It needs priors (the range of each parameter, where fits start)
and log weights; fitting, sampling, prediction and comparison then work.
"""

import argparse
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpyro.distributions as dist

import rational_icl as ri


@ri.accounts.register
class Thrift(ri.accounts.Account):
    """log π_k = −c N^a (L_k − min L) / K_k^b + const, with c > 0 and a, b in (0, 1)."""

    name: ClassVar[str] = "thrift"

    @property
    def priors(self):
        return {
            "c": dist.LogNormal(0.0, 3.0),
            "a": dist.Uniform(0.0, 1.0),
            "b": dist.Uniform(0.0, 1.0),
        }

    def log_weights(self, params, cells):
        excess = cells.loss - cells.loss.min(axis=1, keepdims=True)
        evidence = params["c"] * cells.step[:, None] ** params["a"] * excess
        return jax.nn.log_softmax(-evidence / jnp.power(cells.complexity, params["b"]), axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shipped = Path(__file__).parent.parent / "data" / "urns"
    parser.add_argument("log", nargs="?", type=Path, default=shipped)
    cells, behaviour = ri.summarize(ri.open_log(parser.parse_args().log))
    comparison = ri.compare(
        ["thrift", "rational", "scaling_collapse"],
        cells,
        behaviour,
        schemes=("leave_one_num_tasks_out", "late_steps"),
    )
    print(comparison.verdict.text)
    columns = ["scheme", "account", "excess_left", "difference", "lower", "upper", "verdict"]
    print(comparison.table[columns].round(3).to_string(index=False))


if __name__ == "__main__":
    main()
