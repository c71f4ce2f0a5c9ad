"""Statistical comparison of accounts: refits with data held out, and what they predict there."""

from rational_icl.comparison.compare import compare
from rational_icl.comparison.folds import DEFAULT_SCHEMES, SCHEMES
from rational_icl.comparison.posteriors import compare_posteriors
from rational_icl.comparison.recovery import model_recovery, simulate_runs
from rational_icl.comparison.result import Comparison

__all__ = [
    "DEFAULT_SCHEMES",
    "SCHEMES",
    "Comparison",
    "compare",
    "compare_posteriors",
    "model_recovery",
    "simulate_runs",
]
