"""Configuration of training: a grid of task diversities and seeds, and the recipe they share."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rational_icl import settings
from rational_icl._errors import LogError
from rational_icl.logs.logger import checkpoint_steps
from rational_icl.logs.schema import Metadata

_COUNTS = ("steps", "num_checkpoints", "first_checkpoint", "batch_size", "width", "num_layers")
_COUNTS += ("num_heads", "id_sequences", "ood_sequences")


@dataclass(frozen=True)
class Recipe:
    """Recipe by which transformers are trained and logged. Adam, at a constant rate once warm.

    Args:
        steps: optimizer steps.
        num_checkpoints: logged steps, evenly spaced in √step from `first_checkpoint` to `steps`.
        first_checkpoint: the first logged step.
        batch_size: sequences a step.
        learning_rate: of Adam.
        warmup_steps: over which the rate rises from 0; none if 0.
        clip_norm: largest norm of a gradient; any if 0.
        width, num_layers, num_heads, mlp_factor: sizes of the transformer.
        rotary: whether attention knows positions.
        init_std: of initial weights; one over the square root of a matrix's inputs if 0.
        id_sequences, ood_sequences: evaluation sequences a run.
    """

    steps: int = 4500
    num_checkpoints: int = 28
    first_checkpoint: int = 20
    batch_size: int = 64
    learning_rate: float = 5e-4
    warmup_steps: int = 0
    clip_norm: float = 0.0
    width: int = 64
    num_layers: int = 1
    num_heads: int = 1
    mlp_factor: float = 4.0
    rotary: bool = True
    init_std: float = 0.02
    id_sequences: int = 40
    ood_sequences: int = 32

    @property
    def checkpoint_steps(self) -> list[int]:
        """Logged steps, increasing."""
        return checkpoint_steps(self.first_checkpoint, self.steps, self.num_checkpoints)

    def problem(self) -> str | None:
        """What is wrong with the recipe, in one sentence, or None."""
        for name in _COUNTS:
            if getattr(self, name) < 1:
                return f"{name} is {getattr(self, name)}; expected at least 1"
        if self.first_checkpoint > self.steps:
            return (
                f"first_checkpoint is {self.first_checkpoint}; expected at most {self.steps} steps"
            )
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            return f"learning_rate is {self.learning_rate}; expected a number above 0"
        for name in ("warmup_steps", "clip_norm", "init_std"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                return f"{name} is {getattr(self, name)}; expected 0 or more"
        if not self.mlp_factor * self.width >= 1:
            return f"mlp_factor is {self.mlp_factor}; expected an MLP of at least one unit"
        if self.width % self.num_heads or (self.rotary and self.width // self.num_heads % 2):
            even = "an even " if self.rotary else "a whole "
            return f"width {self.width} over {self.num_heads} heads is not {even}number"
        try:
            _ = self.checkpoint_steps
        except LogError as error:
            return f"num_checkpoints: {error}"
        return None


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

    def problem(self) -> str | None:
        """What is wrong with the grid, in one sentence, or None."""
        for name, least in (("num_tasks", 1), ("seeds", 0)):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values) or min(values) < least:
                listed = ", ".join(map(str, values))
                return f"{name}: {listed}; expected different numbers from {least} on"
        return self.recipe.problem()

    @property
    def runs(self) -> list[tuple[int, int]]:
        """(D, seed) of every run, in order."""
        return [(tasks, seed) for tasks in self.num_tasks for seed in self.seeds]

    def metadata(self, num_tasks: int, seed: int) -> Metadata:
        """Metadata of one run, for its log."""
        recipe = self.recipe
        factors = {"width": recipe.width, "layers": recipe.num_layers, "heads": recipe.num_heads}
        factors |= {"mlp_factor": recipe.mlp_factor, "learning_rate": recipe.learning_rate}
        return Metadata(self.setting, num_tasks, recipe.batch_size, seed, factors)

    def describe(self) -> dict[str, Any]:
        """All that decides the result, for provenance and for refusing a changed resume."""
        return {
            "setting": {"name": self.setting.name, **self.setting.parameters()},
            "num_tasks": list(self.num_tasks),
            "seeds": list(self.seeds),
            "recipe": asdict(self.recipe),
        }

    @property
    def command(self) -> str:
        """The command line that trains this grid."""
        words = [f"--setting {self.setting.name}"]
        for key, value in self.setting.parameters().items():
            sizes = key in ("num_dims", "context_length")
            words.append(f"--{_option(key)} {value}" if sizes else f"--set {key}={value}")
        for key, value in asdict(self.recipe).items():
            flag = f"--{_option(key)}" if value is True else f"--no-{_option(key)}"
            words.append(flag if isinstance(value, bool) else f"--{_option(key)} {value}")
        words.append("--num-tasks " + ",".join(map(str, self.num_tasks)))
        words.append("--seeds " + ",".join(map(str, self.seeds)))
        return " ".join(["rational-icl train OUT", *words])


def _option(key: str) -> str:
    return key.replace("_", "-")
