"""`predictions` and `predictive_variances` by the name of a setting, for people who want only that.

Tolerances. Both the package and the oracles add ~100 float64 terms; at a noise variance of 1e-4
rounding is amplified 1e4-fold. Half- and single-precision arguments are exact numbers once read, so
the oracles are given the same ones and agree as closely.
"""

from typing import Any

import jax
import numpy as np
import pytest
from worlds import WORLDS, World, expected

import rational_icl as ri
from rational_icl.settings import Categorical, Regression

EXACT = 1e-10

every_world = pytest.mark.parametrize("name", WORLDS)
KINDS = {
    "urns": {},
    "regression": {"noise_variance": 2 / 256},
    "classification": {"within_class_variance": 0.5},
    "markov": {},
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def parameters(world: World) -> dict[str, Any]:
    """What must be said besides the shapes of tasks and inputs."""
    given = world.setting.parameters()
    return {key: given[key] for key in given if key not in ("num_dims", "context_length")}


def mode_of_jax() -> np.dtype:
    return jax.numpy.ones(()).dtype


def assert_same(found: Any, expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=EXACT, atol=EXACT)


# --- what comes back -------------------------------------------------------------------------


@every_world
def test_predictions_by_name_equal_the_oracles(name: str):
    world = WORLDS[name]
    setting = world.setting
    found = ri.predictions(
        setting.name, world.tasks, world.inputs, task_prob=world.task_prob, **parameters(world)
    )
    outcomes = expected(setting, world.tasks, world.prob, world.inputs)[..., : setting.num_outcomes]
    assert_same(found, outcomes)
    assert found.dtype == np.float64
    assert found.dims == ("strategy", "sequence", "position", "outcome")
    assert found.coords["strategy"].to_numpy().tolist() == list(setting.strategies)
    first, last = setting.first_position, setting.num_positions
    assert found.coords["position"].to_numpy().tolist() == list(range(first, last))
    assert found.attrs["setting"] == setting.name
    assert found.attrs["quantity"] == ("mean" if setting.name == "regression" else "probability")
    assert {key: found.attrs[key] for key in setting.parameters()} == setting.parameters()
    (alone,) = ri.predictions(
        setting, world.tasks, world.inputs, setting.strategies[1:2], world.task_prob
    )
    np.testing.assert_array_equal(alone, found.sel(strategy=setting.strategies[1]))


@pytest.mark.parametrize("name", [name for name in WORLDS if name.startswith("regression")])
def test_variances_by_name_equal_the_oracles(name: str):
    world = WORLDS[name]
    found = ri.predictive_variances(
        "regression", world.tasks, world.inputs, task_prob=world.task_prob, **parameters(world)
    )
    assert_same(found, expected(world.setting, world.tasks, world.prob, world.inputs)[..., 1])
    assert found.dtype == np.float64
    assert found.dims == ("strategy", "sequence", "position")
    assert found.attrs["quantity"] == "variance"
    assert found.coords["strategy"].to_numpy().tolist() == list(world.setting.strategies)


@pytest.mark.parametrize("kind", ["urns", "classification", "markov"])
def test_probabilities_have_no_variance(kind: str):
    world = WORLDS[kind]
    with pytest.raises(ri.LogError, match="predicts probabilities, which have no variance"):
        ri.predictive_variances(world.setting.name, world.tasks, world.inputs, **parameters(world))


# --- precision -------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("wide", [False, True])
def test_results_are_float64_whatever_the_mode_of_jax_which_stays_as_it_was(kind: str, wide: bool):
    world = WORLDS[kind]
    given = (world.setting.name, world.tasks, world.inputs)
    plain = ri.predictions(*given, task_prob=world.task_prob, **parameters(world))
    assert mode_of_jax() == np.float32
    with jax.enable_x64(wide):
        found = ri.predictions(*given, task_prob=world.task_prob, **parameters(world))
        assert mode_of_jax() == (np.float64 if wide else np.float32)
        with pytest.raises(ri.LogError):
            ri.predictions(*given, ["guessing"], **parameters(world))
        assert mode_of_jax() == (np.float64 if wide else np.float32)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, plain)


@every_kind
@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", ">f8"])
def test_arguments_of_any_width_and_byte_order_are_read_as_the_numbers_they_are(
    kind: str, dtype: str
):
    world = WORLDS[kind]
    setting = world.setting
    tasks = world.tasks.astype(dtype)
    inputs = world.inputs
    inputs = inputs.astype(dtype if inputs.dtype.kind == "f" else dtype.replace("f", "i"))
    found = ri.predictions(
        setting.name, tasks, inputs, task_prob=world.task_prob, **parameters(world)
    )
    assert found.dtype == np.float64
    wide = setting.normalised_tasks(tasks)
    same = inputs.astype(np.float64 if inputs.dtype.kind == "f" else np.int64)
    assert_same(found, expected(setting, wide, world.prob, same)[..., : setting.num_outcomes])


@every_kind
def test_arguments_are_left_as_they_were(kind: str):
    world = WORLDS[kind]
    tasks, inputs = world.tasks.copy(), world.inputs.copy()
    prob = np.full(len(tasks), 1 / len(tasks))
    for one in (tasks, inputs, prob):
        one.setflags(write=False)
    ri.predictions(world.setting.name, tasks, inputs, task_prob=prob, **parameters(world))


def test_no_sequences_give_no_predictions():
    world = WORLDS["regression"]
    found = ri.predictions("regression", world.tasks, world.inputs[:0], noise_variance=0.5)
    assert found.shape == (3, 0, 7, 1)


def test_numbers_of_numpy_are_parameters_too():
    world = WORLDS["regression"]
    given = ("regression", world.tasks, world.inputs)
    plain = ri.predictions(*given, noise_variance=0.5)
    for half in (np.float32(0.5), np.float64(0.5)):
        np.testing.assert_array_equal(ri.predictions(*given, noise_variance=half), plain)


# --- what is refused -------------------------------------------------------------------------

URN = (np.array([[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]]), np.array([[0, 1, 2, 2]]))
LINE = (np.array([[0.5, -1.0], [2.0, 0.25]]), np.ones((3, 4, 3)))


def one_sentence(*given: Any, **named: Any) -> str:
    with pytest.raises(ri.LogError) as refused:
        ri.predictions(*given, **named)
    message = str(refused.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "data", "named", "message"),
    [
        ("urns", URN, {}, "'urns' is not known; expected one of categorical, classification"),
        ("categorical", URN, {"strategies": ["ridge"]}, "strategies: ridge not known; expected so"),
        ("markov", URN, {"strategies": ["ridge"]}, "tasks: shape (2, 3); expected (task, state, s"),
        (
            "categorical",
            URN,
            {"strategies": []},
            "strategies: []; expected different ones of memorizing",
        ),
        ("regression", LINE, {}, "parameters do not fit: noise_variance missing"),
        ("regression", LINE, {"noise_variance": 0.0}, "noise_variance is 0.0; expected a number"),
        ("regression", LINE, {"noise_variance": "1"}, "noise_variance is '1'; expected float"),
        ("regression", LINE, {"noise": 0.1}, "parameters do not fit"),
        ("classification", LINE, {}, "parameters do not fit: within_class_variance missing"),
        ("categorical", URN, {"noise_variance": 0.1}, "parameters do not fit"),
        ("categorical", URN, {"num_dims": 4}, "tasks: shape (2, 3); expected (task, outcome) with"),
        ("categorical", URN, {"first_position": 4}, "first_position is 4; expected 0 to 3"),
        ("categorical", (URN[0][:0], URN[1]), {}, "tasks: none; give at least one"),
        ("categorical", (URN[0], URN[1][0]), {}, "inputs: shape (4,); expected (sequence, positi"),
        ("categorical", (URN[0][0], URN[1]), {}, "tasks: shape (3,); expected (task, outcome) wi"),
        ("categorical", (URN[0], URN[1] + 1), {}, "inputs: symbols run from 1 to 3; expected 0 to"),
        ("categorical", (URN[0], 1.0 * URN[1]), {}, "inputs: dtype float64; expected integer"),
        ("categorical", (np.array(1.0), URN[1]), {}, "have too few axes"),
        (
            "regression",
            (LINE[0], LINE[1][0]),
            {"noise_variance": 0.1},
            "tasks of shape (2, 2) and inputs of shape (4, 3) have too few axes",
        ),
        (
            "regression",
            (LINE[0], LINE[1][..., :2]),
            {"noise_variance": 0.1},
            "tasks: shape (2, 2); expected (task, num_dims) = (any, 1)",
        ),
        (
            "regression",
            (LINE[0], np.nan * LINE[1]),
            {"noise_variance": 0.1},
            "inputs: some are infinite or NaN",
        ),
    ],
)
def test_mistakes_are_one_sentence(name: str, data: Any, named: dict[str, Any], message: str):
    assert message in one_sentence(name, *data, **named)


@pytest.mark.parametrize(
    ("prob", "message"),
    [
        ([0.5, 0.4], "task_prob: sums to 0.9; expected 1"),
        ([0.5, 0.5, 0.0], "task_prob: shape (3,) and dtype float64; expected one probability for "),
        ([1.5, -0.5], "task_prob: not all finite and at least 0; expected probabilities"),
        ([np.nan, 1.0], "task_prob: not all finite and at least 0; expected probabilities"),
    ],
)
def test_task_probabilities_are_checked(prob: list, message: str):
    assert message in one_sentence("categorical", *URN, task_prob=np.array(prob))
    assert message in one_sentence(Categorical(3, 4), *URN, task_prob=np.array(prob))


def test_a_setting_that_was_made_by_hand_is_checked_as_well():
    assert "noise_variance is -1.0; expected" in one_sentence(Regression(2, 4, -1.0), *LINE)
    assert "first_position is 9; expected 0 to 3" in one_sentence(
        Categorical(3, 4, first_position=9), *URN
    )
    assert "noise_variance: given beside a setting, which has its own" in one_sentence(
        Regression(2, 4, 0.5), *LINE, noise_variance=0.5
    )
    assert "expected (sequence, position = 5)" in one_sentence(Categorical(3, 5), *URN)
