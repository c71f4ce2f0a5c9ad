"""Writing analyses: one self-contained page, figures, tables, JSON.

Everything is written to a hidden folder first, and takes the place of an older report at the end,
so that an error while drawing, or an interrupt, leaves that as it was.
"""

import inspect
import json
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from rational_icl._errors import LogError
from rational_icl._staging import staging_folder
from rational_icl.fitting.jackknife import Jackknife
from rational_icl.report import comparing
from rational_icl.report.drawing import check_formats, draw, write_tables
from rational_icl.report.explorer import explorer_data, explorer_script
from rational_icl.report.folder import DOCUMENT, PAGE, listed, refuse_foreign, replace_report
from rational_icl.report.references import Reference, cited
from rational_icl.report.result import EXTRAPOLATIONS, REGIONS, Analysis
from rational_icl.report.text import sentences

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


def write_report(
    analyses: Analysis | Sequence[Analysis],
    out: str | Path,
    *,
    formats: Sequence[str] = (),
    latex: bool = False,
) -> Path:
    """Write `index.html`, `report.json`, `figures/*.svg` and `tables/*.csv` into a folder.

    Of several analyses the page has a section each; their other files are in a folder named after
    each log, and `report.json` holds all documents by name under `logs`.

    Args:
        analyses: from `analyse`.
        out: the folder; made if need be. All files of an older report in it go, others stay.
        formats: of figures, beside SVG: pdf, png.
        latex: whether to write tables as LaTeX too (`tables/*.tex`, for the package booktabs).

    Returns:
        The path of `index.html`.

    Raises:
        LogError: `out` is a file, holds files of these names that no report wrote, or cannot be
            written, another report is being written there, or two logs have the same name.
        FitError: a format that is not known.
    """
    check_formats(formats)
    analysed = [analyses] if isinstance(analyses, Analysis) else list(analyses)
    names = [analysis.name for analysis in analysed]
    if len(set(names)) < len(names):
        raise LogError(f"two of the logs are named alike ({', '.join(names)}); rename a folder")
    out = Path(out)
    refuse_foreign(out)
    with staging_folder(out, ".writing", "another report is being written here") as staging:
        _write_all(analysed, staging / "new", formats, latex)
        replace_report(staging / "new", staging / "older", out)
    return out / PAGE


def _write_all(analyses: list[Analysis], folder: Path, formats: Sequence[str], latex: bool) -> None:
    documents, sections = {}, []
    for analysis in analyses:
        subfolder = folder if len(analyses) == 1 else folder / analysis.name
        sections.append(_section(analysis, draw(analysis, subfolder / "figures", formats)))
        write_tables(_tables(analysis), subfolder / "tables", latex)
        documents[analysis.name] = {**analysis.to_json(), "version": version("rational_icl")}
        _write_json(documents[analysis.name], subfolder / DOCUMENT)
    script = explorer_script() if any(section["explorer"] for section in sections) else None
    page = _template("page").render(
        sections=sections, version=version("rational_icl"), explorer_script=script
    )
    (folder / PAGE).write_text(page, encoding="utf-8")
    document = (
        {"schema": 1, "logs": documents} if len(analyses) > 1 else documents[analyses[0].name]
    )
    _write_json({**document, "files": listed(folder)}, folder / DOCUMENT)


def _write_json(document: dict[str, Any], path: Path) -> None:
    text = json.dumps(document, indent=1, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def _tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Every table of a report, by file name."""
    tables = {
        "cells": analysis.frame,
        "crossover": analysis.crossover,
        "crossover_runs": analysis.runs,
        "agreement": agreement_table(analysis),
        "strategy_weights": analysis.strategy_weights,
        "starts": analysis.fit.starts,
    }
    if isinstance(analysis.jackknife, Jackknife):
        tables["jackknife"] = analysis.jackknife.table
        tables["jackknife_refits"] = analysis.jackknife.estimates
    if not analysis.published.empty:
        tables["published"] = analysis.published
    if analysis.bayesian:
        posterior = analysis.bayesian.diagnosis.shown
        tables["posterior"] = posterior.rename_axis("parameter").reset_index()
        tables["posterior_attempts"] = analysis.bayesian.diagnosis.attempts
        tables["posterior_crossover"] = analysis.bayesian.crossover_table
        coverage = analysis.bayesian.coverage_table.rename_axis("region").reset_index()
        tables["posterior_coverage"] = coverage
    if analysis.variants is not None:
        tables["variants"] = analysis.variants
    if analysis.comparison:
        tables |= comparing.tables(analysis.comparison)
    return tables


def agreement_table(analysis: Analysis) -> pd.DataFrame:
    """Agreement measures of the account, one row per split and region."""
    rows = [
        {"split": split, "region": region, **analysis.agreement(split, region)}
        for split in analysis.splits
        for region in REGIONS + EXTRAPOLATIONS
    ]
    return pd.DataFrame(rows)


def _section(analysis: Analysis, drawn: dict[str, Markup]) -> dict[str, Any]:
    """What the page says of one log."""
    setting = type(analysis.fit.setting)
    return {
        "analysis": analysis,
        "fit": analysis.fit,
        "counts": analysis.to_json()["cells"],
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
        "figures": drawn,
        "explorer": explorer_data(analysis, _explored(analysis)),
        "references": _references(analysis),
        "score_names": comparing.score_names(analysis.comparison) if analysis.comparison else {},
        "definition": (inspect.getdoc(setting) or "").split("\nArgs:")[0].strip(),
    }


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
