"""What the package gives, against what it gave when `tests/frozen/` was written.

Documents come from public names and commands alone (`support/frozen.py`), so that moving modules
breaks none of them. Words, counts and lengths of lists are compared as they are, numbers within
`TOLERANCE`; names, columns and keys may be added, and not go. With FROZEN=exact in the environment
every tolerance is 0, for changes that are to move no bit:

    FROZEN=exact pytest -m "full or frozen" -n0 tests/test_frozen.py

What is computed from the shipped logs takes half an hour: it has the mark `frozen`, for whoever
moves code, and is of no tier.
"""

import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pytest
from documents import apart, frozen, leaves
from frozen import LOGS, PARTS, computed

NEAR = (1e-9, 1e-12)
TOLERANCE: dict[str, tuple[float, float] | None] = {
    # relative and absolute, of the first pattern that fits; None: only that it is there
    "checks/*": (0, 0),
    "predictors/*": NEAR,
    "cells/*/loss/*": (0, 1e-12),
    "cells/*/complexity/*": (1e-12, 0),
    # exact sums of squares, which no other representation need change
    "cells/regression/*/divergence/*": NEAR,
    # statistics promise 1e-6 nats, and another representation need promise no more
    "cells/*/divergence/*": (0, 1e-6),
    "cells/*/best_divergence/*": (0, 1e-6),
    "cells/*/interpolation_distance/*": (0, 2e-6),
    # where divergences that differ by 1e-6 nats are least, and how curved they are there
    "cells/*/best_weight/*": (0, 5e-3),
    "cells/*/best_weight_covariance/*": (5e-2, 1e-4),
    "cells/*": NEAR,
    # means of divergences; parameters that leave those within 1e-6 nats move by more
    "fits/*/objective": (0, 1e-6),
    "fits/*/params/*": (1e-2, 1e-3),
    "fits/*/loose_params/*": None,  # which the cells leave free
    "fits/*/refused": None,  # words
    # of accounts with no parameter that cells tell: weights where nothing is fitted move freely,
    # the objective of kinetic on urns_mlp_8 by 2e-10; the first checkpoint is fitted nowhere
    "fits/*/logistic/weight/0/*": None,
    "fits/*/kinetic/weight/*": None,
    "fits/*/two_boundaries/weight/*": None,
    "fits/*/weight/*": (0, 5e-3),
    # of a saved fit; a crossover is looked for to 1e-9 of ln N
    "predictions/*/crossovers/*": (1e-7, 0),
    "predictions/*": (1e-9, 1e-9),
    # follow from refits, as parameters do
    "comparison/*": (1e-2, 1e-4),
    "report/*": (1e-2, 1e-4),
    # chains part for good at the first other rounding; then `within_monte_carlo`
    "posterior/*": (1e-6, 1e-9),
}
EXACT = os.environ.get("FROZEN") == "exact"
QUICK = {"predictors", "predictions"}
COMPARED = [
    pytest.param(
        part,
        item,
        marks=pytest.mark.full
        if part in QUICK or (part == "checks" and item not in LOGS)
        else pytest.mark.frozen,
        id=f"{part}-{item}",
    )
    for part in PARTS
    if part != "names"
    for item in PARTS[part]
]


def close(key: str, old: Any, new: Any) -> bool:
    """Whether a leaf is what it was."""
    allowed = next(found for pattern, found in TOLERANCE.items() if fnmatchcase(key, pattern))
    if EXACT or key.endswith("/length"):
        return apart(old, new) == 0
    if allowed is None:
        return True
    distance = apart(old, new)
    return distance == 0 or (
        np.isfinite(distance) and distance <= allowed[0] * abs(old) + allowed[1]
    )


def moved(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is gone or further away than its tolerance, in words."""
    gone = [f"{key} is gone" for key in old if key not in new]
    both = ((key, value, new[key]) for key, value in old.items() if key in new)
    return gone + [f"{key}: {a!r} became {b!r}" for key, a, b in both if not close(key, a, b)]


# A posterior is one object with its account and noise; any argument of that place may be a fit.
GONE = {"idata", "account", "observation", "accounts"}
WITHOUT = {
    "rational_icl.accounts.make": {"name"},
    "rational_icl.crossovers": {"fit", "worth"},
    "rational_icl.phase_diagram": {"fit"},
    "rational_icl.sensitivity": {"log"},
    **dict.fromkeys(
        (
            *("rational_icl.continue_sampling", "rational_icl.diagnose"),
            *("rational_icl.leave_ends_out", "rational_icl.leave_one_num_tasks_out"),
            *("rational_icl.leave_one_run_out", "rational_icl.leave_one_run_out_psis"),
            *("rational_icl.predict", "rational_icl.predict_crossovers"),
            *("rational_icl.predict_next_tokens", "rational_icl.predict_thresholds"),
            *("rational_icl.save_posterior", "rational_icl.simulation_based_calibration"),
            "rational_icl.compare_posteriors",
        ),
        GONE,
    ),
}


@pytest.mark.full
@pytest.mark.parametrize("item", PARTS["names"])
def test_names_may_grow_and_not_go(item: str):
    old, new = frozen("names")[item], computed("names", item)
    assert not set(old) - set(new)
    for name, held in old.items():
        parts, now = (
            one["options"] if item == "command line" else one for one in (held, new[name])
        )
        assert not set(parts) - set(now) - WITHOUT.get(name, set()), name


@pytest.mark.parametrize(("part", "item"), COMPARED)
def test_what_was_frozen(part: str, item: str):
    old, new = (
        dict(leaves(document, f"{part}/{item}"))
        for document in (frozen(part)[item], computed(part, item))
    )
    found = moved(old, new)
    if part == "posterior" and not EXACT and found:
        found = within_monte_carlo(frozen(part)[item], new, f"{part}/{item}")
    assert not found, f"{len(found)} of {len(old)} moved: " + "; ".join(found[:10])


def within_monte_carlo(old: Mapping[str, Any], new: Mapping[str, Any], where: str) -> list[str]:
    """What another chain of 50 draws should not have moved by: a standard deviation, a tenth."""
    found = []
    for name, sd in old["sd"].items():
        mean, spread = new[f"{where}/mean/{name}"], new[f"{where}/sd/{name}"]
        if abs(mean - old["mean"][name]) > sd or not sd / 3 < spread < 3 * sd:
            found.append(f"{where}/{name}: mean {mean}, sd {spread}")
    for key, weight in leaves(old["weight"]["weight"], f"{where}/weight/weight"):
        if abs(new[key] - weight) > 0.1:
            found.append(f"{key}: {weight} became {new[key]}")
    return found


def test_every_part_was_written():
    assert {part: list(frozen(part)) for part in PARTS} == {p: list(PARTS[p]) for p in PARTS}


def test_a_number_that_moved_is_told():
    old = dict(leaves({"urns": {"loss": {"mean": [1.0, 2.0]}}}, "cells"))
    assert not moved(old, {**old, "cells/urns/more": 3.0})
    assert moved(old, {**old, "cells/urns/loss/mean/1": 2.0 + 1e-9})
    assert moved(old, {**old, "cells/urns/loss/mean/length": 3})
    assert moved(old, {})
