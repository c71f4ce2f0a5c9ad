"""What to train: a grid of task diversities and seeds, and the recipe they share."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rational_icl import settings
from rational_icl.logs.schema import Metadata


@dataclass(frozen=True)
class Recipe:
    """How each transformer of a grid is trained and logged. Adam at a constant rate.

    Args:
        steps: optimizer steps.
        num_checkpoints: logged steps, evenly spaced in √step from `first_checkpoint` to `steps`.
        first_checkpoint: the first logged step.
        batch_size: sequences a step.
        learning_rate: of Adam.
        width, num_layers, num_heads, mlp_factor: sizes of the transformer.
        id_sequences, ood_sequences: evaluation sequences a run.
    """

    steps: int = 4500
    num_checkpoints: int = 28
    first_checkpoint: int = 20
    batch_size: int = 64
    learning_rate: float = 5e-4
    width: int = 64
    num_layers: int = 1
    num_heads: int = 1
    mlp_factor: float = 4.0
    id_sequences: int = 40
    ood_sequences: int = 32

    @property
    def checkpoint_steps(self) -> list[int]:
        """Logged steps, increasing."""
        roots = np.linspace(self.first_checkpoint**0.5, self.steps**0.5, self.num_checkpoints)
        return sorted(set(np.round(roots**2).astype(int).tolist()))


@dataclass(frozen=True)
class Grid:
    """Task diversities × seeds, trained side by side.

    Args:
        setting: where sequences come from.
        num_tasks: task diversities D.
        seeds: one transformer a seed and task diversity.
        recipe: shared by all.
    """

    setting: settings.Setting
    num_tasks: tuple[int, ...]
    seeds: tuple[int, ...]
    recipe: Recipe = Recipe()

    @property
    def runs(self) -> list[tuple[int, int]]:
        """(D, seed) of every run, in order."""
        return [(tasks, seed) for tasks in self.num_tasks for seed in self.seeds]

    def metadata(self, num_tasks: int, seed: int) -> Metadata:
        """What the log says of one run."""
        recipe = self.recipe
        factors = {"width": recipe.width, "layers": recipe.num_layers, "heads": recipe.num_heads}
        factors |= {"mlp_factor": recipe.mlp_factor, "learning_rate": recipe.learning_rate}
        return Metadata(self.setting, num_tasks, recipe.batch_size, seed, factors)

    def describe(self) -> dict[str, Any]:
        """Everything that decides the result, for provenance and for refusing a changed resume."""
        return {
            "setting": {"name": self.setting.name, **self.setting.parameters()},
            "num_tasks": list(self.num_tasks),
            "seeds": list(self.seeds),
            "recipe": asdict(self.recipe),
        }

    @property
    def command(self) -> str:
        """The command line that trains this grid."""
        options = {**self.setting.parameters(), **asdict(self.recipe)}
        words = [f"--{key.replace('_', '-')} {value}" for key, value in options.items()]
        words.append("--num-tasks " + ",".join(map(str, self.num_tasks)))
        words.append("--seeds " + ",".join(map(str, self.seeds)))
        return " ".join(["rational-icl train OUT", *words])
