"""The evaluation sequences of the published research code, drawn one number after the other.

Written from the description of its procedure; imports nothing from the package.
"""

import numpy as np


def sequences(
    setting: str, tasks: np.ndarray, context_length: int, number: int, seed: int, noise: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Inputs, (sequence, position, ...), and the index of each sequence's task."""
    generator = np.random.default_rng(seed)
    drawn, indices = [], []
    for _ in range(number):
        index = generator.choice(len(tasks), p=np.ones(len(tasks)) / len(tasks))
        task = tasks[index]
        if setting == "categorical-sequence":
            drawn.append(generator.choice(len(task), size=context_length, replace=True, p=task))
        else:
            dims = len(task)
            x = generator.multivariate_normal(np.zeros(dims), np.eye(dims), size=context_length)
            errors = generator.normal(loc=0.0, scale=noise**0.5, size=context_length)
            y = [float(np.dot(x[t], task)) + errors[t] for t in range(context_length)]
            drawn.append(np.array([[*x[t], y[t]] for t in range(context_length)]))
        indices.append(index)
    return np.array(drawn), np.array(indices)
