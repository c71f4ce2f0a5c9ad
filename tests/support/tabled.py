"""Runs as tables: a row for every sequence of every checkpoint, and one for every task."""

from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
Rows = list[dict[str, Any]]
TABLES = ("tasks", "ood_tasks")
PARTS = ("inputs", "predictions", "targets")


def rows_of(name: str, run: Arrays) -> tuple[Rows, Rows]:
    """The two tables of a run, one plain row after the other."""
    splits = [key.removesuffix("_inputs") for key in run if key.endswith("_inputs")]
    arrays = {*TABLES, "steps", "task_prob", *(f"{s}_{part}" for s in splits for part in PARTS)}
    stated = {key: value.item() for key, value in run.items() if key not in arrays}
    predictions = [
        {
            "run": name,
            "step": int(step),
            "split": split,
            "sequence": sequence,
            "inputs": run[f"{split}_inputs"][sequence].tolist(),
            "predictions": run[f"{split}_predictions"][checkpoint, sequence].tolist(),
            **(
                {"target": int(run[f"{split}_targets"][sequence])}
                if f"{split}_targets" in run
                else {}
            ),
            **stated,
        }
        for checkpoint, step in enumerate(run["steps"])
        for split in splits
        for sequence in range(len(run[f"{split}_inputs"]))
    ]
    tasks = [
        {"run": name, "split": split, "task": task, "values": values.tolist()}
        for split in TABLES
        for task, values in enumerate(run[split])
    ]
    return predictions, tasks
