"""The documentation's promises: its Python runs as written, its commands are the ones CI uses."""

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

import rational_icl as ri
from rational_icl.cli import main

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").glob("*.md")),
    )
}
LONGEST = 130
SPANS = re.compile(r"`rational-icl [^`]*`")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], flags=re.DOTALL)


@pytest.mark.full
@pytest.mark.parametrize("page", [page for page in PAGES if "```python\n" in PAGES[page]])
def test_python_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(block, names)  # the documentation is ours
    if "phase" in names:
        assert bool((abs(names["phase"]["weight"].sum("strategy") - 1) < 1e-12).all())
    if page == "README.md":
        assert names["phase"]["weight"].sizes == {"num_tasks": 3, "step": 2, "strategy": 2}


def test_the_two_commands_are_single_lines_that_ci_can_extract():
    first, second, *_ = blocks("README.md", "sh")
    assert "rational-icl report data/urns --out report" in first
    assert "pytest" in second
    for command in (first, second):
        assert len(command.strip().splitlines()) == 1
        assert "python3.11 -m venv .venv" in command


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_the_options_that_are_written(page):
    text = re.sub(r"\\\n", " ", "\n".join(blocks(page, "sh")) + "".join(SPANS.findall(PAGES[page])))
    of_main = set(CliRunner().invoke(main, ["--help"]).output.split())
    for words in map(str.split, re.findall(r"rational-icl (.*?)(?=[`#&\n])", text)):
        named = [word for word in words if not word.startswith("--") and ".py" not in word]
        if not named:  # the group itself, such as `rational-icl --help`
            assert set(words) <= of_main
            continue
        command = named[0]
        help_ = CliRunner().invoke(main, [command, "--help"])
        assert help_.exit_code == 0, f"{page}: no command {command}"
        missing = {word for word in words if word.startswith("--")}
        missing -= set(re.findall(r"--[a-z-]+", help_.output)) | of_main
        assert not missing, f"{page}: {command} has no {missing}"


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    folder = (ROOT / page).parent
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", PAGES[page])
    dead = [link for link in links if "://" not in link and not (folder / link).exists()]
    assert not dead


def test_pages_are_of_a_few_screens():
    lengths = {page: text.count("\n") for page, text in PAGES.items() if page != "docs/api.md"}
    assert max(lengths.values()) <= LONGEST, lengths


def test_the_reference_lists_every_public_name():
    assert set(re.findall(r"^   (\w+)$", PAGES["docs/api.md"], flags=re.MULTILINE)) == set(
        ri.__all__
    )


@pytest.mark.parametrize(
    ("place", "of_two", "score", "shown"),
    [
        (0, True, "excess_left", lambda share: f"{100 * share:.1f}"),
        (1, False, "excess_left", lambda share: f"{100 * share:.1f}"),
        (2, True, "crossover_error", lambda error: f"{math.exp(error):.2f}"),
    ],
)
def test_tables_of_theories_are_those_of_their_file(place, of_two, score, shown):
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    section = text[text.index("## Theories of ratios") :]
    header, _, *rows = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)[place].splitlines()
    logs = [word.strip() for word in header.strip("|").split("|")[1:]]
    table = pd.read_csv(ROOT / "analysis" / "theories.csv")
    scheme = table["scheme"] == "leave_one_num_tasks_out"
    family = table[scheme & ((table["strategies"] == 2) == of_two)]
    known = family.set_index(["log", "account"])[score]
    assert len(rows) >= 7
    for row in rows:
        account, *cells = (word.strip() for word in row.strip("|").split("|"))
        for log, cell in zip(logs, cells, strict=True):
            assert cell == shown(known[log, account.strip("`")]), (account, log)
