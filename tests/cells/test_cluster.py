"""Work on a real cluster of processes on this machine, some of which are killed on the way."""

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from builders import save_npz, urn_run
from click.testing import CliRunner, Result
from spreading import always_die, die_once, killed, make_log, summarize_until

from rational_icl._cluster import Task, cluster, spread
from rational_icl._errors import LogError
from rational_icl.cells import resumable
from rational_icl.cells.file import load_cells
from rational_icl.cells.resumable import summarize_to
from rational_icl.cells.summarize import summarize
from rational_icl.cli import main
from rational_icl.logs import open_log, store

dask = pytest.importorskip("dask", reason="needs the extra distributed")
# its defaults must be there before a test changes one, or all of them go with the change
pytest.importorskip("distributed", reason="needs the extra distributed")
RUNS = 3


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_log(tmp_path_factory.mktemp("logs") / "made", RUNS)


@pytest.fixture(scope="module")
def expected(log: Path) -> Any:
    return summarize(open_log(log), progress=False)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Of two processes. A task may end its worker once, so that tests need not wait for more."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        cluster(workers=2) as connected,
    ):
        yield connected


def same(found: Any, expected: Any) -> bool:
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return jax.tree.structure(found) == jax.tree.structure(expected) and all(
        np.asarray(first).tobytes() == np.asarray(second).tobytes() for first, second in pairs
    )


def call(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def to_file(log: Path, out: Path, client: Any) -> Any:
    summarize_to(open_log(log), out, client=client, progress=False)
    return load_cells(out)


def test_a_killed_worker_costs_only_its_task(log, expected, client, tmp_path, monkeypatch):
    """To the bit what one process finds, in whatever order parts come in."""
    marker = tmp_path / "died"
    monkeypatch.setattr(resumable, "run_file", partial(die_once, str(marker)))
    assert same(to_file(log, tmp_path / "cells.nc", client), expected)
    assert marker.exists()
    assert not (tmp_path / "cells.nc.parts").exists()


def test_a_wrong_address_is_refused_at_once(log, tmp_path):
    start = time.monotonic()
    words = ("summarize", log, "--out", tmp_path / "cells.nc")
    for address in ("tcp://127.0.0.1:1", "nonsense", "tcp://"):
        result = call(*words, "--scheduler", address)
        assert result.exit_code == 2, result.output
        assert result.stderr.count("rational-icl:") == 1
        assert "no Dask scheduler answers there" in result.stderr
    assert time.monotonic() - start < 30
    assert not list(tmp_path.iterdir())


def test_without_dask_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(LogError, match=r"rational_icl\[distributed\]"), cluster(workers=1):
        pass


def test_no_more_is_given_out_than_workers_can_do(client):
    """So that a worker's death is blamed on nothing but the task it was at."""
    begun = []
    submit = client.submit

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

        def submit(self, *task: Any, **options: Any) -> Any:
            begun.append(len(ended))
            return submit(*task, **options)

    ended: list[Any] = []
    tasks = [Task(f"task {i}", f"task {i}", abs, (-i,)) for i in range(7)]
    counting: Any = Counting()
    spread(counting, tasks, lambda task, result: ended.append((task.words, result)))
    assert sorted(ended) == [(f"task {i}", i) for i in range(7)]
    assert all(index - before < 2 for index, before in enumerate(begun))


@pytest.mark.full
def test_losses_that_workers_compute_are_the_same(client, tmp_path):
    log = make_log(tmp_path / "made", 2, logged_worth=False)
    found = to_file(log, tmp_path / "cells.nc", client)
    assert found[0].loss_error.any()
    assert same(found, summarize(open_log(log), progress=False))


@pytest.mark.full
def test_a_damaged_run_ends_in_its_own_sentence(log, client, tmp_path):
    copy = tmp_path / "log"
    shutil.copytree(log, copy)
    path = copy / ("D4-s1" + store.PACKED_SUFFIX)
    whole = bytearray(path.read_bytes())
    whole[whole.find(b"ood/log_prob/c/1/0/0/0") + 60] ^= 255
    path.write_bytes(whole)
    (copy / "log.json").unlink(missing_ok=True)
    words = ("summarize", copy, "--out", tmp_path / "cells.nc")
    result = call(*words, "--scheduler", client.scheduler.address)
    assert result.exit_code == 2
    assert result.stderr.count("rational-icl:") == 1
    assert "D4-s1" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.full
def test_a_task_that_always_ends_its_worker_is_named(log, client, tmp_path, monkeypatch):
    monkeypatch.setattr(resumable, "run_file", always_die)
    with pytest.raises(LogError, match=r"run 'D4-s1'.*every worker that tried it was ended"):
        to_file(log, tmp_path / "cells.nc", client)


@pytest.mark.full
def test_a_killed_client_is_resumed_by_another(log, expected, client, tmp_path, monkeypatch):
    out = tmp_path / "cells.nc"
    assert killed(summarize_until, log, out, 2, client.scheduler.address) == -9
    assert len(list((tmp_path / "cells.nc.parts").glob("*.nc"))) == 2
    done = []
    save = resumable.Parts.save
    monkeypatch.setattr(
        resumable.Parts, "save", lambda self, *part: done.append(part) or save(self, *part)
    )
    assert same(to_file(log, out, client), expected)
    assert len(done) == RUNS - 2


@pytest.mark.full
def test_a_setting_of_ones_own_reaches_workers(tmp_path):
    """`--load FILE` is run in every worker."""
    own = tmp_path / "own.py"
    own.write_text(
        "import rational_icl.settings as s\n"
        "@s.register\n"
        "class Own(s.Categorical):\n"
        "    name = 'own'\n"
    )
    file = save_npz(tmp_path / "D4.npz", **{**urn_run(), "setting": np.array("own")})
    log, words = tmp_path / "log", ("--load", own)
    assert call(*words, "import", file, "--out", log).exit_code == 0
    result = call(*words, "summarize", log, "--out", tmp_path / "cells.nc", "--workers", "1")
    assert result.exit_code == 0, result.output
    assert load_cells(tmp_path / "cells.nc")[0].setting.name == "own"
