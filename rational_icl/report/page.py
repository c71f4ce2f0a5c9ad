"""The page: what it says of every log, and how numbers are written for a person."""

from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from rational_icl.fitting.jackknife import Jackknife
from rational_icl.report import comparing
from rational_icl.report.explorer import explorer_data, explorer_script
from rational_icl.report.glossary import WORDS, explained
from rational_icl.report.references import Reference, cited
from rational_icl.report.result import EXTRAPOLATIONS, REGIONS, Analysis
from rational_icl.report.text import sentences
from rational_icl.report.verdict import cautions, verdict

_REGION_NAMES = {
    "fitted": "fitted",
    "held_out": "held out, all",
    "later_steps": "held out, later steps",
    "larger_num_tasks": "held out, larger D",
}
_MEASURE_NAMES = {
    "relative_distance_r": "relative distance, Pearson r",
    "relative_distance_rmse": "relative distance, root mean square error",
    "relative_distance_bias": "relative distance, predicted − observed",
    "weight_r": "relative distance with the first strategy's weight, Pearson r",
    "divergence": "divergence from the mixture, nats",
    "total_variation": "total variation",
    "spearman": "Spearman rank correlation",
    "top_agreement": "share with the same most probable outcome",
    "root_mean_square_error": "root mean square error of predicted means",
    "r_squared": "R² of predicted means",
    "best_total_variation": "total variation, best mixtures",
    "best_spearman": "Spearman rank correlation, best mixtures",
    "best_top_agreement": "share with the same most probable outcome, best mixtures",
    "best_root_mean_square_error": "root mean square error of predicted means, best mixtures",
    "best_r_squared": "R² of predicted means, best mixtures",
    "cells": "cells",
    "relative_distance_cells": "cells in which relative distance is defined",
}

_UNFOLD = (
    'addEventListener("beforeprint", () => document.querySelectorAll("details")'
    ".forEach((part) => { part.open = true; }));\n"
)
"""Whatever is folded is printed too."""


def page(sections: list[dict[str, Any]]) -> str:
    """Markup of the page, from the `section` of every log."""
    has_explorer = any(section["explorer"] for section in sections)
    script = Markup(_UNFOLD) + (explorer_script() if has_explorer else "")  # both are our own
    return _template("page").render(
        sections=sections,
        version=version("rational_icl"),
        has_explorer=has_explorer,
        script=script,
        glossary=WORDS,
        scheme_words=comparing.SCHEME_WORDS,
    )


def section(analysis: Analysis, drawn: dict[str, Markup]) -> dict[str, Any]:
    """What the page says of one log, with its figures."""
    explored = explorer_data(analysis, _explored(analysis))
    setting = type(analysis.fit.setting)
    return {
        "analysis": analysis,
        "fit": analysis.fit,
        "counts": analysis.to_json()["cells"],
        "cautions": cautions(analysis),
        "verdict": explained(verdict(analysis)),
        "overview": comparing.overview(analysis.comparison) if analysis.comparison else [],
        "sentences": sentences(analysis),
        "measures": {name: _MEASURE_NAMES.get(name, name) for name in analysis.measures},
        "measure": analysis.prediction_measure.replace("_", " "),
        "names": _REGION_NAMES,
        "range": analysis.fitted_range,
        "agreement": agreement_table(analysis).to_dict(orient="records"),
        "weights": analysis.strategy_weights.to_dict(orient="records"),
        "crossover": analysis.crossover.to_dict(orient="records"),
        "published": analysis.published.to_dict(orient="records"),
        "starts": analysis.fit.starts.sort_values("objective").to_dict(orient="records"),
        "determined": _determined(analysis),
        "contents": _contents(analysis, explored is not None),
        "figures": drawn,
        "explorer": explored,
        "references": _references(analysis),
        "score_names": comparing.score_names(analysis.comparison) if analysis.comparison else {},
        "definition": _definition(setting),
        "account_definition": _definition(type(analysis.fit.account)),
    }


def _definition(kind: type) -> str:
    """Docstring of a setting or an account, less what its arguments are."""
    return comparing.docstring(kind).split("\nArgs:")[0].strip()


def _determined(analysis: Analysis) -> list[dict[str, Any]]:
    """A row a parameter: its value, its range over equal fits, and the jackknife's interval."""
    fit, jackknife = analysis.fit, analysis.jackknife
    spread = fit.identifiability.spread if fit.identifiability else {}
    errors = {}
    if isinstance(jackknife, Jackknife):
        errors = jackknife.table.set_index("parameter").to_dict(orient="index")
    return [
        {"name": name, "value": value, "spread": spread.get(name), "error": errors.get(name)}
        for name, value in fit.params.items()
    ]


def _explored(analysis: Analysis) -> dict[str, float] | None:
    """Where the explorer starts, if the page's own fit is not of the rational account."""
    fits = analysis.comparison.fits if analysis.comparison else {}
    if analysis.fit.account.name == "rational" or "rational" not in fits:
        return None
    return dict(fits["rational"].params)


def _references(analysis: Analysis) -> dict[str, Reference]:
    compared = analysis.comparison.fits if analysis.comparison else ()
    return cited(
        (analysis.fit.account.name, *compared),
        posterior=analysis.bayesian is not None,
        comparison=analysis.comparison is not None,
    )


def _template(name: str) -> Template:
    folder = FileSystemLoader(str(files("rational_icl.report")))
    environment = Environment(
        loader=folder,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["number"] = _number
    return environment.get_template(f"{name}.html.jinja")


def _number(value: Any, digits: int = 3) -> str:
    """A number for a person: `digits` significant digits, a dash where there is none."""
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "–"
    if isinstance(value, bool | str):
        return str(value)
    if abs(value) >= 1000:
        return f"{float(f'{value:.{digits}g}'):,.0f}"
    return f"{value:.{digits}g}"


def agreement_table(analysis: Analysis) -> pd.DataFrame:
    """Agreement measures of the account, one row per split and region."""
    rows = [
        {"split": split, "region": region, **analysis.agreement(split, region)}
        for split in analysis.splits
        for region in REGIONS + EXTRAPOLATIONS
    ]
    return pd.DataFrame(rows)


def _contents(analysis: Analysis, has_explorer: bool) -> list[str]:
    """Titles of the parts of a log, in the order of the page."""
    shown = {
        "Explorer": has_explorer,
        "In detail": True,
        "Phase diagrams": True,
        "Transition times": True,
        "Posterior": analysis.bayesian is not None,
        "Comparison of accounts": analysis.comparison is not None,
        "Agreement": True,
        "Beside the published fits": not analysis.published.empty,
        "Losses of the strategies": True,
        "The fit": True,
        "Sensitivity": analysis.variants is not None,
        "Methods and provenance": True,
    }
    return [title for title, is_shown in shown.items() if is_shown]
