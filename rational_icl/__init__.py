"""Rational analysis of in-context learning: strategy posteriors fitted to logged predictions.

    import rational_icl as ri

    log = ri.open_log("data/urns")
    cells, behaviour = ri.summarize(log)
    fit = ri.fit(ri.accounts.Rational(), cells, behaviour)
    phase = ri.phase_diagram(fit, num_tasks=[4, 64, 1024], steps=[100, 10_000])

Names are imported when first used, so that importing the package takes milliseconds.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submodules=["accounts", "logs", "plotting", "settings"],
    submod_attrs={
        "_errors": ["FitError", "LogError", "RationalICLError"],
        "agreement": ["cell_agreement"],
        "cells": ["Behaviour", "Cells", "table"],
        "fits": ["Fit", "fit", "load_fit"],
        "logs": ["Log", "Run", "RunWriter", "import_npz", "open_log"],
        "phases": ["crossovers", "phase_diagram"],
        "predictors": ["predictions"],
        "regions": ["Regions", "partition_cells"],
        "report": ["analyse", "write_report"],
        "summaries": ["summarize"],
        "transitions": ["observed_crossovers", "run_crossovers"],
    },
)
