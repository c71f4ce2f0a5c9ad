"""Every public function takes an account's name as well as the account, a log's path as the log."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from posteriors import OPTIONS
from synthetic import everything

import rational_icl as ri

DATA = Path(__file__).parents[1] / "data"


def test_a_log_that_is_open_is_returned():
    log = ri.open_log(DATA / "urns")
    assert ri.open_log(log) is log


@pytest.mark.parametrize("kind", [str, Path])
def test_summarize_takes_a_path(urn_folder: Path, kind: type):
    cells, behaviour = ri.summarize(kind(urn_folder), progress=False)
    expected, _ = ri.summarize(ri.open_log(urn_folder), progress=False)
    np.testing.assert_array_equal(cells.loss, expected.loss)
    assert len(behaviour.runs) == 1


def test_fit_takes_a_name(small):
    cells, behaviour = small
    options = {"regions": everything(cells), "num_starts": 1}
    by_name = ri.fit("rational", cells, behaviour, **options)
    by_object = ri.fit(ri.accounts.Rational(), cells, behaviour, **options)
    assert by_name.params == by_object.params
    assert by_name.account == by_object.account


def test_names_are_known_before_anything_is_computed(small):
    cells, behaviour = small
    for call in (
        lambda account: ri.fit(account, cells, behaviour),
        lambda account: ri.sample(account, cells, behaviour, **OPTIONS),
        lambda account: ri.sample_conditions(account, {"a": small, "b": small}, **OPTIONS),
        lambda account: ri.sensitivity(account, cells, behaviour, **OPTIONS),
        lambda account: ri.analyse(DATA / "urns", account, progress=False),
    ):
        with pytest.raises(ri.FitError, match="account: 'ratoinal' is not known"):
            call("ratoinal")


def test_no_public_function_asks_for_an_object_only():
    """Of accounts and logs: annotations say what is taken."""
    for name in ri.__all__:
        function = getattr(ri, name) if name != "observations" else None
        if not inspect.isfunction(function):
            continue
        for parameter in inspect.signature(function).parameters.values():
            if (
                parameter.name in ("account", "log") and name != "load_posterior"
            ):  # its name is saved
                assert "str" in str(parameter.annotation), f"{name}({parameter})"


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert ri.__version__ == version("rational_icl")
    assert "lazy" not in dir(ri)


def test_results_tell_in_a_line_what_they_are(posterior, urn_folder):
    inspection = ri.inspect_log(urn_folder, progress=False)
    assert repr(inspection).startswith("Inspection(urn.zarr; runs: 1, errors: 0, ")
    diagnosis = ri.diagnose(posterior)
    state = "converged)" if diagnosis.converged else f"not converged, {diagnosis.problems[0]}"
    assert f"{len(diagnosis.table)} parameters: {state}" in repr(diagnosis)


WITHOUT_TYPES = """
import rational_icl as ri
for call in (ri.fit, ri.sample, ri.compare):
    try:
        call("rational", object(), object())
    except ri.FitError as error:
        print(error)
try:
    ri.summarize({"run": {}})
except ri.LogError as error:
    print(error)
"""


def test_what_is_swapped_or_no_log_is_told():
    """By a process whose arguments nobody has checked before."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_TYPES], capture_output=True, text=True)
    told = done.stdout.splitlines()
    assert len(told) == 4, done.stderr
    assert all("expected the two of `summarize`, Cells and Behaviour" in line for line in told[:3])
    assert "`log_from_arrays` makes one of arrays in memory" in told[3]
