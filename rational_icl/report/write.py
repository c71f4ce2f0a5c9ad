"""Writing analyses: one self-contained page, figures, tables, JSON.

Everything is written to a hidden folder first, and takes the place of an older report at the end,
so that an error while drawing, or an interrupt, leaves that as it was.
"""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from rational_icl._errors import LogError
from rational_icl._staging import staging_folder
from rational_icl.fitting.jackknife import Jackknife
from rational_icl.report import comparing
from rational_icl.report.drawing import check_formats, draw, write_tables
from rational_icl.report.folder import DOCUMENT, PAGE, listed, refuse_foreign, replace_report
from rational_icl.report.page import agreement_table, page, section
from rational_icl.report.result import Analysis


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
        sections.append(section(analysis, draw(analysis, subfolder / "figures", formats)))
        write_tables(_tables(analysis), subfolder / "tables", latex)
        documents[analysis.name] = {**analysis.to_json(), "version": version("rational_icl")}
        _write_json(documents[analysis.name], subfolder / DOCUMENT)
    (folder / PAGE).write_text(page(sections), encoding="utf-8")
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
