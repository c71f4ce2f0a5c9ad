"""Compiled programs are kept between commands, where the user lets them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rational_icl.cli import compilation

DATA = Path(__file__).parents[2] / "data"
LEAST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's cache folder, with none of JAX's variables set."""
    for name in (compilation.FOLDER, LEAST):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compilation, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "rational_icl" / "jax"


def test_a_folder_of_the_users_cache_is_made_and_named(fresh: Path):
    compilation.keep_compiled()
    assert os.environ[compilation.FOLDER] == str(fresh)
    assert os.environ[LEAST] == "0"
    assert fresh.is_dir()


def test_a_folder_that_is_named_already_stays(fresh: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(compilation.FOLDER, "elsewhere")
    monkeypatch.setenv(LEAST, "3")
    compilation.keep_compiled()
    assert os.environ[compilation.FOLDER] == "elsewhere"
    assert os.environ[LEAST] == "3"
    assert not fresh.exists()


def test_a_folder_that_cannot_be_made_is_done_without(fresh: Path):
    fresh.parent.write_text("a file where the folder would be")
    compilation.keep_compiled()
    assert compilation.FOLDER not in os.environ


@pytest.mark.full
@pytest.mark.parametrize(
    ("switch", "kept"), [({}, True), ({"JAX_ENABLE_COMPILATION_CACHE": "0"}, False)]
)
def test_a_command_keeps_what_it_compiled(tmp_path: Path, switch: dict[str, str], kept: bool):
    environment = {**os.environ, **switch, "XDG_CACHE_HOME": str(tmp_path)}
    for name in (compilation.FOLDER, LEAST):
        environment.pop(name, None)
    command = ["-m", "rational_icl", "check", str(DATA / "regression")]
    subprocess.run([sys.executable, *command], env=environment, cwd=tmp_path, check=True)
    assert any((tmp_path / "rational_icl").rglob("*-cache")) is kept
