"""Settings are held to what they promise, where they are registered and where they are used."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import rational_icl as ri
from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.cli import main
from rational_icl.settings import Categorical, Classification, Markov, Regression
from rational_icl.strategies.predictors import strategy_predictions

SHIPPED = [
    Categorical(4, 7),
    Categorical(300, 5, first_position=2, task_exponent=0.7),
    Regression(3, 6, 0.25),
    Regression(1, 2, 1e-3, first_position=1),
    Classification(4, 6, 0.5),
    Markov(3, 8),
    Markov(2, 40, first_position=3),
]


@dataclass(frozen=True)
class Coins(settings.Symbols):
    """Coins of any bias; sound."""

    name: ClassVar[str] = "test_coins"
    strategies: ClassVar[tuple[str, ...]] = ("memorizing", "generalizing")
    default_strategies: ClassVar[tuple[str, ...]] = strategies
    program_bits: ClassVar[dict[str, float]] = {"memorizing": 4200.0, "generalizing": 3800.0}
    task_axes: ClassVar[tuple[str, ...]] = ("task",)

    @classmethod
    def sizes_of(cls, tasks, inputs):
        return {"num_dims": 2, "context_length": inputs.shape[1]}

    def problem_with_sizes(self):
        return None if self.num_dims == 2 else "num_dims must be 2"

    def problem_with_tasks(self, tasks):
        good = tasks.ndim == 1 and ((tasks >= 0) & (tasks <= 1)).all()
        return None if good else "expected a probability a task"

    def normalised_tasks(self, tasks):
        return tasks.astype(np.float64)

    def draw_tasks(self, rng, num_tasks):
        return rng.uniform(0.1, 0.9, size=num_tasks)

    def draw_inputs(self, rng, tasks, pool, pool_prob):
        return (rng.random((len(tasks), self.context_length)) < tasks[:, None]).astype(np.uint8)

    def truth(self, tasks, inputs):
        return np.repeat(np.stack([1 - tasks, tasks], 1)[:, None], self.context_length, axis=1)

    def log_likelihood(self, prepared, inputs, position):
        return jnp.where(inputs[position] == 1, jnp.log(prepared), jnp.log1p(-prepared))

    def average(self, prepared, task_weight, inputs, position):
        heads = task_weight @ prepared
        return jnp.stack([1 - heads, heads])

    def continuous(self, strategy, inputs):
        return self._counted(inputs, jnp.cumsum(self._seen(inputs), axis=0) - self._seen(inputs))

    def _seen(self, inputs):
        return jax.nn.one_hot(inputs, 2, dtype=jnp.float64)

    def _counted(self, inputs, count):
        return (count + 1) / (count + 1).sum(axis=1, keepdims=True)

    def prior_parameters(self, strategy):
        return 1


class Unnormalised(Coins):
    def continuous(self, strategy, inputs):
        return 1.83 * super().continuous(strategy, inputs)


class UnnormalisedLate(Coins):
    def continuous(self, strategy, inputs):
        late = jnp.arange(self.context_length)[:, None] == 3
        return jnp.where(late, 0.6, super().continuous(strategy, inputs))


class Negative(Coins):
    def average(self, prepared, task_weight, inputs, position):
        return jnp.array([-0.25, 1.25])


class NotANumber(Coins):
    def continuous(self, strategy, inputs):
        return super().continuous(strategy, inputs) * jnp.log(jnp.zeros(()) - 1)


class SeesItsOutcome(Coins):
    def continuous(self, strategy, inputs):
        return self._counted(inputs, jnp.cumsum(self._seen(inputs), axis=0))


class SeesTheEnd(Coins):
    def continuous(self, strategy, inputs):
        count = jnp.cumsum(self._seen(inputs), axis=0) - self._seen(inputs)
        return self._counted(inputs, count + self._seen(inputs)[-1])


class MemorySeesItsOutcome(Coins):
    def average(self, prepared, task_weight, inputs, position):
        heads = 0.9 * task_weight @ prepared + 0.1 * inputs[position]
        return jnp.stack([1 - heads, heads])


class ShowsTheOutcome(Coins):
    def tokens(self, inputs):
        return inputs.astype(np.int32)


class FirstTaskFirst(Coins):
    def average(self, prepared, task_weight, inputs, position):
        return jnp.stack([1 - prepared[0], prepared[0]])


class WrongShape(Coins):
    def continuous(self, strategy, inputs):
        return super().continuous(strategy, inputs)[:, 0]


class WrongAverage(Coins):
    def average(self, prepared, task_weight, inputs, position):
        return task_weight @ prepared


class WrongLikelihood(Coins):
    def log_likelihood(self, prepared, inputs, position):
        return super().log_likelihood(prepared, inputs, position).sum()


class WrongTruth(Coins):
    def truth(self, tasks, inputs):
        return super().truth(tasks, inputs)[:, 0]


class TruthSums(Coins):
    def truth(self, tasks, inputs):
        return 0.5 * super().truth(tasks, inputs)


class InfiniteLoss(Coins):
    def continuous(self, strategy, inputs):
        return jnp.tile(jnp.array([1.0, 0.0]), (self.context_length, 1))


class OwnRandomness(Coins):
    def draw_tasks(self, rng, num_tasks):
        return np.random.default_rng().uniform(0.1, 0.9, size=num_tasks)


class NoRandomness(Coins):
    def draw_tasks(self, rng, num_tasks):
        return np.linspace(0.1, 0.9, num_tasks)

    def draw_inputs(self, rng, tasks, pool, pool_prob):
        return super().draw_inputs(np.random.default_rng(0), tasks, pool, pool_prob)


class FewTasks(Coins):
    def draw_tasks(self, rng, num_tasks):
        return rng.uniform(0.1, 0.9, size=num_tasks + 1)


class RefusedTasks(Coins):
    def draw_tasks(self, rng, num_tasks):
        return 2.0 + rng.random(num_tasks)


class WrongAxes(Coins):
    task_axes = ("task", "side")


class NoBits(Coins):
    program_bits: ClassVar[dict[str, float]] = {"memorizing": 4200.0}


class OneStrategy(Coins):
    strategies = ("memorizing",)


class UnknownMemorizing(Coins):
    memorizing = ("remembering",)


class Crashes(Coins):
    def continuous(self, strategy, inputs):
        return inputs.no_such_thing


@dataclass(frozen=True)
class TextField(Coins):
    colour: str = field(default="red", kw_only=True)


BROKEN: dict[type[Coins], str] = {
    Unnormalised: r"strategy 'generalizing': its probabilities sum to 1.83 at position 0; divide",
    UnnormalisedLate: r"strategy 'generalizing': its probabilities sum to 1.2 at position 3",
    Negative: r"strategy 'memorizing': predicts a probability of -0.25 at position 0",
    NotANumber: r"strategy 'generalizing': predicts nan at position 0",
    SeesItsOutcome: r"strategy 'generalizing' looks ahead: its prediction at position 0 changes",
    SeesTheEnd: r"strategy 'generalizing' looks ahead",
    MemorySeesItsOutcome: r"strategy 'memorizing' looks ahead: its prediction at position 0",
    ShowsTheOutcome: r"tokens and readout show a transformer the outcome at position 0",
    FirstTaskFirst: r"strategy 'memorizing' depends on the order of the task table",
    WrongShape: r"continuous gives shape \(5,\); expected \(5, 2\)",
    WrongAverage: r"average gives shape \(\); expected \(2,\)",
    WrongLikelihood: r"log_likelihood gives shape \(\); expected \(3,\)",
    WrongTruth: r"truth gives shape \(6, 2\); expected \(6, 5, 2\)",
    TruthSums: r"truth: its probabilities sum to 0.5 at position 0",
    InfiniteLoss: r"strategy 'generalizing' has a loss of inf",
    OwnRandomness: r"draws differ between equal seeds",
    NoRandomness: r"draws are the same for all seeds",
    FewTasks: r"draw_tasks gives shape \(4,\); expected 3 rows",
    RefusedTasks: r"problem_with_tasks refuses what draw_tasks gives \(expected a probability",
    WrongAxes: r"task_axes are task, side, but draw_tasks gives shape \(3,\)",
    NoBits: r"program_bits are .*'generalizing': nan",
    OneStrategy: r"strategies are \['memorizing'\]; expected two or more",
    UnknownMemorizing: r"memorizing has remembering, which is no strategy",
    Crashes: r"continuous fails on a few drawn sequences \(AttributeError",
    TextField: r"field colour is declared as <class 'str'>; expected int or float",
}


@pytest.mark.parametrize("setting", SHIPPED, ids=repr)
def test_every_setting_of_the_package_is_sound(setting: settings.Setting):
    settings.validate(setting)


@pytest.mark.parametrize("kind", settings.SHIPPED)
def test_every_class_of_the_package_is_sound(kind: type[settings.Setting]):
    assert kind in {type(setting) for setting in SHIPPED}
    settings.validate(kind)


def test_what_the_broken_ones_are_made_of_is_sound():
    settings.validate(Coins)
    settings.validate(Coins(2, 9, first_position=4))


@pytest.mark.parametrize(("kind", "reason"), BROKEN.items())
def test_each_fault_has_a_sentence_of_its_own(kind: type[Coins], reason: str):
    with pytest.raises(LogError, match=f"^setting 'test_coins': {reason}") as caught:
        settings.register(kind)
    assert "\n" not in str(caught.value)
    assert "test_coins" not in settings._BY_NAME


class Leaking(Classification):
    """The label of the query is among the tokens' features, where a strategy finds it."""

    name = "test_leaking"
    logs_targets = False

    def observed(self, inputs):
        return inputs[:, -1:, 0] > 0

    def continuous(self, strategy, inputs):
        return jnp.where(inputs[-1, 0] > 0, jnp.array([[0.1, 0.9]]), jnp.array([[0.9, 0.1]]))


class PeekingRegression(Regression):
    """Sees y at the position that it predicts; x it may see."""

    name = "test_peeking"

    def continuous(self, strategy, inputs):
        return super().continuous(strategy, inputs).at[:, 0].add(inputs[:, -1])


class LookingRegression(Regression):
    """Looks at x at the position that it predicts, as it may."""

    name = "test_looking"

    def continuous(self, strategy, inputs):
        return super().continuous(strategy, inputs).at[:, 0].add(0.1 * inputs[:, 0])


def test_settings_of_vectors_may_look_at_what_comes_before_an_outcome_only():
    settings.validate(LookingRegression(2, 5, 0.3))
    with pytest.raises(LogError, match="'generalizing' looks ahead: its prediction at position 0"):
        settings.validate(PeekingRegression(2, 5, 0.3))
    with pytest.raises(LogError, match="show a transformer the outcome at position 0"):
        settings.validate(Leaking(3, 5, 0.5))


def test_what_is_not_registered_is_validated_at_its_first_use():
    inputs = np.array([[0, 1, 1, 0]])
    for setting, words in (
        (Unnormalised(2, 4), "sum to 1.83"),
        (SeesItsOutcome(2, 4), "looks ahead"),
    ):
        with pytest.raises(LogError, match=words):
            ri.predictions(setting, np.array([0.2, 0.7]), inputs)
        with pytest.raises(LogError, match=words):
            strategy_predictions(setting, np.array([0.2, 0.7]), inputs, setting.strategies)


class UnnormalisedOfMany(Coins):
    """Sound on the few tasks that it is validated with."""

    def average(self, prepared, task_weight, inputs, position):
        return super().average(prepared, task_weight, inputs, position) * (
            1.5 if len(prepared) > 3 else 1.0
        )


def test_sums_are_looked_at_in_every_prediction():
    setting, inputs = UnnormalisedOfMany(2, 4), np.array([[0, 1, 1, 0]])
    settings.validate(setting)
    few = np.array([0.2, 0.7])
    strategy_predictions(setting, few, inputs, setting.strategies)
    with pytest.raises(LogError, match=r"'memorizing': its probabilities sum to 1\.5 at pos"):
        strategy_predictions(setting, np.tile(few, 2), inputs, setting.strategies)


def test_a_class_whose_sizes_cannot_be_guessed_is_validated_when_used(monkeypatch):
    class Picky(Unnormalised):
        def problem_with_sizes(self):
            return None if self.context_length == 1234 else "context_length must be 1234"

    settings.validate(Picky)
    with pytest.raises(LogError, match=r"sum to 1\.83"):
        settings.validate(Picky(2, 1234))


def test_a_fault_of_a_class_is_no_size_that_it_refuses():
    class Misspelt(Unnormalised):
        def problem_with_sizes(self):
            return self.contextlength

    with pytest.raises(AttributeError, match="contextlength"):
        settings.validate(Misspelt)


def test_a_broken_setting_in_a_loaded_file_is_one_sentence(tmp_path: Path):
    example = Path(__file__).parents[2] / "analysis" / "coin_flips.py"
    file = tmp_path / "mine.py"
    sound = "return count / count.sum(axis=1, keepdims=True)"
    text = example.read_text()
    assert sound in text
    file.write_text(text.replace(sound, "return count"))
    result = CliRunner().invoke(main, ["--load", str(file), "check", str(tmp_path)])
    assert result.exit_code == 2
    assert "strategy 'generalizing': its probabilities sum to 2 at position 1" in result.output
    assert "Traceback" not in result.output
    assert result.output.count("\n") == 1
