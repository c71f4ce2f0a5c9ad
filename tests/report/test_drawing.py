"""Figures and tables as files: formats that were asked for, and tables that LaTeX reads."""

import re
from typing import Any, cast
from unittest.mock import Mock

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import rational_icl as ri
from rational_icl.report import drawing
from rational_icl.report.result import Analysis


def test_figures_are_laid_out_once_and_written_as_asked_for(tmp_path, monkeypatch):
    layouts = []

    def figure(analysis):
        made, ax = plt.subplots(layout="constrained")
        ax.plot([1, 2], [1, 2], label="a line that makes room")
        ax.legend(bbox_to_anchor=(1.4, 1))
        engine = cast(Any, made.get_layout_engine())
        execute = engine.execute
        monkeypatch.setattr(
            engine, "execute", lambda fig: (layouts.append(fig), execute(fig)), raising=False
        )
        return made

    monkeypatch.setattr(drawing, "FIGURES", {"line": figure})
    analysis = Mock(spec=Analysis, bayesian=None, comparison=None)
    drawn = drawing.draw(analysis, tmp_path / "a", ("png", "pdf"))
    assert len(layouts) == 1
    assert drawn["line"].startswith("<svg")
    assert (tmp_path / "a" / "line.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a" / "line.pdf").read_bytes().startswith(b"%PDF")
    drawing.draw(analysis, tmp_path / "b", ("pdf", "svg"))
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["line.pdf", "line.svg"]
    for name in ("line.svg", "line.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("value", ["a_b & 5 % of {x} \\ #1 ~ ^", "=SUM(A1)", "β², N*"])
def test_latex_escapes_what_it_would_read_as_its_own(value, tmp_path):
    table = pd.DataFrame(
        {"a_column": [value, "plain"], "number": [0.123456789, np.nan], "small": [3.2e-7, 1.5e9]}
    )
    drawing.write_tables({"t": table}, tmp_path / "tables", latex=True)
    text = (tmp_path / "tables" / "t.tex").read_text(encoding="utf-8")
    assert text.startswith("\\begin{tabular}")
    assert all(rule in text for rule in ("\\toprule", "\\midrule", "\\bottomrule"))
    assert r"a\_column" in text
    assert all(number in text for number in ("0.1235", "3.2e-07", "1.5e+09"))
    assert "--" in text
    # whatever is special stands behind a backslash, and no row has a column more
    for line in text.splitlines():
        if not line.startswith(("\\begin", "\\end")):
            bare = re.sub(r"\\(textbackslash|textasciitilde|textasciicircum)", "", line)
            bare = re.sub(r"\\[&%$#_{}~^\\]", "", bare)
            assert not set(bare) & set("%$#_~^"), line
            assert bare.count("&") == (0 if "rule" in line else 2)


def test_a_format_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(ri.FitError, match="figures: 'pfd'; did you mean 'pdf'"):
        ri.write_report(cast(Any, []), tmp_path / "out", formats=("pfd",))
    assert not (tmp_path / "out").exists()
