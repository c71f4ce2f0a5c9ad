"""A report in the folder of an older one: none of that one's files stay, and all else does."""

import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path

import pytest

from rational_icl import _cleanup
from rational_icl._errors import LogError
from rational_icl.report.folder import DOCUMENT, PAGE, listed, refuse_foreign, replace_report

SMALL = (PAGE, "figures/losses.png", "figures/losses.svg", "tables/cells.csv")
LARGE = (
    *SMALL,
    "figures/posterior_bands.png",
    "figures/posterior_bands.svg",
    "tables/variants.csv",
)
LOGS = (PAGE, *(f"{log}/{name}" for log in ("urns", "mar kov") for name in (*SMALL[1:], DOCUMENT)))
SHAPES = {"small": SMALL, "large": LARGE, "logs": LOGS}
OWN = ("notes.txt", "figures/mine.png", "tables/mine.csv", "urns/mine.txt", "data/cells.csv")


def make(folder: Path, names: Iterable[str], words: str, *, lists: bool = True) -> Path:
    """A report of these files, each of which holds these words."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(words)
    of = {"logs": {"urns": {}, "mar kov": {}}} if "urns/report.json" in names else {"accounts": {}}
    document = {"schema": 1, **of, "words": words}
    if lists:
        document["files"] = listed(folder)
    (folder / DOCUMENT).write_text(json.dumps(document))
    return folder


def everything(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def replaced(tmp_path: Path, names: Iterable[str], out: Path) -> dict[str, str]:
    """Put a new report there; returns its files."""
    new = make(tmp_path / "new", names, "new")
    expected = everything(new)
    replace_report(new, tmp_path / "aside", out)
    return expected


@pytest.mark.parametrize("lists", [True, False], ids=["listed", "of 0.5"])
@pytest.mark.parametrize("new", SHAPES)
@pytest.mark.parametrize("old", SHAPES)
def test_nothing_of_the_older_report_stays_and_all_else_does(
    old: str, new: str, lists: bool, tmp_path: Path
):
    out = make(tmp_path / "out", SHAPES[old], "old", lists=lists)
    for name in OWN:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")
    expected = replaced(tmp_path, SHAPES[new], out)
    assert everything(out) == {**expected, **dict.fromkeys(OWN, "mine")}
    for name in OWN:
        (out / name).unlink()
    assert set(listed(out)) == set(expected)


def test_folders_that_are_empty_go(tmp_path: Path):
    out = make(tmp_path / "out", LOGS, "old")
    replaced(tmp_path, SMALL, out)
    assert {path.name for path in out.iterdir()} == {PAGE, DOCUMENT, "figures", "tables"}


class Stopped(BaseException):
    """As `KeyboardInterrupt`, which ends pytest where a test is wrong."""


@pytest.mark.parametrize("how", ["error", "process ended"])
@pytest.mark.parametrize("new", SHAPES)
def test_an_interrupt_leaves_the_older_report(
    new: str, how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Before and after every single move, but the last."""
    replace = Path.replace
    stop_at, moves = 0, 0

    def stopping(source: Path, target: Path) -> Path:
        nonlocal moves
        moves += 1
        if moves == stop_at and how == "error":
            raise Stopped
        if moves == stop_at:
            monkeypatch.undo()
            _cleanup.clean_up()  # what the command line does
            raise Stopped  # and nothing runs afterwards
        return replace(source, target)

    for stop_at in range(1, len(LARGE) + len(SHAPES[new]) + 3):
        folder = tmp_path / str(stop_at)
        out = make(folder / "out", LARGE, "old")
        (out / "notes.txt").write_text("mine")
        before, moves = everything(out), 0
        monkeypatch.setattr(Path, "replace", stopping)
        with pytest.raises(Stopped):
            replaced(folder, SHAPES[new], out)
        monkeypatch.undo()
        assert everything(out) == before
        assert moves >= stop_at
        assert (out / "urns").exists() is False


def test_a_killed_process_leaves_no_page_beside_what_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    replace, pages, unlisted = Path.replace, [], 0
    out = make(tmp_path / "out", LARGE, "old")

    def watched(source: Path, target: Path) -> Path:
        nonlocal unlisted
        moved = replace(source, target)
        unlisted += not (out / DOCUMENT).exists()
        if (out / PAGE).exists():
            held = everything(out)
            held.pop(DOCUMENT, None)
            pages.append(held)
        return moved

    monkeypatch.setattr(Path, "replace", watched)
    replaced(tmp_path, SMALL, out)
    assert pages
    assert all(held == dict.fromkeys(SMALL, "new") for held in pages)
    assert unlisted == 1


@pytest.mark.parametrize("new", SHAPES)
def test_what_a_killed_process_left_is_cleared_away(
    new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Killed after any of its moves but that of the list itself."""
    replace = Path.replace

    def dying(source: Path, target: Path) -> Path:
        nonlocal moves
        moves -= 1
        if moves < 0:
            raise Stopped
        return replace(source, target)

    for last in range(1, len(LARGE) + len(SHAPES[new])):
        folder, moves = tmp_path / str(last), last
        out = make(folder / "out", LARGE, "old")
        monkeypatch.setattr(Path, "replace", dying)
        monkeypatch.setattr("rational_icl._files.undone_unless_done", lambda _: nullcontext())
        with pytest.raises(Stopped):
            replaced(folder, SHAPES[new], out)
        monkeypatch.undo()
        shutil.rmtree(folder / "new")
        shutil.rmtree(folder / "aside")
        expected = replaced(folder, SHAPES[new], out)
        assert everything(out) == expected


@pytest.mark.parametrize("name", [PAGE, DOCUMENT, "tables/cells.csv", "urns/report.json"])
def test_what_no_report_wrote_is_never_replaced(name: str, tmp_path: Path):
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("{}")
    with pytest.raises(LogError, match=f"{name} is there and no report's"):
        replaced(tmp_path, LOGS if "urns" in name else SMALL, out)
    assert everything(out) == {name: "{}"}
    if name in (PAGE, DOCUMENT):
        with pytest.raises(LogError, match="name another folder"):
            refuse_foreign(out)


@pytest.mark.parametrize(
    "name",
    ["../own.txt", "../figures/own.png", "notes.txt", "a/b/index.html", "tables/../x.csv", 3],
)
def test_a_list_reaches_nothing_but_reports(name: object, tmp_path: Path):
    out = make(tmp_path / "out", SMALL, "old")
    document = json.loads((out / DOCUMENT).read_text())
    (out / DOCUMENT).write_text(json.dumps({**document, "files": [*document["files"], name]}))
    others = [tmp_path / "own.txt", tmp_path / "figures/own.png", out / "notes.txt", out / "x.csv"]
    for path in (*others, out / "a/b/index.html"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("mine")
    replaced(tmp_path, SMALL, out)
    assert all(path.read_text() == "mine" for path in (*others, out / "a/b/index.html"))


def test_a_list_reaches_nothing_through_links(tmp_path: Path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "own.png").write_text("mine")
    out = make(tmp_path / "out", [PAGE], "old")
    (out / "figures").symlink_to(tmp_path / "photos")
    document = {"schema": 1, "accounts": {}, "files": [PAGE, DOCUMENT, "figures/own.png"]}
    (out / DOCUMENT).write_text(json.dumps(document))
    replaced(tmp_path, [PAGE], out)
    assert (tmp_path / "photos" / "own.png").read_text() == "mine"


@pytest.mark.parametrize("spoil", [lambda text: text[:-3], lambda text: "[]", lambda text: "null"])
def test_a_damaged_document_is_no_report(spoil: Callable[[str], str], tmp_path: Path):
    out = make(tmp_path / "out", SMALL, "old")
    (out / DOCUMENT).write_text(spoil((out / DOCUMENT).read_text()))
    with pytest.raises(LogError, match="no report's"):
        replaced(tmp_path, SMALL, out)
