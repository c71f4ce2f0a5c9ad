"""Probabilities of 0: who gives them to what, and why distances are then infinite."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from rational_icl.cells.records import SplitBehaviour
from rational_icl.settings import Setting


def unreachable(
    finite: Bool[np.ndarray, " cell"],
    strategies: Sequence[str],
    setting: Setting,
    split: str = "id",
    cells: str = "fitted cells",
) -> str:
    """Reason why every mixture is infinitely far from some cells, as the sentence of an error.

    Args:
        finite: whether some mixture is at a finite divergence.
        strategies: of the mixtures.
        setting: which may have further ones.
        split: that the cells are of.
        cells: what they are called.
    """
    candidates = [name for name in setting.strategies if name not in strategies]
    candidates = [name for name in candidates if name not in setting.memorizing] or candidates
    add = f"add a strategy that does not, such as {candidates[0]}, or " if candidates else ""
    return (
        f"{(~finite).sum()} of {len(finite)} {cells} on split {split} are infinitely far from "
        f"every mixture of {_listed(strategies)}: the transformers give probability to outcomes "
        f"that all of these rule out; {add}leave these runs out"
    )


def undefined(split: SplitBehaviour, name: str, strategies: Sequence[str]) -> str:
    """Number of cells of a split whose relative distance is undefined, and why, in a clause.

    Args:
        split: what the transformers did.
        name: of the split.
        strategies: names; relative distance is between the first two.

    Returns:
        A clause, empty where it is defined in every cell.
    """
    missing = np.isnan(split.relative_distance)
    if not missing.any():
        return ""
    ruling_out = missing[:, None] & split.divergence.rules_out[:, :2]
    alike = missing & split.divergence.alike & ~ruling_out.any(axis=1)
    causes = {
        f"strategy {strategy} gives probability 0 to outcomes that the transformers allow": cells
        for strategy, cells in zip(strategies, ruling_out.T, strict=False)
    }
    causes["the transformers give probability 0 to outcomes that a strategy allows"] = (
        missing & ~alike & ~ruling_out.any(axis=1)
    )
    causes[f"{strategies[0]} and {strategies[1]} predict the same"] = alike
    because = [
        why if cells.sum() == missing.sum() else f"in {cells.sum()} {why}"
        for why, cells in causes.items()
        if cells.any()
    ]
    return f"{missing.sum()} of {len(missing)} cells on split {name} ({'; '.join(because)})"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
