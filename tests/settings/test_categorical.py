"""Balls and urns: the draws, the checks and the registry. What it predicts is tested elsewhere.

Tolerance: a frequency over n draws of probability p has standard error √(p(1−p)/n). Each test looks
at fewer than a hundred frequencies of seeded draws, all of which must be within 4.5 errors.
"""

from typing import Any

import numpy as np
import pytest

from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.settings import Categorical

STANDARD_ERRORS = 4.5
URN = Categorical(num_dims=4, context_length=6)
TASKS = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.0, 0.5, 0.5, 0.0]])


def draw_inputs(rng: np.random.Generator, tasks: np.ndarray, urn: Categorical = URN) -> np.ndarray:
    """One sequence from each task, all of them equally probable."""
    return urn.draw_inputs(rng, tasks, tasks, np.full(len(tasks), 1 / len(tasks)))


def assert_frequencies(observed: np.ndarray, expected: np.ndarray, num_draws: int) -> None:
    error = np.sqrt(expected * (1 - expected) / num_draws)
    assert (np.abs(observed - expected) <= STANDARD_ERRORS * error).all()


# --- draws -----------------------------------------------------------------------------------


def test_drawn_tasks_are_probability_distributions():
    tasks = URN.draw_tasks(np.random.default_rng(1), 500)
    assert tasks.shape == (500, 4)
    assert tasks.dtype == np.float64
    assert (tasks >= 0).all()
    np.testing.assert_allclose(tasks.sum(axis=1), 1, rtol=1e-14)
    assert URN.problem_with_tasks(tasks) is None


def test_drawn_tasks_are_uniform_on_the_simplex():
    """Under Dirichlet(1_m), P(w_v > x) = (1 − x)^(m−1) for every symbol v."""
    num_tasks = 20_000
    tasks = URN.draw_tasks(np.random.default_rng(2), num_tasks)
    for threshold in (0.1, 0.25, 0.5, 0.75):
        expected = np.full(4, (1 - threshold) ** 3)
        assert_frequencies((tasks > threshold).mean(axis=0), expected, num_tasks)


def test_symbols_are_drawn_as_often_as_their_task_says():
    num_sequences = 8_000
    for task in TASKS:
        repeated = np.broadcast_to(task, (num_sequences, 4))
        inputs = draw_inputs(np.random.default_rng(3), repeated)
        assert inputs.shape == (num_sequences, 6)
        seen = (inputs[:, :, None] == np.arange(4)).mean(axis=0)  # (position, outcome)
        assert_frequencies(seen, np.broadcast_to(task, (6, 4)), num_sequences)


def test_symbols_of_a_sequence_are_independent():
    num_sequences = 20_000
    inputs = draw_inputs(np.random.default_rng(4), np.broadcast_to(TASKS[0], (num_sequences, 4)))
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (inputs[:, 0], inputs[:, 1]), 1 / num_sequences)
    assert_frequencies(pairs, np.outer(TASKS[0], TASKS[0]), num_sequences)


def test_every_sequence_comes_from_its_own_task():
    inputs = draw_inputs(np.random.default_rng(5), np.eye(4)[[2, 0, 3, 1, 2]])
    np.testing.assert_array_equal(inputs, np.repeat([[2], [0], [3], [1], [2]], 6, axis=1))


def test_impossible_symbols_are_never_drawn():
    inputs = draw_inputs(np.random.default_rng(6), np.broadcast_to(TASKS[2], (5_000, 4)))
    assert set(np.unique(inputs).tolist()) == {1, 2}


class LowestDraws(np.random.Generator):
    """A generator whose every draw is the lowest there is: 0."""

    def random(self, size: tuple[int, ...]) -> np.ndarray:  # pyright: ignore
        return np.zeros(size)


def test_the_lowest_draw_gives_a_possible_symbol():
    inputs = draw_inputs(LowestDraws(np.random.PCG64(0)), TASKS[2:])
    assert set(np.unique(inputs).tolist()) == {1}


@pytest.mark.parametrize("draw", ["tasks", "inputs"])
def test_draws_are_a_function_of_the_seed(draw: str):
    def drawn(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return URN.draw_tasks(rng, 20) if draw == "tasks" else draw_inputs(rng, TASKS)

    np.testing.assert_array_equal(drawn(7), drawn(7))
    assert (drawn(7) != drawn(8)).any()


@pytest.mark.parametrize(("num_dims", "dtype"), [(256, np.uint8), (257, np.uint16)])
def test_symbols_take_the_narrowest_type_that_holds_them(num_dims: int, dtype: type):
    urn = Categorical(num_dims, context_length=3)
    last = np.zeros((2, num_dims))
    last[:, -1] = 1
    inputs = draw_inputs(np.random.default_rng(9), last, urn)
    assert inputs.dtype == dtype
    assert (inputs == num_dims - 1).all()
    assert urn.problem_with_inputs(inputs) is None


# --- checks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2, 1), None),
        ((50, 300), None),
        ((1, 6), "num_dims is 1; expected at least 2 symbols"),
        ((-4, 6), "num_dims is -4"),
        ((4, 0), "context_length is 0; expected at least 1"),
    ],
)
def test_problem_with_the_fields(sizes: tuple[int, int], message: str | None):
    assert_says(Categorical(*sizes).problem(), message)


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        (TASKS, None),
        (TASKS.astype(np.float32), None),
        (TASKS.astype(np.float16), None),
        (np.zeros((0, 4)), None),
        (np.full((3, 4), 0.25 + 2e-4), None),
        (TASKS[0], "shape (4,); expected (task, outcome) with 4 outcomes"),
        (TASKS[None], "shape (1, 3, 4)"),
        (TASKS[:, :3], "shape (3, 3)"),
        (TASKS * np.nan, "not all finite floating-point numbers"),
        (TASKS + np.inf, "not all finite floating-point numbers"),
        (np.eye(4, dtype=int), "not all finite floating-point numbers"),
        (TASKS.astype(complex), "not all finite floating-point numbers"),
        (TASKS.astype(str), "not all finite floating-point numbers"),
        (TASKS.astype(object), "not all finite floating-point numbers"),
        (TASKS * [[1], [1.01], [1]], "row 1 is not a probability distribution over the symbols"),
        (TASKS - [0.05, 0, -0.05, 0], "row 2 is not a probability distribution"),
        (np.full((2, 4), 1e300), "row 0 is not"),
    ],
)
def test_problem_with_tasks(tasks: np.ndarray, message: str | None):
    assert_says(URN.problem_with_tasks(tasks), message)


def test_the_named_row_is_the_worst_one():
    tasks = np.array([[0.2, 0.2, 0.2, 0.2], [0.5, 0.5, 0.5, 0.5], [0.25, 0.25, 0.25, 0.25]])
    assert_says(URN.problem_with_tasks(tasks), "row 1 is not")
    tasks[2] = [1.5, -0.5, 0.0, 0.0]
    assert_says(URN.problem_with_tasks(tasks), "row 2 is not")


INPUTS = np.array([[0, 1, 2, 3, 0, 1], [3, 3, 3, 3, 3, 3]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (INPUTS, None),
        (INPUTS.astype(np.uint8), None),
        (INPUTS[:0], None),
        (INPUTS[0], "shape (6,); expected (sequence, position = 6)"),
        (INPUTS[:, :5], "shape (2, 5)"),
        (INPUTS[:, :, None], "shape (2, 6, 1)"),
        (INPUTS.astype(float), "dtype float64; expected integer symbols"),
        (INPUTS > 1, "dtype bool; expected integer symbols"),
        (INPUTS.astype(str), "expected integer symbols"),
        (INPUTS + 1, "symbols run from 1 to 4; expected 0 to 3, without a start token"),
        (INPUTS - 1, "symbols run from -1 to 2; expected 0 to 3"),
        (INPUTS.astype("m8[s]"), "expected integer symbols"),
    ],
)
def test_problem_with_inputs(inputs: np.ndarray, message: str | None):
    assert_says(URN.problem_with_inputs(inputs), message)


def assert_says(problem: str | None, message: str | None) -> None:
    if message is None:
        assert problem is None
    else:
        assert problem is not None
        assert message in problem
        assert "\n" not in problem


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_normalised_tasks_are_float64_and_sum_to_one(dtype: type):
    tasks = URN.normalised_tasks(TASKS.astype(dtype))
    assert tasks.dtype == np.float64
    np.testing.assert_allclose(tasks.sum(axis=1), 1, rtol=1e-15)
    np.testing.assert_allclose(tasks, TASKS, rtol=2e-3)


# --- the loss --------------------------------------------------------------------------------


def test_the_loss_is_the_divergence_from_the_task():
    rng = np.random.default_rng(10)
    predicted = rng.dirichlet(np.ones(4), size=(2, 3, 6))  # (strategy, sequence, position, ...)
    inputs = draw_inputs(rng, TASKS)
    loss = URN.loss(TASKS, inputs, predicted)
    assert loss.shape == (2, 3, 6)
    for strategy, sequence, position in np.ndindex(loss.shape):
        expected = sum(
            w * np.log(w / p)
            for w, p in zip(TASKS[sequence], predicted[strategy, sequence, position], strict=True)
            if w > 0
        )
        assert loss[strategy, sequence, position] == pytest.approx(expected, rel=1e-12)


def test_the_loss_is_zero_for_the_truth_and_infinite_where_it_is_ruled_out():
    truth = np.broadcast_to(TASKS[:, None, :], (3, 6, 4))
    inputs = np.zeros((3, 6), int)
    np.testing.assert_array_equal(URN.loss(TASKS, inputs, truth), 0)
    certain = np.broadcast_to(np.eye(4)[0], (3, 6, 4))
    assert np.isposinf(URN.loss(TASKS, inputs, certain)).all()


# --- names and records -----------------------------------------------------------------------


def test_a_setting_is_a_record():
    assert Categorical(4, 6) == URN
    assert len({Categorical(4, 6), URN, Categorical(4, 7)}) == 2
    with pytest.raises(AttributeError):
        URN.num_dims = 5  # pyright: ignore[reportAttributeAccessIssue]


def test_every_strategy_declares_its_program():
    assert set(URN.program_bits) == set(URN.strategies)
    assert all(bits > 0 for bits in URN.program_bits.values())
    assert URN.num_outcomes == 4


def test_its_name_and_parameters_rebuild_a_setting():
    assert settings.make(URN.name, **URN.parameters()) == URN
    assert set(settings.required_parameters("categorical")) == set(URN.parameters())
    every = Categorical(4, 6, first_position=2, task_exponent=1.5)
    assert settings.make(every.name, **every.parameters()) == every
    assert set(settings.parameter_names("categorical")) == set(every.parameters())


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("urns", {}, "'urns' is not known; expected one of categorical"),
        ("categorical", {"num_dims": 4}, "'categorical': parameters do not fit: .*context_length"),
        (
            "categorical",
            {"num_dims": 4, "context_length": 6, "colour": "red"},
            "parameters do not fit: .*colour",
        ),
        ("categorical", {"num_dims": 1, "context_length": 6}, "num_dims is 1"),
    ],
)
def test_settings_that_cannot_be_made_are_refused(
    name: str, parameters: dict[str, Any], message: str
):
    with pytest.raises(LogError, match=message):
        settings.make(name, **parameters)


def test_parameters_of_an_unknown_setting_are_refused():
    with pytest.raises(LogError, match="'urns' is not known"):
        settings.parameter_names("urns")


def test_a_registered_setting_can_be_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "_BY_NAME", dict(settings._BY_NAME))

    class Coloured(Categorical):
        name = "coloured"

    assert settings.register(Coloured) is Coloured
    assert settings.register(Coloured) is Coloured  # twice is harmless
    made = settings.make("coloured", num_dims=4, context_length=6)
    assert type(made) is Coloured

    class Impostor(Categorical):
        name = "coloured"

    with pytest.raises(ValueError, match="'coloured' is already registered"):
        settings.register(Impostor)
    assert type(settings.make("coloured", num_dims=4, context_length=6)) is Coloured
