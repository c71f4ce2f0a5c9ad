"""Explorer of a page: the rational account at parameters that its reader chooses."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.colors import to_hex

from rational_icl._arrays import json_value
from rational_icl._errors import FitError
from rational_icl.accounts import Rational
from rational_icl.plotting.grids import mean_of_runs
from rational_icl.plotting.shared import MEMORIZING_COLOURS
from rational_icl.report.result import Analysis

_SHADES = 11
_PLATEAU = ("num_tasks_c", "eta")


def explorer_data(
    analysis: Analysis, params: Mapping[str, float] | None = None
) -> dict[str, Any] | None:
    """Data of the explorer, as JSON types; None where the analysis is not of the rational account.

    Predictions are made from what the fit has seen: losses and complexities by task diversity,
    averaged over runs.

    Args:
        analysis: from `analyse`.
        params: where the sliders start: alpha, beta, gamma, and for a plateau that is on from the
            start num_tasks_c and eta. The fitted ones if None.

    Returns:
        strategies: names; num_tasks, steps: the axes of the diagram; loss (nats) and complexity
        (bits), by task diversity and strategy; region, and observed (the best ID mixture's weight
        on the first strategy, its mean over runs), by task diversity and step; runs: name, row (its
        place in num_tasks) and observed, that weight at each of its steps; parameters: value, low,
        high and whether logarithmic, of every slider; plateau: whether it is on; colours: of
        weights and of differences, from least to most.

    Raises:
        FitError: the given parameters are not those of the rational account.
    """
    if params is None:
        if not isinstance(analysis.fit.account, Rational):
            return None
        params = analysis.fit.params
    frame, strategies = analysis.frame, analysis.fit.strategies
    num_tasks, steps = (np.unique(frame[axis].to_numpy()) for axis in ("num_tasks", "step"))
    table = analysis.fit.seen.set_index("num_tasks").loc[num_tasks]
    regions = frame.groupby(["num_tasks", "step"])["region"].first().unstack()
    best = f"best_weight_id_{strategies[0]}"
    document = {
        "strategies": strategies,
        "num_tasks": num_tasks.tolist(),
        "steps": steps.tolist(),
        "loss": table[[f"loss_{name}" for name in strategies]].to_numpy().tolist(),
        "complexity": table[[f"complexity_{name}" for name in strategies]].to_numpy().tolist(),
        "region": regions.to_numpy().tolist(),
        "observed": mean_of_runs(frame, best).to_numpy().tolist(),
        "runs": _runs(frame, best, num_tasks, steps),
        "parameters": _parameters(params, num_tasks),
        "plateau": set(_PLATEAU) <= set(params),
        "colours": {
            "weight": list(MEMORIZING_COLOURS),
            "difference": [
                to_hex(mpl.colormaps["RdBu_r"](x)) for x in np.linspace(0, 1, _SHADES).tolist()
            ],
        },
    }
    return json_value(document)


def explorer_script() -> Markup:
    """Script of a page, once for all its explorers."""
    return Markup(files("rational_icl.report").joinpath("explorer.js").read_text(encoding="utf-8"))


def _runs(
    frame: pd.DataFrame, column: str, num_tasks: np.ndarray, steps: np.ndarray
) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "row": int(np.searchsorted(num_tasks, rows["num_tasks"].iloc[0])),
            "observed": rows.set_index("step")[column].reindex(steps).tolist(),
        }
        for name, rows in frame.groupby("run", sort=False)
    ]


def _parameters(params: Mapping[str, float], num_tasks: np.ndarray) -> dict[str, dict[str, Any]]:
    """Every slider, over a range that holds its first value."""
    least, most = float(num_tasks[0]), float(num_tasks[-1])
    values = {"num_tasks_c": most, "eta": 1.0, **params}
    alpha, beta, gamma, centre, eta = (
        float(values.get(name, np.nan)) for name in ("alpha", "beta", "gamma", *_PLATEAU)
    )
    finite = np.isfinite([alpha, beta, gamma, centre, eta]).all()
    if not finite or min(gamma, centre) <= 0:
        raise FitError(
            f"params: {dict(params)}; the explorer needs finite alpha, beta and gamma, and gamma "
            "and num_tasks_c above zero"
        )
    return {
        "alpha": _slider(alpha, 0.0, 1.0),
        "beta": _slider(beta, 0.0, 1.0),
        "gamma": _slider(gamma, gamma / 1000, gamma * 1000, logarithmic=True),
        "num_tasks_c": _slider(centre, least / 10, most * 100, logarithmic=True),
        "eta": _slider(eta, 0.0, 5.0),
    }


def _slider(value: float, low: float, high: float, *, logarithmic: bool = False) -> dict[str, Any]:
    return {
        "value": value,
        "low": min(value, low),
        "high": max(value, high),
        "logarithmic": logarithmic,
    }
