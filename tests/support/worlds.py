"""One table of small example worlds: a new row inherits every test that runs over `WORLDS`.

A world is a setting with a drawn table of tasks, their probabilities and some sequences: half of
them from the tasks, half from fresh ones, so that memorizing is right about some and wrong about
others. Everything is drawn from the literal seed in the row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from oracles import classification, markov, regression, urns

from rational_icl.settings import Categorical, Classification, Markov, Regression, Setting
from rational_icl.settings.draws import Drawn, evaluation_data


@dataclass(frozen=True)
class World:
    """One row of the table.

    Args:
        setting: how sequences are drawn.
        num_tasks: D.
        seed: of everything drawn.
        own_prob: whether task probabilities are drawn; else they are the setting's.
        num_sequences: half from the tasks, half from fresh ones.
    """

    setting: Setting
    num_tasks: int
    seed: int
    own_prob: bool = False
    num_sequences: int = 4

    @cached_property
    def tasks(self) -> np.ndarray:
        return self.setting.draw_tasks(np.random.default_rng([self.seed, 0]), self.num_tasks)

    @cached_property
    def task_prob(self) -> np.ndarray | None:
        """What to give as `task_prob`."""
        if not self.own_prob:
            return None
        return np.random.default_rng([self.seed, 1]).dirichlet(np.ones(self.num_tasks))

    @cached_property
    def prob(self) -> np.ndarray:
        """p_d, written out: d^-a over its sum where the setting has a law."""
        if self.task_prob is not None:
            return self.task_prob
        weight = [(d + 1) ** -self.setting.task_exponent for d in range(self.num_tasks)]
        return np.array(weight) / sum(weight)

    @cached_property
    def inputs(self) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 2])
        half = self.num_sequences // 2
        picked = self.tasks[rng.choice(self.num_tasks, size=half, p=self.prob)]
        fresh = self.setting.draw_tasks(rng, self.num_sequences - half)
        even = np.full(len(fresh), 1 / len(fresh))
        return np.concatenate(
            [
                self.setting.draw_inputs(rng, picked, self.tasks, self.prob),
                self.setting.draw_inputs(rng, fresh, fresh, even),
            ]
        )


NOISE = 2 / 256
WORLDS = {
    "urns": World(Categorical(4, 8), 7, 101, own_prob=True),
    "urns, two symbols, one position": World(Categorical(2, 1), 3, 102, own_prob=True),
    "urns, one task": World(Categorical(3, 5), 1, 103),
    "urns, first_position": World(Categorical(3, 8, first_position=3), 6, 104, own_prob=True),
    "urns, task_exponent": World(Categorical(3, 7, task_exponent=1.5), 9, 105),
    "regression": World(Regression(2, 7, NOISE), 6, 111, own_prob=True),
    "regression, one dimension": World(Regression(1, 5, 0.25), 5, 112, own_prob=True),
    "regression, one position": World(Regression(3, 1, 1.0), 4, 113, own_prob=True),
    "regression, one task": World(Regression(2, 4, NOISE), 1, 114),
    "regression, little noise": World(Regression(2, 6, 1e-4), 6, 115, own_prob=True),
    "regression, much noise": World(Regression(2, 6, 50.0), 6, 116, own_prob=True),
    "regression, first_position": World(
        Regression(2, 6, 1.0, first_position=2), 5, 117, own_prob=True
    ),
    "regression, task_exponent": World(Regression(2, 6, 2.0, task_exponent=0.8), 8, 118),
    "classification": World(Classification(3, 6, 0.5), 7, 121, own_prob=True),
    "classification, one dimension": World(Classification(1, 4, 0.5), 5, 122, own_prob=True),
    "classification, one item": World(Classification(2, 2, 0.5), 4, 123, own_prob=True),
    "classification, one task": World(Classification(2, 3, 0.5), 1, 124),
    "classification, tight classes": World(Classification(3, 6, 0.02), 7, 125, own_prob=True),
    "classification, wide classes": World(Classification(3, 6, 8.0), 7, 126, own_prob=True),
    "classification, task_exponent": World(Classification(3, 5, 0.5, task_exponent=1.2), 8, 127),
    "markov": World(Markov(3, 9), 6, 131, own_prob=True),
    "markov, two states, one position": World(Markov(2, 1), 3, 132, own_prob=True),
    "markov, one task": World(Markov(3, 6), 1, 133),
    "markov, first_position": World(Markov(4, 8, first_position=3), 5, 134, own_prob=True),
    "markov, task_exponent": World(Markov(3, 8, task_exponent=0.7), 8, 135),
}


def expected(
    setting: Setting, tasks: np.ndarray, task_prob: np.ndarray, inputs: np.ndarray
) -> np.ndarray:
    """What the slow oracles predict: (strategy, sequence, prediction, parameter).

    All strategies of the setting in order; for regression the variance follows the mean.
    """
    match setting:
        case Categorical(num_dims=m):
            found = [
                [urns.memorizing(tasks, task_prob, symbols) for symbols in inputs],
                [urns.generalizing(m, symbols) for symbols in inputs],
                [urns.constant(m, symbols) for symbols in inputs],
            ]
        case Regression(noise_variance=noise):
            pairs = [
                regression.memorizing(tasks, task_prob, inputs, noise),
                regression.ridge(inputs, noise),
                regression.constant(inputs, noise),
            ]
            found = [np.concatenate([mean, var[..., None]], axis=-1) for mean, var in pairs]
        case Classification(within_class_variance=v):
            found = [
                classification.memorizing(tasks, task_prob, inputs, v),
                classification.copying(inputs, v),
                classification.constant(inputs),
            ]
        case Markov(num_dims=m):
            found = [
                markov.two_point_memorizing(tasks, task_prob, inputs),
                markov.two_point_generalizing(m, inputs),
                markov.one_point_memorizing(tasks, task_prob, inputs),
                markov.one_point_generalizing(m, inputs),
            ]
        case _:
            raise AssertionError(f"no oracle for {setting}")
    return np.array(found)[:, :, setting.first_position :]


def saved_run(
    setting: Setting,
    num_tasks: int,
    seed: int,
    steps: Sequence[int],
    transformer: Callable[[np.ndarray, Drawn], np.ndarray],
    *,
    num_sequences: int = 8,
    **further: Any,
) -> dict[str, np.ndarray]:
    """One run of any setting, as `np.savez` wants it and `import_npz` reads it.

    Args:
        setting: how sequences are drawn.
        num_tasks: D.
        seed: of the tasks and the sequences.
        steps: of the checkpoints.
        transformer: from the tasks and the sequences of a split to what was predicted
            (step, sequence, prediction, outcome).
        num_sequences: of every split.
        further: any other arrays of the file, which replace those made here.
    """
    data = evaluation_data(setting, num_tasks, seed, num_sequences, num_sequences)
    arrays: dict[str, Any] = {
        "setting": setting.name,
        **setting.parameters(),
        "num_tasks": num_tasks,
        "batch_size": 16,
        "seed": seed,
        "steps": np.asarray(steps, dtype=np.int64),
        "tasks": data.tasks,
        "ood_tasks": data.ood_tasks,
    }
    for split, drawn in data.splits.items():
        arrays[f"{split}_inputs"] = drawn.inputs
        arrays[f"{split}_predictions"] = transformer(data.tasks, drawn)
        if setting.logs_targets:
            arrays[f"{split}_targets"] = setting.targets(drawn.tasks, drawn.inputs)[:, 0]
    return {name: np.asarray(value) for name, value in {**arrays, **further}.items()}
