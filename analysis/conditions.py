"""One theory, several conditions: partial pooling beside none and complete.

    python analysis/conditions.py

Transformers on urns with MLP factors 0.5, 4 and 8. Does width act through α (how evidence is used)
or β (how complexity is weighed)? The slopes on log MLP factor say, with intervals.
"""

from pathlib import Path

import numpy as np
import pandas as pd

import rational_icl as ri

LOGS = {"0.5": "urns_mlp_0.5", "4": "urns", "8": "urns_mlp_8"}


def main() -> None:
    data = Path(__file__).parent.parent / "data"
    conditions = {name: ri.summarize(ri.open_log(data / log)) for name, log in LOGS.items()}
    width = pd.DataFrame({"log_mlp_factor": np.log([float(name) for name in LOGS])}, index=[*LOGS])
    for pooling, covariates in (
        ("none", None),
        ("partial", None),
        ("partial", width),
        ("complete", None),
    ):
        posterior = ri.sample_conditions(
            ri.accounts.Rational(), conditions, pooling=pooling, covariates=covariates
        )
        found = ri.diagnose(posterior)
        print(
            f"\npooling {pooling}{', slopes on log MLP factor' if covariates is not None else ''}"
        )
        print(found.table[["mean", "sd", "lower", "upper", "r_hat", "ess_bulk"]].round(3))
        print("converged" if found.converged else found.problems)


if __name__ == "__main__":
    main()
