"""Commands pass options to the sampler, and print no interval of chains that have not converged."""

import json
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from builders import save_npz, urn_run
from click.testing import CliRunner, Result
from posteriors import shuffled

import rational_icl as ri
from rational_icl.cli import main
from rational_icl.posterior.adaptation import Plan
from rational_icl.posterior.convergence import TARGETS, Attempt, advise, as_words, flag
from rational_icl.report.bayesian import FIGURES

URNS = Path(__file__).parent.parent.parent / "data" / "urns"
OPTIONS = {
    "num_chains": 3,
    "num_warmup": 50,
    "num_draws": 75,
    "max_draws": 150,
    "target_accept": 0.9,
    "adapt": False,
}
TYPED = [f"--draws={OPTIONS['num_draws']}", "--chains=3", "--warmup=50", "--max-draws=150"]
TYPED += ["--target-accept=0.9", "--no-adapt"]
SAMPLING = ("sample", "report", "compare")


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    files = [
        save_npz(folder / f"D{d}.npz", **urn_run(d, steps=(10, 30, 100, 300, 1000)))
        for d in (4, 8, 16)
    ]
    assert call("import", *files, "--out", folder / "logs").exit_code == 0
    return folder / "logs"


@pytest.fixture(scope="module")
def posteriors(posterior) -> dict[bool, Any]:
    """By whether chains have converged; both of one small log."""
    both = {False: posterior, True: shuffled(posterior)}
    assert all(ri.diagnose(idata).converged is converged for converged, idata in both.items())
    return both


def parsed(command: str, *words: str) -> dict[str, Any]:
    return main.commands[command].make_context(command, ["log", "--out", "x", *words]).params


@pytest.mark.parametrize("command", SAMPLING)
def test_commands_name_every_option_of_the_sampler(command):
    assert {name: parsed(command, *TYPED)[name] for name in OPTIONS} == OPTIONS
    assert set(OPTIONS) == set(Plan.__dataclass_fields__)
    untouched = parsed(command)
    assert all(untouched[name] is None for name in OPTIONS)
    helped = {option.name: option.help for option in main.commands[command].params if option.help}
    for name in OPTIONS:
        default = getattr(Plan, name)
        shown = "adapt" if default is True else f"{default}"
        assert helped[name].endswith(f"[default: {shown}]")


TROUBLES = [
    {"least_ess": 1.0},
    {"largest_r_hat": np.inf, "least_ess": 0.0},
    {"divergences": 100, "share_divergent": 0.1, "target_accept": TARGETS[-1]},
    {"divergences": 1, "share_divergent": 0.001},
]


@pytest.mark.parametrize("command", SAMPLING)
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
@pytest.mark.parametrize("adapt", [True, False])
def test_every_advice_can_be_typed_on_the_command_that_gives_it(command, trouble, adapt):
    attempt = replace(Attempt(0.99, 1000, 8000, 0, 0.0, 500.0, 1.001), **trouble)
    advice = advise(attempt, Plan(adapt=adapt).options)
    typed, _, python = as_words(advice).partition(" (in Python ")
    params = parsed(command, *typed.split())
    assert {name: params[name] for name in advice} == advice
    called = eval(f"dict({python.removesuffix(')')})")
    assert called == advice
    assert set(advice) <= set(signature(ri.sample).parameters)
    assert all(flag(name) in typed for name in advice)


@pytest.mark.parametrize(("command", "more"), [("report", ()), ("compare", ("--posterior",))])
def test_reports_pass_options_to_the_sampler(command, more, log, tmp_path, monkeypatch):
    class ReachedError(Exception):
        pass

    def stop(*args, **options):
        assert {name: options[name] for name in OPTIONS} == OPTIONS
        raise ReachedError

    monkeypatch.setattr("rational_icl.report.analysis.sample", stop)
    result = call(command, log, "--out", tmp_path / "page", *TYPED, *more)
    assert isinstance(result.exception, ReachedError)


@pytest.mark.parametrize(
    "words", [("report", "--quick"), ("report", "--no-posterior"), ("compare",)]
)
def test_options_of_a_posterior_that_is_not_sampled_are_refused(words, log, tmp_path):
    result = call(words[0], log, "--out", tmp_path / "page", "--draws", 500, *words[1:])
    assert result.exit_code == 2
    assert "no posterior is sampled; add --posterior" in result.stderr
    assert not (tmp_path / "page").exists()


def unless_converged(result: Result, converged: bool) -> None:
    """Status and reasons."""
    assert result.exit_code == (0 if converged else 3), result.output
    assert ("not converged: " in result.stderr) is not converged
    assert ("with --adapt (in Python adapt=True)" in result.stderr) is not converged


@pytest.mark.parametrize("converged", [True, False])
def test_samples_are_saved_and_their_intervals_printed_if_converged(
    converged, posteriors, small, tmp_path, monkeypatch
):
    def sample(*args, **options):
        assert {name: options[name] for name in OPTIONS} == OPTIONS
        return posteriors[converged]

    monkeypatch.setattr(ri, "sample", sample)
    monkeypatch.setattr(
        "rational_icl.cli.theory.theory_and_cells", lambda *args: (ri.accounts.Rational(), *small)
    )
    result = call("sample", "log", "--out", tmp_path / "x.nc", *TYPED)
    unless_converged(result, converged)
    assert (tmp_path / "x.nc").exists()
    row = next(line for line in result.stdout.splitlines() if line.startswith("alpha"))
    assert (row.count("not converged") == 4) is not converged
    assert len(row.replace("not converged", "–").split()) == 8
    predicted = call("predict", tmp_path / "x.nc", "--num-tasks", "8,64", "--steps", "100,1000")
    unless_converged(predicted, converged)
    assert "`rational-icl sample` it again" in predicted.stderr or converged
    assert predicted.stdout.count("not converged") == (0 if converged else 8 * 5)
    table = tmp_path / "table.csv"
    words = ("--num-tasks", "8", "--steps", "100", "--out", table)
    unless_converged(call("predict", tmp_path / "x.nc", *words), converged)
    frame, _ = pd.read_csv(table).to_dict(orient="records")
    assert frame["converged"] is converged
    assert np.isnan(frame["lower"]) is not converged
    assert 0 <= frame["weight"] <= 1


@pytest.fixture(scope="module", params=[True, False], ids=["converged", "not converged"])
def reported(request, log, posteriors, tmp_path_factory):
    """Whether chains converged, the command's result and the folder of a report."""
    out = tmp_path_factory.mktemp("page") / "report"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "rational_icl.report.analysis.sample", lambda *_, **__: posteriors[request.param]
        )
        return request.param, call("report", log, "--out", out), out


def test_a_page_gives_intervals_or_an_alarm_at_its_top(reported):
    converged, result, out = reported
    unless_converged(result, converged)
    page = (out / "index.html").read_text()
    assert ("has not converged; its intervals are withheld" in page) is not converged
    assert ("Sample again with --adapt" in page) is not converged
    if not converged:
        assert page.index("has not converged") < page.index('<div class="verdict">')
    # beside each of the three figures
    assert page.count("NOT CONVERGED") == (0 if converged else 3)
    assert ("With 90 % intervals, alpha" in page) is converged
    assert "target acceptance" in page


def test_files_of_a_report_withhold_intervals(reported):
    converged, _, out = reported
    found = json.loads((out / "report.json").read_text())["posterior"]
    assert found["converged"] is converged
    assert ("--adapt" in found["advice"]) is not converged
    assert [attempt["num_draws"] for attempt in found["attempts"]] == [600 if converged else 300]
    numbers = [found["parameters"]["alpha"][name] for name in ("mean", "sd", "lower", "upper")]
    numbers += [row[name] for row in found["crossover"] for name in ("run_lower", "account_never")]
    numbers += [part["covered_90"] for part in found["coverage"].values()]
    numbers += [found["slope"]["run"]["lower"]] if not converged else []
    assert all((number is None) is not converged for number in numbers)
    assert found["parameters"]["alpha"]["r_hat"] > 0.9
    for name in ("posterior", "posterior_crossover", "posterior_coverage"):
        table = pd.read_csv(out / "tables" / f"{name}.csv")
        assert (table["converged"] == converged).all()
        hidden = set(table) - {"parameter", "r_hat", "ess_bulk", "ess_tail", "region"}
        hidden -= {"cells", "num_tasks", "converged"}
        assert hidden
        assert table[list(hidden)].isna().all(axis=None) != converged
    assert (out / "tables" / "posterior_attempts.csv").exists()


@pytest.mark.parametrize("name", FIGURES)
def test_figures_say_by_themselves_that_chains_have_not_converged(name, reported):
    converged, _, out = reported
    drawn = (out / "figures" / f"{name}.svg").read_text()  # letters are paths, words are comments
    assert ("not converged: do not use its intervals" in drawn) is not converged


def test_too_few_draws_end_in_a_sentence_and_status_3_and_are_saved(log, tmp_path):
    file = tmp_path / "few.nc"
    result = call("sample", log, "--out", file, "--warmup", 25, "--draws", 25, "--no-adapt")
    assert result.exit_code == 3
    assert "not converged" in result.stderr
    predicted = call("predict", file, "--num-tasks", "16,64", "--steps", "100,1000")
    assert predicted.exit_code == 3
    assert "crossover_never" in predicted.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--draws", 30), "multiple of 25"),
        (("--warmup", 0), "multiple of 25"),
        (("--max-draws", 26), "multiple of 25"),
        (("--target-accept", 1), "between 0 and 1"),
        (("--account", "rationall"), "rational"),
    ],
)
@pytest.mark.parametrize("command", ["sample", "report"])
def test_bad_options_end_in_one_sentence(tmp_path, command, words, said):
    result = call(command, URNS, "--out", tmp_path / "x.nc", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not (tmp_path / "x.nc").exists()
