"""The README's promises: its Python runs as written, its commands are the ones CI uses."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.full
def test_python_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(block, names)  # the README is ours
    phase = names["phase"]
    assert phase["weight"].sizes == {"num_tasks": 3, "step": 2, "strategy": 2}
    assert bool((abs(phase["weight"].sum("strategy") - 1) < 1e-12).all())


def test_the_two_commands_are_single_lines_that_ci_can_extract():
    first, second, *_ = blocks("sh")
    assert "rational-icl report data/urns --out report" in first
    assert "pytest" in second
    for command in (first, second):
        assert len(command.strip().splitlines()) == 1
        assert "python3.11 -m venv .venv" in command
