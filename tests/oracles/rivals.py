"""Slow, obvious formulas of the other accounts, for one cell at a time.

Every function returns log weights, one per strategy, from plain numbers.
"""

import math
from collections.abc import Mapping, Sequence


def normalised(scores: Sequence[float]) -> list[float]:
    """Scores less the log of the sum of their exponentials."""
    largest = max(scores)
    total = largest + math.log(math.fsum(math.exp(score - largest) for score in scores))
    return [score - total for score in scores]


def growth(kind: str, p: Mapping[str, float], step: float) -> float:
    """How evidence grows: N^(1-α), ln(1 + N/N_0) or N."""
    if kind == "power":
        return step ** (1 - p["alpha"])
    if kind == "log":
        return math.log((p["step_0"] + step) / p["step_0"])
    assert kind == "linear"
    return step


def cost(kind: str, p: Mapping[str, float], complexity: float) -> float:
    """What complexity costs, in nats: ln2 K^β, c ln K or ln2 c K."""
    if kind == "power":
        return math.log(2) * complexity ** p["beta"]
    if kind == "log":
        return p["cost_scale"] * math.log(complexity)
    assert kind == "linear"
    return math.log(2) * p["cost_scale"] * complexity


def complexities(
    kind: str | float,
    p: Mapping[str, float],
    num_tasks: float,
    bits: Sequence[float],
    program: Sequence[float],
    memorizes: Sequence[bool],
) -> list[float]:
    """Of every strategy: stored tasks, or prior bits with a share of the program's, at least 1."""
    if kind == "tasks":
        return [num_tasks if stores else 1.0 for stores in memorizes]
    share = p["program_share"] if isinstance(kind, str) else kind
    return [
        max(whole - declared + share * declared, 1.0)
        for whole, declared in zip(bits, program, strict=True)
    ]


def posterior(evidence: float, loss: Sequence[float], costs: Sequence[float]) -> list[float]:
    """log π_k = -γ g(N) L_k - c(K_k) + const."""
    return normalised([-evidence * one - price for one, price in zip(loss, costs, strict=True)])


def plateau(
    inner: Sequence[float], num_tasks: float, num_tasks_c: float, eta: float
) -> list[float]:
    """The first weight times 1 / (1 + (D/D_c)^η); what it loses goes to the second."""
    weight = [math.exp(one) for one in inner]
    capped = weight[0] / (1 + (num_tasks / num_tasks_c) ** eta)
    return [math.log(one) for one in (capped, weight[1] + weight[0] - capped, *weight[2:])]


def two(share: float) -> list[float]:
    """Log weights of two strategies from that of the first."""
    return [math.log(share), math.log(1 - share)]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def logistic(ceiling: float, slope: float, midpoint: float, step: float) -> list[float]:
    """π_1 = l / (1 + exp(-k (ln N - x)))."""
    return two(ceiling * sigmoid(slope * (math.log(step) - midpoint)))


def surface(p: Mapping[str, float], step: float, num_tasks: float) -> list[float]:
    """A logit that is a polynomial in ln N/1000 and ln D/32."""
    x, y = math.log(step / 1000), math.log(num_tasks / 32)
    terms = [
        p["intercept"],
        p["slope_step"] * x,
        p["slope_num_tasks"] * y,
        p["interaction"] * x * y,
        p.get("curvature", 0.0) * x**2,
    ]
    return two(sigmoid(math.fsum(terms)))


def collapse(p: Mapping[str, float], step: float, num_tasks: float) -> list[float]:
    """A logistic function of N/D^κ."""
    ratio = (step / 1000) / (num_tasks / 32) ** p["kappa"]
    return two(sigmoid(p["intercept"] + p["slope"] * math.log(ratio)))
