"""Ctrl-C at any moment of any command: one line, exit status 130, nothing half-written.

Moments are spread over how long the command takes uninterrupted, from its first instruction to its
end; what comes before is the interpreter's.
"""

import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from builders import save_npz, urn_run
from interrupting import Ended, problem, run_command

import rational_icl as ri
from rational_icl._errors import RationalICLError

STEPS = (20, 60, 120, 240, 480, 960)
DIVERSITIES = (2, 4, 8, 16, 32)
FEW = "--num-tasks 2,4 --seeds 0 --num-dims 4 --context-length 8 --steps 40 --num-checkpoints 4"


class Command(NamedTuple):
    """What is typed, and what it leaves.

    Args:
        words: in a folder of its own, whose files `inputs` are.
        outputs: what may be there afterwards; each must be whole, and others must not be there.
        kept: what may be there, too, because the same command goes on from it.
        read: reads an output, or raises RationalICLError.
    """

    words: str
    outputs: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    read: Callable[[Path], object] = lambda path: None


def read_page(path: Path) -> None:
    assert (path / "index.html").read_text().rstrip().endswith("</html>")
    assert {"report.json", "tables", "figures"} <= {one.name for one in path.iterdir()}
    assert not list(path.glob(".*"))


def read_whole_log(path: Path) -> None:
    assert len(ri.open_log(path)) == len(DIVERSITIES)
    assert not list(path.glob(".*"))


def read_table(path: Path) -> None:
    assert len(path.read_text().splitlines()) == 5


def read_grid(path: Path) -> None:
    """A whole one; of another, the same command goes on."""
    if (path / "log.json").exists():
        assert len(ri.open_log(path)) == 2
        names = {"D2-s0.zarr.zip", "D4-s0.zarr.zip", "log.json"}
        assert {one.name for one in path.iterdir()} == names


COMMANDS = {
    "check": Command("check logs"),
    "import": Command(
        "import D2.npz D4.npz D8.npz D16.npz D32.npz --out new", ("new",), (), read_whole_log
    ),
    "merge": Command("merge logs --out new", ("new",), (), read_whole_log),
    "summarize": Command(
        "summarize logs --out cells.nc", ("cells.nc",), ("cells.nc.parts",), ri.load_cells
    ),
    "summarize on workers": Command(
        "summarize logs --out cells.nc --workers 2", ("cells.nc",), ("cells.nc.parts",),
        ri.load_cells,
    ),
    "fit": Command("fit logs --out new.json", ("new.json",), (), ri.load_fit),
    "predict": Command(
        "predict fit.json --num-tasks 4,64 --steps 100,1000 --out new.csv", ("new.csv",), (),
        read_table,
    ),
    "sample": Command(
        "sample logs --out new.nc --chains 2 --warmup 25 --draws 25", ("new.nc",), (),
        ri.load_posterior,
    ),
    "report": Command("report logs --quick --out new", ("new",), (), read_page),
    "compare": Command(
        "compare logs --quick --accounts rational,logistic_surface --out new", ("new",), (),
        read_page,
    ),
    "train": Command(f"train new {FEW}", ("new",), (), read_grid),
}  # fmt: skip
LONG = {"summarize on workers", "fit", "sample", "report", "compare"}
"""Commands that take long: every moment costs as long again."""
FINISHED = {"sample": {0, 3}}
"""Exit statuses of a command that ends by itself, if others than 0."""


def log_of(folder: Path, diversities: Collection[int]) -> Path:
    """A folder with a small log in it."""
    for diversity in diversities:
        run = urn_run(num_tasks=diversity, steps=STEPS, half_way=100.0)
        save_npz(folder / f"D{diversity}.npz", **run)
    ri.import_npz(sorted(folder.glob("*.npz")), folder / "logs")
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = log_of(tmp_path_factory.mktemp("inputs"), DIVERSITIES)
    cells, behaviour = ri.summarize(ri.open_log(folder / "logs"), progress=False)
    ri.fit(ri.accounts.Rational(), cells, behaviour, num_starts=2).save(folder / "fit.json")
    return folder


def leftovers(folder: Path, command: Command, names: set[str]) -> Iterator[str]:
    """What is wrong with what an interrupted command left."""
    for name in {path.name for path in folder.iterdir()} - names - {*command.kept}:
        if name not in command.outputs:
            yield f"left {name}"
            continue
        try:
            command.read(folder / name)
        except (RationalICLError, AssertionError, OSError) as error:
            yield f"left {name}, which is not whole: {error}"


def unfinished(
    ended: Ended, folder: Path, command: Command, finished: Collection[int]
) -> Iterator[str]:
    """What is wrong with a command that was not interrupted."""
    if ended.status not in finished:
        yield f"status {ended.status}: {ended.stderr[-500:]}"
    for name in command.outputs:
        command.read(folder / name)
    for name in command.kept:
        if (folder / name).exists():
            yield f"left {name}"


def sweep(name: str, inputs: Path, scratch: Path, moments: int, times: int = 1) -> list[str]:
    """Interrupts a command at moments over its whole life, and once gives it again.

    Returns:
        What was wrong.
    """
    finished = FINISHED.get(name, {0})
    command, names = COMMANDS[name], {path.name for path in inputs.iterdir()}
    words = command.words.split()
    folder = scratch / name
    shutil.copytree(inputs, folder)
    began = time.monotonic()
    wrong = list(unfinished(run_command(words, folder), folder, command, finished))
    seconds = time.monotonic() - began
    for index, moment in enumerate(np.linspace(0.01, seconds, moments)):
        shutil.rmtree(folder)
        shutil.copytree(inputs, folder)
        ended = run_command(words, folder, float(moment), times=times)
        problems = [problem(ended, finished=finished), *leftovers(folder, command, names)]
        if index == moments // 2 and ended.status == 130:
            again = run_command(words, folder)
            problems += [*unfinished(again, folder, command, finished)]
            problems += leftovers(folder, command, names | set(command.outputs))
        wrong += [f"after {moment:.2f} of {seconds:.2f} s: {one}" for one in problems if one]
    return wrong


@pytest.mark.full
@pytest.mark.parametrize("name", COMMANDS)
def test_interrupts_end_every_command_in_one_line(name: str, inputs: Path, tmp_path: Path):
    moments = 4 if name in LONG else 7
    assert sweep(name, inputs, tmp_path, moments) == []


@pytest.mark.full
@pytest.mark.parametrize("name", ["check", "fit"])
def test_impatience_is_answered_by_the_same_line(name: str, inputs: Path, tmp_path: Path):
    assert sweep(name, inputs, tmp_path, moments=5, times=3) == []
