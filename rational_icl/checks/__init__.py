"""Whether a log can be trusted: what is in it, what is missing, what looks wrong, what to do.

Each run is read, whatever is wrong with the others, and each of its checkpoints once:

    inspection   all of it for a log
    run          a run, read once and summed up
    predictions  its predictions alone: equal checkpoints, zeros, losses above chance
    strategies   its predictions beside exact ones (this part and the next alone start JAX)
    ruled_out    where exact predictions are 0 and the transformer's are not
    consistency  what runs lack beside each other; `log.json`
    duplicates   parts of one run, copies, shared tasks
    findings     the result, as tables, JSON and text
"""

from rational_icl.checks.findings import Finding, Inspection, RunFacts, described
from rational_icl.checks.inspection import inspect_log

__all__ = ["Finding", "Inspection", "RunFacts", "described", "inspect_log"]
