"""Whether a log can be trusted: what is in it, what is missing, what looks wrong, what to do.

Every run is read, whatever is wrong with the others, and each of its checkpoints once:

    records     what is found, as tables and as JSON
    reading     one run's numbers, reduced to what the checks need
    numbers     what those show by themselves: repeated checkpoints, zeros, losses
    strategies  what they show beside the exact predictors
    ruled_out   where those predictors give probability 0 (these two parts alone start JAX)
    between     what runs show beside each other, and beside `log.json`
    precisions  the types of number that their tasks were stored in
    inspecting  all of it for a log
    words       all of it as text
"""

from rational_icl.checks.findings import Finding, Inspection, RunFacts
from rational_icl.checks.inspection import inspect_log
from rational_icl.checks.text import described

__all__ = ["Finding", "Inspection", "RunFacts", "described", "inspect_log"]
