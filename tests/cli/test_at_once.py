"""What arguments alone show to be wrong is said before anything is read, or JAX imported."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete

import rational_icl as ri
from rational_icl.cli import choices, main
from rational_icl.comparison import DEFAULT_SCHEMES
from rational_icl.report import drawing

# nothing is there: whoever looked into it would say so instead
LOG = ("no-such-log",)
MISTAKES = {
    "unknown account": (
        ["fit", *LOG, "--account", "nope", "--out", "fit.json"],
        "'nope' is not known",
    ),
    "account nearly known": (
        ["fit", *LOG, "--account", "ratonal", "--out", "fit.json"],
        "did you mean 'rational'?",
    ),
    "accounts nearly known": (
        ["compare", *LOG, "--accounts", "rational,kinetics", "--out", "r"],
        "did you mean 'kinetic'?",
    ),
    "unknown account of a posterior": (
        ["sample", *LOG, "--account", "nope", "--out", "p.nc"],
        "'nope' is not known",
    ),
    "unknown account of a report": (
        ["report", *LOG, "--account", "nope", "--out", "r"],
        "'nope' is not known",
    ),
    "unknown account to compare": (
        ["compare", *LOG, "--accounts", "rational,nope", "--out", "r"],
        "nope: not known",
    ),
    "unknown scheme": (["compare", *LOG, "--schemes", "late,early", "--out", "r"], "late, early"),
    "unknown format of figures": (
        ["report", *LOG, "--figures", "png,pfd", "--out", "r"],
        "did you mean 'pdf'?",
    ),
    "two logs named alike": (
        ["report", "a/urns", "b/urns", "--out", "r"],
        "named alike (urns)",
    ),
    "a number stated twice": (
        ["import", *LOG, "--out", "new", "--set", "noise_variance=1", "--set", "noise_variance=2"],
        "name each parameter once",
    ),
    "no folder for a fit": (["fit", *LOG, "--out", "none/fit.json"], "folder does not exist"),
    "no folder for draws": (["sample", *LOG, "--out", "none/p.nc"], "folder does not exist"),
    "no folder for cells": (["summarize", *LOG, "--out", "none/c.nc"], "folder does not exist"),
    "no folder for predictions": (
        ["predict", *LOG, "--num-tasks", "4", "--steps", "1", "--out", "none/p.csv"],
        "folder does not exist",
    ),
    "a file for a report": (["report", *LOG, "--out", "file/report"], "file is a file"),
}
RUN = """
import sys
from rational_icl.cli import main
try:
    main(sys.argv[1:])
finally:
    assert not {"jaxlib", "zarr", "pandas"} & set(sys.modules)
"""


@pytest.mark.parametrize(("words", "says"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_at_once(words: list[str], says: str, tmp_path: Path):
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("fit", "log", "--account", "rational_l"), {"rational_linear_prior", "rational_log"}),
        (("compare", "log", "--accounts", "rational,kin"), {"rational,kinetic"}),
        (("compare", "log", "--schemes", "la"), {"late_steps", "large_num_tasks"}),
    ],
)
def test_a_shell_completes_names(words: tuple[str, ...], offered: set[str]):
    completion = ShellComplete(main, {}, "rational-icl", "_RATIONAL_ICL_COMPLETE")
    found = completion.get_completions(list(words[:-1]), words[-1])
    assert {item.value for item in found} == offered


def test_names_are_those_of_the_package():
    assert ri.accounts.names() == choices.ACCOUNTS
    assert choices.SCHEMES == DEFAULT_SCHEMES
    assert choices.FORMATS == drawing.FORMATS


@pytest.mark.parametrize(
    "wrong",
    [
        {"compared": ["rational", "nope"]},
        {"compared": ["rational"], "schemes": ["early"]},
        {"sampling": {"num_draws": 30}},
        {"account": "nope"},
    ],
    ids=str,
)
def test_analyse_reads_nothing_before_its_arguments_are_right(
    urn_folder: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
):
    monkeypatch.setattr("rational_icl.cells.source.summarize", None)
    with pytest.raises(ri.FitError):
        ri.analyse(urn_folder, **{"account": "rational", **wrong}, progress=False)
