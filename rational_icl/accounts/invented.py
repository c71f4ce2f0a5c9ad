"""Invented cells, on which accounts are validated."""

import dataclasses

import numpy as np
from jaxtyping import Float

from rational_icl._arrays import Array
from rational_icl.cells.records import Cells
from rational_icl.settings import Setting

_NUM_TASKS, _STEPS = (1.0, 6.0, 96.0), (10.0, 700.0, 2e4)


def invented_cells(strategies: tuple[str, ...], setting: Setting) -> Cells:
    """Losses and complexities of the usual sizes, different in every cell and strategy."""
    num_tasks, step = (grid.reshape(-1) for grid in np.meshgrid(_NUM_TASKS, _STEPS, indexing="ij"))
    order = np.arange(len(strategies))
    memorizing = np.array([name in setting.memorizing for name in strategies])
    gap = np.where(memorizing, 0.0, 0.12 * num_tasks[:, None] ** -0.25) + 0.003 * order
    bits = 4200.0 - 150 * order + np.where(memorizing, 256 * num_tasks[:, None], 64.0)

    def constant(value: float) -> Float[np.ndarray, " cell"]:
        return np.full(len(step), float(value))

    return Cells(
        strategies=strategies,
        setting=setting,
        num_tasks=num_tasks,
        step=step,
        batch_size=constant(16),
        num_dims=constant(setting.num_dims),
        context_length=constant(setting.context_length),
        loss=0.05 + gap,
        loss_error=np.zeros_like(gap),
        complexity=bits,
    )


def with_second_half_changed(cells: Cells) -> Cells:
    """The cells with all numbers of the second half changed."""
    half = len(cells) // 2

    def scaled(values: Array, factor: float) -> np.ndarray:
        is_first = np.arange(len(cells)) < half
        is_first = is_first if values.ndim == 1 else is_first[:, None]
        return np.where(is_first, values, factor * values)

    changed = {"num_tasks": 2.0, "step": 3.0, "complexity": 1.2}
    new = {name: scaled(getattr(cells, name), factor) for name, factor in changed.items()}
    spread = scaled(cells.loss - cells.loss.min(axis=1, keepdims=True), 2.5)
    return dataclasses.replace(cells, **new, loss=0.05 + spread)
