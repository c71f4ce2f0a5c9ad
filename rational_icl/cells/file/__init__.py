"""Cells and behaviour in a file: all that a fit, a posterior or a comparison needs of a log.

A NetCDF-4 file of plain arrays, neither compressed nor chunked, which `xarray.open_dataset(path)`
and, for each split, `xarray.open_dataset(path, group="id")` read as well:

    /       the fields of `Cells` by name, (cell,) or (cell, strategy), with their units there;
            run (run,) and strategy (strategy,) are names; run_index (cell,) is 0 for the first run
    /id     the fields of `SplitBehaviour` by name, and those of its divergence: coefficient,
    /ood    offset and, once a run, (run, strategy, node), ratio of predicted probabilities; error
    ...     of predicted means; nodes that a run does not use have coefficient and ratio zero.
            strategy_NAME (run, of_strategy, …) are the same of each strategy in a transformer's
            place

Attributes of the root: format, version, setting, setting_parameters (JSON), own_task_prob (0 or 1),
splits (JSON), log (the name of its folder), provenance and factors (of the log and its first run,
JSON), log_sha256 (of its runs' files), release (of this package), and sha256, which covers these
and every array, so that damage shows.
"""

from rational_icl.cells.file.columns import VERSION
from rational_icl.cells.file.reading import load_cells, read_cells
from rational_icl.cells.file.writing import cells_file, save_cells

__all__ = [
    "VERSION",
    "cells_file",
    "load_cells",
    "read_cells",
    "save_cells",
]
