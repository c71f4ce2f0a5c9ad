"""Error bars of a report: a posterior, checked and compared with its log."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from rational_icl import _arviz, plotting
from rational_icl._jit import in_float64
from rational_icl.posterior import Diagnosis, Posterior, coverage, diagnose
from rational_icl.posterior.base import PosteriorLike
from rational_icl.posterior.diagnosis import withheld
from rational_icl.posterior.scores import scores_of
from rational_icl.prediction.crossovers import predict_crossovers
from rational_icl.prediction.draws import Draws
from rational_icl.prediction.phases import Predictive, predictive

_PARTS = ("fitted", "later_steps", "larger_num_tasks")


@dataclass(frozen=True)
class Bayesian:
    """Posterior of a log, and what it says of that log.

    Args:
        posterior: from `sample`.
        diagnosis: from `diagnose`.
        phase: from `predict`, as it would be observed of a run not yet trained, at the task
            diversities and steps logged.
        crossovers: from `predict_crossovers`, by `of`.
        coverage: one row per region: cells, num_tasks (how many), and the share of observed best
            weights within the 50 % and 90 % intervals of what would be observed of a run not yet
            trained, with standard errors over task diversities (`coverage`).
    """

    posterior: Posterior
    diagnosis: Diagnosis
    phase: xr.Dataset
    crossovers: dict[str, xr.Dataset]
    coverage: pd.DataFrame

    @property
    def converged(self) -> bool:
        """Whether its intervals hold; none are shown otherwise."""
        return self.diagnosis.converged

    @property
    def coverage_table(self) -> pd.DataFrame:
        """Coverage of its intervals, to show."""
        return withheld(self.coverage, self.converged, columns=("cells", "num_tasks"))

    def to_json(self) -> dict[str, Any]:
        """Record of the posterior for `report.json`."""
        diagnosis = self.diagnosis
        return {
            "converged": diagnosis.converged,
            "problems": list(diagnosis.problems),
            "advice": diagnosis.advice,
            "attempts": diagnosis.attempts.to_dict(orient="records"),
            "cautions": list(diagnosis.cautions),
            "divergences": diagnosis.divergences,
            "parameters": diagnosis.shown.to_dict(orient="index"),
            "coverage": self.coverage_table.astype(object)
            .where(self.coverage_table.notna(), None)
            .to_dict(orient="index"),
            "crossover": self.crossover_table.to_dict(orient="records"),
            "slope": {
                of: self._slope(crossing["slope"]) for of, crossing in self.crossovers.items()
            },
            "data_sha256": self.posterior.idata.attrs["data_sha256"],
        }

    @property
    def crossover_table(self) -> pd.DataFrame:
        """Crossovers by task diversity: median, interval and chance of none, by `of`."""
        columns: dict[str, Any] = {}
        for of, crossing in self.crossovers.items():
            columns["num_tasks"] = crossing["num_tasks"].to_numpy()
            for kind in ("median", "lower", "upper", "never"):
                columns[f"{of}_{kind}"] = crossing[kind].to_numpy()
        return withheld(pd.DataFrame(columns), self.converged, columns=("num_tasks",))

    def _slope(self, values: xr.DataArray) -> dict[str, float | None]:
        return _interval(values if self.converged else values[:0])


@in_float64
def interpret(source: PosteriorLike, frame: pd.DataFrame, strategies: tuple[str, ...]) -> Bayesian:
    """Posterior of a log, checked, with its predictions of that log.

    Args:
        source: a posterior, from `sample`.
        frame: from `cell_agreement`.
        strategies: names.
    """
    posterior = Posterior.of(source)
    diversities, steps = np.unique(frame["num_tasks"]).astype(int), np.unique(frame["step"])
    drawn = predictive(Draws.of(posterior), diversities, steps.astype(float), "observed")
    return Bayesian(
        posterior=posterior,
        diagnosis=diagnose(posterior),
        phase=drawn.summary(0.9),
        crossovers={
            of: predict_crossovers(posterior, diversities, of=of) for of in ("account", "run")
        },
        coverage=_coverage(drawn, frame, strategies),
    )


def _coverage(drawn: Predictive, frame: pd.DataFrame, strategies: tuple[str, ...]) -> pd.DataFrame:
    """By region, from one set of draws."""
    frame = frame.reset_index(drop=True)
    places = (
        np.searchsorted(drawn.table.num_tasks, frame["num_tasks"]),
        np.searchsorted(drawn.steps, frame["step"]),
    )
    parts = []
    for k, name in enumerate(strategies[:-1]):
        scores = scores_of(drawn.weight[:, *places, k], frame[f"best_weight_id_{name}"].to_numpy())
        for part in _PARTS:
            in_part = (frame["region"] == part) | (frame["extrapolation"] == part)
            cells = scores[in_part].assign(num_tasks=frame["num_tasks"][in_part], region=part)
            parts.append(cells.assign(condition="", left_out=part, log_density=0.0))
    table = coverage(pd.concat(parts, ignore_index=True), "region")
    return table.drop(columns="log_density")


def _interval(values: xr.DataArray) -> dict[str, float | None]:
    known = values.to_numpy()[np.isfinite(values.to_numpy())]
    if not len(known):
        return {"median": None, "lower": None, "upper": None}
    low, mid, high = np.quantile(known, [0.05, 0.5, 0.95])
    return {"median": float(mid), "lower": float(low), "upper": float(high)}


def posterior_bands(bayesian: Bayesian, analysis: Any) -> Figure:
    """Weight of the first strategy against step, by task diversity, with intervals."""
    frame, strategy = analysis.frame, analysis.fit.strategies[0]
    diversities = sorted(frame["num_tasks"].unique())
    columns = min(4, len(diversities))
    rows = -(-len(diversities) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(2.6 * columns, 2.0 * rows + 0.3), layout="constrained",
        sharex=True, sharey=True, squeeze=False,
    )  # fmt: skip
    for ax, diversity in zip(axes.flat, diversities, strict=False):
        cells = frame[frame["num_tasks"] == diversity]
        plotting.plot_interval(bayesian.phase.sel(num_tasks=diversity), cells, strategy, ax=ax)
        ax.set_title(f"D = {diversity:g}", fontsize="small")
        ax.label_outer()
    for ax in axes.flat[len(diversities) :]:
        ax.set_axis_off()
    return figure


def posterior_ridge(bayesian: Bayesian, analysis: Any) -> Figure:
    """Joint draws of every two parameters of the account."""
    del analysis
    posterior = _arviz.group(bayesian.posterior.idata, "posterior")
    known = [name for name in ("alpha", "beta", "gamma") if name in posterior]
    names = known or [str(name) for name in posterior if posterior[name].ndim == 2][:3]
    pairs = [(x, y) for i, x in enumerate(names) for y in names[i + 1 :]] or [(names[0], names[0])]
    figure, axes = plt.subplots(
        1, len(pairs), figsize=(3.2 * len(pairs), 2.9), layout="constrained", squeeze=False
    )
    for ax, (x, y) in zip(axes.flat, pairs, strict=True):
        plotting.plot_ridge(posterior, x, y, log_y=y == "gamma", ax=ax)
    return figure


def posterior_crossover(bayesian: Bayesian, analysis: Any) -> Figure:
    """N*(D), observed and predicted, with intervals."""
    figure, ax = plt.subplots(figsize=(5.4, 4.0), layout="constrained")
    account = bayesian.crossovers["account"]
    median = account["median"].where(np.isfinite(account["median"])).to_numpy()
    line = pd.DataFrame({"num_tasks": account["num_tasks"].to_numpy(), "predicted": median})
    plotting.plot_crossovers(
        analysis.runs, line, analysis.frame, label="the account, median", ax=ax
    )
    plotting.plot_crossover_interval(bayesian.crossovers["run"], label="a new run, 90 %", ax=ax)
    return figure


def _marked(
    make: Callable[[Bayesian, Any], Figure],
) -> Callable[[Bayesian, Any], Figure]:
    """A figure that says so where chains have not converged, also by itself in a file."""

    def drawn(bayesian: Bayesian, analysis: Any) -> Figure:
        figure = make(bayesian, analysis)
        if not bayesian.converged:
            figure.suptitle("not converged: do not use its intervals", color="#b00000")
        return figure

    return drawn


FIGURES: dict[str, Callable[[Bayesian, Any], Figure]] = {
    make.__name__: _marked(make) for make in (posterior_bands, posterior_ridge, posterior_crossover)
}


def sentences(bayesian: Bayesian, measured: pd.DataFrame) -> list[str]:
    """Sentences about the posterior. `measured`: N* per task diversity, column observed."""
    if not bayesian.converged:
        return ["Its posterior has not converged, so that it has no intervals to give."]
    table = bayesian.diagnosis.table
    named = [name for name in ("alpha", "beta", "gamma") if name in table.index]
    listed = ", ".join(
        f"{name} = {table.loc[name, 'mean']:.3g} ({table.loc[name, 'lower']:.3g} to "
        f"{table.loc[name, 'upper']:.3g})"
        for name in named
    )
    texts = [f"With 90 % intervals, {listed}."] if listed else []
    words = {
        "fitted": "fitted cells",
        "later_steps": "held-out cells at later steps",
        "larger_num_tasks": "held-out cells at larger task diversity",
    }
    parts = [
        f"{_share(row)} of {words[str(part)]} ({_of_tasks(row['num_tasks'])})"
        for part, row in bayesian.coverage.to_dict(orient="index").items()
    ]
    if parts:
        texts.append(
            "Its 90 % intervals for what would be observed of a run not yet trained hold "
            f"{', '.join(parts)}: means over task diversities, whose cells are wrong together."
        )
    both = bayesian.crossover_table.merge(measured, on="num_tasks").dropna(subset=["observed"])
    inside = (both["observed"] >= both["run_lower"]) & (both["observed"] <= both["run_upper"])
    if len(both):
        texts.append(
            f"The observed crossover step lies within that of a new run at {int(inside.sum())} of "
            f"the {len(both)} task diversities where all runs cross."
        )
    return texts


def _share(row: dict[Any, float]) -> str:
    """Of cells inside 90 % intervals, with its standard error over task diversities."""
    share, error = 100 * row["covered_90"], 100 * row["covered_90_se"]
    return f"{share:.0f} %" if np.isnan(error) else f"{share:.0f} ± {error:.0f} %"


def _of_tasks(number: float) -> str:
    return f"{number:.0f} task {'diversity' if number == 1 else 'diversities'}"
