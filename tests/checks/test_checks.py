"""What `inspect_log` finds in logs that were broken in one known way, and in sound ones.

Transformers are stand-ins that predict a mixture of an uninformed prediction and the exact
generalizing and memorizing ones, which a real one approaches, so that a sound log has no findings.
"""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import open_writer, save_npz, urn_run, write_missing
from worlds import saved_run

from rational_icl._errors import LogError
from rational_icl.checks import Finding, Inspection, described, inspect_log
from rational_icl.logs import Run, import_npz, manifest, open_log, store
from rational_icl.settings import Categorical, Classification, Markov, Regression, Setting
from rational_icl.settings.draws import Drawn, draw_from
from rational_icl.strategies.predictors import strategy_predictions

STEPS = (10, 100, 1000)
URNS = Categorical(6, 32)
REGRESSION = Regression(4, 8, 0.1)
SETTINGS = {
    "urns": URNS,
    "regression": REGRESSION,
    "markov": Markov(4, 24),
    "classification": Classification(6, 8, 0.2),
    "urns, first_position": Categorical(6, 32, first_position=3),
}

Arrays = dict[str, np.ndarray]


LAST = (0.02, 0.18, 0.8)


def learnt(
    setting: Setting, last: tuple[float, float, float] = LAST
) -> Callable[[np.ndarray, Drawn], np.ndarray]:
    """Predictions at three steps: nearly uninformed, halfway, and nearly memorizing.

    `last` holds the shares of uninformed, generalizing and memorizing predictions at the last.
    """

    def predict(tasks: np.ndarray, drawn: Drawn) -> np.ndarray:
        memorizing, generalizing = strategy_predictions(
            setting, tasks, drawn.inputs, setting.strategies[:2]
        )
        nothing = np.broadcast_to(
            setting.outcome.uninformed(setting.num_outcomes), memorizing.shape
        )
        shares = np.array([[0.98, 0.01, 0.01], [0.3, 0.4, 0.3], last])
        return np.einsum("ck,kspo->cspo", shares, np.stack([nothing, generalizing, memorizing]))

    return predict


def made(setting: Setting = URNS, num_tasks: int = 4, seed: int = 0, **further: Any) -> Arrays:
    return saved_run(setting, num_tasks, seed, STEPS, learnt(setting), num_sequences=40, **further)


def logged(folder: Path, **runs: Arrays) -> Path:
    """A log of some runs."""
    files = [save_npz(folder / f"{name}.npz", **run) for name, run in runs.items()]
    import_npz(files, folder / "log")
    return folder / "log"


def found(log: Path, kind: str) -> Finding:
    """The one finding of a log."""
    findings = inspect_log(log, progress=False).findings
    assert [one.kind for one in findings] == [kind], findings
    assert "\n" not in findings[0].problem + findings[0].advice
    return findings[0]


def kinds(inspection: Inspection) -> list[str]:
    return [one.kind for one in inspection.findings]


# --- sound logs ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
def test_a_sound_log_has_no_findings(name: str, tmp_path: Path):
    setting = SETTINGS[name]
    log = logged(tmp_path, a=made(setting), b=made(setting, seed=1), c=made(setting, 16, 1))
    log = logged(tmp_path, d=made(setting, 16, 0))
    inspection = inspect_log(log, progress=False)
    assert inspection.findings == ()
    assert [one.run for one in inspection.runs] == ["a", "b", "d", "c"]
    assert "4 runs, all sound" in described(inspection)


def test_what_is_in_a_run(tmp_path: Path):
    log = logged(tmp_path, a=made(REGRESSION, **{"factors.width": 64}))
    (facts,) = inspect_log(open_log(log), progress=False).runs
    assert (facts.run, facts.setting, facts.num_tasks, facts.seed) == ("a", "regression", 4, 0)
    assert facts.parameters == {"num_dims": 4, "context_length": 8, "noise_variance": 0.1}
    assert (facts.steps, facts.planned, facts.packed) == (STEPS, 3, True)
    assert facts.sequences == {"id": 40, "ood": 40}
    assert facts.factors == {"width": 64}
    assert facts.size == (log / "a.zarr.zip").stat().st_size


def test_the_table_has_a_row_a_run(tmp_path: Path):
    table = inspect_log(logged(tmp_path, a=made(), b=made(seed=1)), progress=False).table()
    assert table["run"].tolist() == ["a", "b"]
    assert table["seed"].tolist() == [0, 1]
    assert table["written"].tolist() == [3, 3]
    assert table["last_step"].tolist() == [1000, 1000]
    assert table["sequences_ood"].tolist() == [40, 40]
    assert table["context_length"].tolist() == [32, 32]


def test_each_checkpoint_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    log, read = logged(tmp_path, a=made(), b=made(seed=1)), []
    stored = Run.stored

    def counted(run: Run, split: str, checkpoint: int) -> np.ndarray:
        read.append((run.name, split, checkpoint))
        return stored(run, split, checkpoint)

    monkeypatch.setattr(Run, "stored", counted)
    inspect_log(log, progress=False)
    assert len(read) == len(set(read)) == 2 * 2 * 3


# --- what looks wrong ------------------------------------------------------------------------


def test_equal_checkpoints(tmp_path: Path):
    run = made()
    for split in ("id", "ood"):
        run[f"{split}_predictions"][1] = run[f"{split}_predictions"][2]
    finding = found(logged(tmp_path, a=run), "repeated")
    assert (finding.severity, finding.run, finding.split) == ("warning", "a", None)
    assert finding.steps == (100, 1000)


def test_checkpoints_equal_in_one_split_only(tmp_path: Path):
    run = made()
    run["ood_predictions"][0] = run["ood_predictions"][2]
    finding = found(logged(tmp_path, a=run), "repeated")
    assert (finding.split, finding.steps) == ("ood", (10, 1000))


def test_the_same_checkpoint_again_and_again(tmp_path: Path):
    run = made()
    for split in ("id", "ood"):
        run[f"{split}_predictions"][:] = run[f"{split}_predictions"][2]
    finding = found(logged(tmp_path, a=run), "repeated")
    assert "again and again" in finding.problem
    assert finding.steps == STEPS


SHIFTED = ["urns", "regression", "markov"]


@pytest.mark.parametrize("name", SHIFTED)
@pytest.mark.parametrize(("shift", "words"), [(-1, "one position later"), (1, "one position ear")])
def test_shifted_predictions(name: str, shift: int, words: str, tmp_path: Path):
    """In regression they are also worse than nothing; elsewhere only the exact ones show it."""
    run = made(SETTINGS[name])
    for split in ("id", "ood"):
        run[f"{split}_predictions"] = np.roll(run[f"{split}_predictions"], shift, axis=2)
    kind = "worse_than_uninformed" if name == "regression" else "shifted"
    finding = found(logged(tmp_path, a=run), kind)
    assert words in finding.problem
    assert "shift the position axis" in finding.advice
    assert (finding.split, finding.steps[-1]) == ("id", 1000)


def test_predictions_that_have_seen_the_outcome(tmp_path: Path):
    """As without a causal mask: what came is mixed in."""
    run = made()
    for split in ("id", "ood"):
        came = np.eye(6)[run[f"{split}_inputs"]]
        run[f"{split}_predictions"] = 0.6 * run[f"{split}_predictions"] + 0.4 * came
    finding = found(logged(tmp_path, a=run), "better_than_possible")
    assert "mask" in finding.advice


def test_predictions_of_the_other_split(tmp_path: Path):
    generalizing = learnt(REGRESSION, (0.02, 0.97, 0.01))
    run = saved_run(REGRESSION, 16, 0, STEPS, generalizing, num_sequences=40)
    run["id_predictions"], run["ood_predictions"] = run["ood_predictions"], run["id_predictions"]
    finding = found(logged(tmp_path, a=run), "worse_than_uninformed")
    assert finding.advice == "swap id_predictions and ood_predictions"


def test_shuffled_sequences(tmp_path: Path):
    run = made(REGRESSION)
    run["id_predictions"] = np.roll(run["id_predictions"], 1, axis=1)
    finding = found(logged(tmp_path, a=run), "worse_than_uninformed")
    assert "order of the inputs" in finding.advice
    assert (finding.split, finding.severity) == ("id", "warning")


def test_an_untrained_network_is_not_worse_than_nothing(tmp_path: Path):
    rng = np.random.default_rng(0)
    run = made()
    for split in ("id", "ood"):
        shape = run[f"{split}_predictions"].shape
        near = 1 + 0.05 * rng.standard_normal(shape)
        run[f"{split}_predictions"] = near / near.sum(axis=-1, keepdims=True)
    assert inspect_log(logged(tmp_path, a=run), progress=False).findings == ()


@pytest.mark.parametrize("name", SETTINGS)
def test_swapped_splits(name: str, tmp_path: Path):
    run = made(SETTINGS[name])
    for kind in ("inputs", "predictions", "targets"):
        one, other = f"id_{kind}", f"ood_{kind}"
        if one in run:
            run[one], run[other] = run[other], run[one]
    inspection = inspect_log(logged(tmp_path, a=run), progress=False)
    assert "swapped" in kinds(inspection)
    assert inspection.sound


@pytest.mark.parametrize("name", ["urns", "regression", "markov"])
def test_tasks_of_another_run(name: str, tmp_path: Path):
    run = made(SETTINGS[name])
    run["tasks"] = made(SETTINGS[name], seed=7)["tasks"]
    finding = found(logged(tmp_path, a=run), "foreign_tasks")
    assert "`tasks`" in finding.advice


def test_outcomes_that_had_been_ruled_out(tmp_path: Path):
    run = made()
    came = run["id_inputs"][3, 5]
    run["id_predictions"][2, 3, 5] = np.where(np.arange(6) == came, 0.0, 1 / 5)
    run["ood_predictions"][1, 0, 0] = np.eye(6)[run["ood_inputs"][0, 0]]
    inspection = inspect_log(logged(tmp_path, a=run), progress=False)
    assert kinds(inspection) == ["impossible_outcomes", "zeros"]
    ruled_out, zeros = inspection.findings
    assert (ruled_out.split, ruled_out.steps, ruled_out.severity) == ("id", (1000,), "warning")
    assert ruled_out.problem.startswith("1 of the outcomes")
    assert (zeros.split, zeros.steps, zeros.severity) == ("ood", (100,), "note")
    assert zeros.problem.startswith("5 probabilities")


def test_numbers_at_the_end_of_half_precision(tmp_path: Path, urn: Arrays):
    with open_writer(tmp_path / "a.zarr", urn) as writer:
        for checkpoint in range(3):
            values = {s: np.log(urn[f"{s}_predictions"][checkpoint]) for s in ("id", "ood")}
            came = urn["ood_inputs"][0, 0]
            values["ood"][0, 0] = np.where(np.arange(4) == (came + 1) % 4, -1e9, -np.log(3))
            writer.write(checkpoint, values)
    finding = found(tmp_path, "extremes")
    assert (finding.split, finding.steps) == ("ood", (10, 20, 40))


def test_strategies_that_predict_alike(tmp_path: Path):
    setting = Categorical(2, 1)
    run = made(setting, 512)
    finding = found(
        logged(tmp_path, a={**run, "tasks": np.full((512, 2), 0.5)}), "strategies_alike"
    )
    assert finding.severity == "note"


# --- runs beside each other ------------------------------------------------------------------


def test_a_run_twice(tmp_path: Path):
    log = logged(tmp_path, a=made(), b=made(seed=1))
    shutil.copy(log / "a.zarr.zip", log / "c.zarr.zip")
    finding = found(log, "duplicate")
    assert (finding.severity, finding.run, finding.steps) == ("error", "c", STEPS)
    assert "number for number" in finding.problem


def test_two_runs_of_the_same_cells(tmp_path: Path):
    run, other = made(), made()
    other["id_predictions"] = other["id_predictions"][:, ::-1]
    (tmp_path / "2").mkdir()
    log = logged(tmp_path, a=run)
    shutil.copy(logged(tmp_path / "2", b=other) / "b.zarr.zip", log)
    finding = next(
        one for one in inspect_log(log, progress=False).findings if one.kind == "duplicate"
    )
    assert "other numbers" in finding.problem


def test_a_run_under_another_seed(tmp_path: Path):
    log = logged(tmp_path, a=made(), b={**made(), "seed": np.array(1)})
    finding = found(log, "same_predictions")
    assert (finding.severity, finding.run) == ("warning", "b")


def test_tasks_of_another_seed(tmp_path: Path):
    setting, tasks = URNS, made()["tasks"]
    drawn = draw_from(setting, np.random.default_rng(5), tasks, 40)
    other = {**made(seed=1), "tasks": tasks, "id_inputs": drawn.inputs}
    other["id_predictions"] = learnt(setting)(tasks, drawn)
    finding = found(logged(tmp_path, a=made(), b=other), "same_tasks")
    assert "run 'a' (seed 0), though its seed is 1" in finding.problem


def test_what_other_runs_have(tmp_path: Path):
    runs = {f"D{d}-s{seed}": made(num_tasks=d, seed=seed) for d in (4, 8) for seed in (0, 1)}
    del runs["D8-s1"]
    few = runs["D8-s0"]
    few["steps"] = few["steps"][:2]
    for split in ("id", "ood"):
        few[f"{split}_predictions"] = few[f"{split}_predictions"][:2]
    inspection = inspect_log(logged(tmp_path, **runs), progress=False)
    assert kinds(inspection) == ["missing_seeds", "missing_steps"]
    seeds, steps = inspection.findings
    assert "1 at num_tasks 8" in seeds.problem
    assert (steps.run, steps.steps) == ("D8-s0", (1000,))
    assert {one.severity for one in inspection.findings} == {"note"}


def test_a_split_that_only_some_runs_have(tmp_path: Path):
    setting = SETTINGS["classification"]
    less = {name: one for name, one in made(setting, seed=1).items() if not name.startswith("iwl")}
    finding = found(logged(tmp_path, a=made(setting), b=less), "missing_split")
    assert (finding.run, finding.split) == ("b", "iwl")


def test_several_conditions(tmp_path: Path):
    log = logged(tmp_path, a=made(), b=made(Categorical(6, 10), seed=1, batch_size=8))
    finding = found(log, "conditions")
    assert "context_length: 32 and 10" in finding.problem
    assert "batch_size: 16 and 8" in finding.problem


@pytest.mark.parametrize(
    ("written", "kind", "steps"),
    [((), "no_checkpoint", STEPS), ((0, 2), "gap", (100,)), ((0,), "unfinished", (100, 1000))],
)
def test_checkpoints_that_are_not_written(
    written: Sequence[int], kind: str, steps: tuple[int, ...], tmp_path: Path
):
    run = urn_run(steps=STEPS)
    with open_writer(tmp_path / "a.zarr", run) as writer:
        for checkpoint in written:
            values = {s: np.log(run[f"{s}_predictions"][checkpoint]) for s in ("id", "ood")}
            writer.write(checkpoint, values)
    assert found(tmp_path, kind).steps == steps


# --- damage, and the log's description -------------------------------------------------------


def flip(path: Path, after: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(after) + 100] ^= 1
    path.write_bytes(data)


def test_a_damaged_run_does_not_hide_the_others(tmp_path: Path):
    log = logged(tmp_path, a=made(), b=made(seed=1), c=made(seed=2), d=made(seed=3))
    flip(log / "a.zarr.zip", b"id/log_prob/c/1")
    flip(log / "b.zarr.zip", b"tasks/c/0")
    (log / "c.zarr.zip").write_bytes(b"no archive")
    inspection = inspect_log(log, progress=False)
    assert not inspection.sound
    errors = {one.run: one for one in inspection.findings if one.severity == "error"}
    assert set(errors) == {"a", "b", "c"}
    assert (errors["a"].split, errors["a"].steps) == ("id", (100,))
    facts = {one.run: one for one in inspection.runs}
    assert facts["d"].steps == facts["a"].steps == STEPS
    assert (facts["b"].num_tasks, facts["c"].num_tasks) == (4, None)
    text = described(inspection)
    assert "4 runs; 3 errors: mend the errors" in text
    assert "→ copy" in text


def test_what_log_json_says(tmp_path: Path):
    log = logged(tmp_path, a=made(), b=made(seed=1), c=made(seed=2), d=made(seed=3))
    manifest.write(log, {})
    document = json.loads((log / "log.json").read_text())
    del document["runs"]["a"]
    document["runs"]["b"]["sha256"] = "0" * 64
    (log / "log.json").write_text(json.dumps(document))
    (log / "c.zarr.zip").unlink()
    inspection = inspect_log(log, progress=False)
    told = {one.run: (one.severity, one.kind) for one in inspection.findings}
    assert told == {
        "a": ("note", "unlisted"),
        "b": ("error", "altered"),
        "c": ("error", "missing"),
    }
    (log / "log.json").write_text("{")
    assert kinds(inspect_log(log, progress=False)) == ["damaged"]


def test_a_run_there_as_a_folder_and_packed(tmp_path: Path, urn: Arrays):
    write_missing(tmp_path / "a.zarr", urn)
    store.pack(tmp_path / "a.zarr")
    write_missing(tmp_path / "b.zarr", urn_run(seed=1))
    (tmp_path / "b.zarr").rename(tmp_path / "a.zarr")
    assert "twice" in kinds(inspect_log(tmp_path, progress=False))


def test_no_log_at_all(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(LogError):
            inspect_log(path)


# --- words -----------------------------------------------------------------------------------


def test_the_document_is_plain_json(tmp_path: Path):
    log = logged(tmp_path, a=made(), b={**made(), "seed": np.array(1)})
    inspection = inspect_log(log, progress=False)
    document = json.loads(json.dumps(inspection.to_dict()))
    assert document["schema"] == 1
    assert document["exit_status"] == 0
    assert "0" in document["exit_meaning"]
    assert [one["run"] for one in document["runs"]] == ["a", "b"]
    assert document["runs"][0]["steps"] == list(STEPS)
    (finding,) = document["findings"]
    assert set(finding) == {"severity", "kind", "problem", "advice", "run", "split", "steps"}


def test_text_fits_a_terminal_and_groups_findings(tmp_path: Path):
    runs = {f"seed{seed}": made(seed=seed) for seed in range(8)}
    for run in runs.values():
        run["id_inputs"], run["ood_inputs"] = run["ood_inputs"], run["id_inputs"]
        run["id_predictions"], run["ood_predictions"] = (
            run["ood_predictions"],
            run["id_predictions"],
        )
    text = described(inspect_log(logged(tmp_path, **runs), progress=False))
    assert text.count("swap the two splits") == 1
    assert "and 2 more runs" in text
    assert max(map(len, text.splitlines())) <= 100


def test_names_cannot_play_with_the_terminal(tmp_path: Path, urn: Arrays):
    folder = tmp_path / "l\x1b[2Jog"
    write_missing(folder / "a\nb\x1b[31m.zarr", urn)
    text = described(inspect_log(folder, progress=False))
    assert "\x1b" not in text
    assert r"a\nb\x1b[31m" in text
