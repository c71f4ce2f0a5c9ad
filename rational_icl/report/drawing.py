"""Figures and tables of a report as files: SVG and CSV, and other formats that were asked for."""

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from rational_icl._errors import FitError, closest, plain_cell
from rational_icl.report import bayesian, comparing
from rational_icl.report.figures import FIGURES
from rational_icl.report.result import Analysis

FORMATS = ("svg", "pdf", "png")
"""Formats of figures; the page holds the first, so that every report has it."""
_RESOLUTION = 150
# without a date, equal figures are equal files
_UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


def check_formats(formats: Sequence[str]) -> None:
    """Raises FitError of a format that figures are not written in."""
    for name in formats:
        if name not in FORMATS:
            near = closest(name, FORMATS)
            raise FitError(f"figures: {name!r}; {near}expected some of {', '.join(FORMATS)}")


def draw(analysis: Analysis, folder: Path, formats: Sequence[str] = ()) -> dict[str, Markup]:
    """Figures written to a folder, as SVG and in other formats, and their markup by name."""
    folder.mkdir(parents=True)
    others = [name for name in FORMATS[1:] if name in formats]
    drawn = {}
    # a fixed salt makes equal figures equal files
    with mpl.rc_context({"svg.hashsalt": "rational_icl", "font.size": 9, "svg.fonttype": "path"}):
        for name, make in _figures(analysis):
            figure = make()
            try:
                figure.draw_without_rendering()  # lays it out, once for all formats
                figure.set_layout_engine("none")
                file = io.StringIO()
                _save(figure, file, "svg")
                for suffix in others:
                    _save(figure, folder / f"{name}.{suffix}", suffix)
            finally:
                plt.close(figure)
            text = file.getvalue()
            (folder / f"{name}.svg").write_text(text, encoding="utf-8")
            # matplotlib wrote this markup; names from the log are escaped in it
            drawn[name] = Markup(text[text.index("<svg") :])
    return drawn


def write_tables(tables: dict[str, pd.DataFrame], folder: Path, latex: bool = False) -> None:
    """Tables written to a folder, as CSV, and as LaTeX with the rules of booktabs if asked for."""
    folder.mkdir(parents=True)
    for name, table in tables.items():
        table.map(plain_cell).to_csv(folder / f"{name}.csv", index=False)
        if latex:
            styled = table.style.hide(axis="index")
            styled = styled.format(_latex_number, escape="latex", na_rep="--")
            styled = styled.format_index(escape="latex", axis="columns")
            (folder / f"{name}.tex").write_text(styled.to_latex(hrules=True), encoding="utf-8")


def _latex_number(value: Any) -> Any:
    """Four significant digits of a number that is not whole; anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else value


def _save(figure: Figure, target: io.StringIO | Path, suffix: str) -> None:
    figure.savefig(target, format=suffix, metadata=_UNDATED[suffix], dpi=_RESOLUTION)


def _figures(analysis: Analysis) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """Names and makers, so that no more than one figure is open."""
    for name, make in FIGURES.items():
        yield name, partial(make, analysis)
    if analysis.bayesian:
        for name, make in bayesian.FIGURES.items():
            yield name, partial(make, analysis.bayesian, analysis)
    if analysis.comparison:
        for name, make in comparing.FIGURES.items():
            yield name, partial(make, analysis.comparison, analysis)
