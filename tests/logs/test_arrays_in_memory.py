"""Runs in memory, and arrays under other people's names: the same logs as from `.npz` files."""

import gc
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from builders import save_npz, urn_run
from click.testing import CliRunner

import rational_icl as ri
from rational_icl.cli import main
from rational_icl.logs import import_npz, import_runs, open_log

Arrays = dict[str, np.ndarray]


@pytest.fixture
def urn() -> Arrays:
    return urn_run()


def same(first: ri.Run, second: ri.Run) -> None:
    assert first.metadata == second.metadata
    np.testing.assert_array_equal(first.steps, second.steps)
    np.testing.assert_array_equal(first.tasks, second.tasks)
    for split in ("id", "ood"):
        np.testing.assert_array_equal(first.inputs(split), second.inputs(split))
        for checkpoint in range(len(first.steps)):
            np.testing.assert_array_equal(
                first.logged(split, checkpoint), second.logged(split, checkpoint)
            )


def test_arrays_become_the_log_that_their_file_becomes(tmp_path, urn):
    (packed,) = import_npz([save_npz(tmp_path / "run.npz", **urn)], tmp_path / "log")
    log = ri.log_from_arrays({"run": urn})
    assert list(log) == ["run"]
    same(log["run"], open_log(packed.parent)["run"])
    assert ri.inspect_log(log.path).sound


def test_a_temporary_log_goes_with_its_object_and_one_in_a_folder_stays(tmp_path, urn):
    log = ri.log_from_arrays({"a": urn, "b": urn_run(seed=1)})
    folder = log.path
    cells, _ = ri.summarize(log, progress=False)
    assert len(cells) == 2 * len(urn["steps"])
    run = log["a"]
    del log
    gc.collect()
    assert run.logged("id", 0).shape  # as long as one of its runs is there
    del run
    gc.collect()
    assert not folder.parent.exists()
    ri.log_from_arrays({"a": urn}, tmp_path / "log")
    assert list(ri.log_from_arrays({"b": urn_run(seed=1)}, tmp_path / "log")) == ["a", "b"]
    with pytest.raises(ri.LogError, match="run 'a' is already in"):
        ri.log_from_arrays({"a": urn}, tmp_path / "log")


def test_settings_may_be_objects_and_arrays_of_other_libraries(urn):
    setting = ri.settings.make(
        "categorical", num_dims=int(urn["num_dims"]), context_length=int(urn["context_length"])
    )
    stated = {key: value for key, value in urn.items() if key not in setting.parameters()}
    arrays = {
        **{key: jnp.asarray(value) for key, value in stated.items() if key != "setting"},
        "setting": setting,
        "num_tasks": int(urn["num_tasks"]),
        "steps": list(urn["steps"]),
    }
    assert ri.log_from_arrays({"run": arrays})["run"].setting == setting


@pytest.mark.parametrize("outputs", ["log_probabilities", "logits"])
def test_predictions_may_be_in_other_forms_under_other_names(outputs, tmp_path, urn):
    shift = 3.0 if outputs == "logits" else 0.0
    given = dict(urn)
    for split in ("id", "ood"):
        given[f"p_{split}"] = np.log(given.pop(f"{split}_predictions")) + shift
    names = {"id_predictions": "p_id", "ood_predictions": "p_ood"}
    log = ri.log_from_arrays({"run": given}, names=names, outputs=outputs)
    plain = ri.log_from_arrays({"run": urn})
    for split in ("id", "ood"):
        np.testing.assert_allclose(
            log["run"].logged(split, 0), plain["run"].logged(split, 0), atol=2.0**-7
        )
    file = save_npz(tmp_path / "run.npz", **given)
    words = ["import", str(file), "--out", str(tmp_path / "log"), "--outputs", outputs]
    words += [word for ours, theirs in names.items() for word in ("--map", f"{ours}={theirs}")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    same(open_log(tmp_path / "log")["run"], log["run"])


def test_all_that_is_missing_is_told_at_once_and_what_was_there_instead(tmp_path, urn):
    given = {key: value for key, value in urn.items() if key not in ("seed", "tasks")}
    given["probs"] = given.pop("id_predictions")
    given["x"] = given.pop("ood_inputs")
    with pytest.raises(ri.LogError) as refused:
        ri.log_from_arrays({"mine": given})
    message = str(refused.value)
    assert "run 'mine': missing seed, tasks, id_predictions, ood_inputs; every run" in message
    assert "Not recognised: probs, x; if one is the other, say so with --map" in message
    file = save_npz(tmp_path / "run.npz", **given)
    with pytest.raises(ri.LogError, match=r"run.npz: missing seed, tasks, id_predictions, ood_i"):
        import_runs([file], tmp_path / "log")
    assert not (tmp_path / "log").exists()


WRONG: list[tuple[dict[str, str], str]] = [
    ({"id_predictions": "probs"}, r"probs not there, which names \(--map\) has; it holds setting"),
    (
        {"id_predictions": "ood_predictions"},
        r"has id_predictions itself; take it out of names \(--map\)",
    ),
]


@pytest.mark.parametrize(("names", "message"), WRONG)
def test_names_of_what_is_not_there_or_there_twice_are_refused(names, message, urn):
    with pytest.raises(ri.LogError, match=message):
        ri.log_from_arrays({"run": urn}, names=names)


def test_a_position_fewer_hints_at_where_predictions_begin(urn):
    given = {
        **urn,
        **{f"{s}_predictions": urn[f"{s}_predictions"][:, :, 1:] for s in ("id", "ood")},
    }
    with pytest.raises(ri.LogError, match="of the first 1 were left out, state first_position = 1"):
        ri.log_from_arrays({"run": given})
    assert ri.log_from_arrays({"run": {**given, "first_position": 1}})["run"].setting.first_position
    wider = {**urn, "id_predictions": urn["id_predictions"][:, :-1, 1:]}
    with pytest.raises(ri.LogError, match="shape") as refused:
        ri.log_from_arrays({"run": wider})
    assert "first_position" not in str(refused.value)


@pytest.mark.parametrize("runs", [urn_run(), {"run": [1, 2]}, {}])
def test_one_run_by_itself_is_told_what_is_expected(runs: Any):
    with pytest.raises(ri.LogError, match="expected the arrays of every run by its name"):
        ri.log_from_arrays(runs)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--map", "id_predictions"], "is not of the form OURS=YOURS"),
        (["--map", "seed=a", "--map", "seed=b"], "name each parameter once"),
        (["--outputs", "odds"], "'odds' is not one of"),
        (["--outputs", "logits", "--format", "parquet"], "of .npz files only"),
    ],
)
def test_wrong_options_end_in_a_sentence(words, message, tmp_path, urn):
    file = save_npz(tmp_path / "run.npz", **urn)
    result = CliRunner().invoke(main, ["import", str(file), "--out", str(tmp_path / "log"), *words])
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "log").exists()
