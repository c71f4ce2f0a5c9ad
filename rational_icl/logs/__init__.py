"""Prediction logs: the on-disk schema, a reader, a writer that survives kills, and importers."""

from rational_icl.logs.importers import import_npz, import_runs, log_from_arrays
from rational_icl.logs.log import Log, open_log
from rational_icl.logs.logger import PredictionLogger, TrainingBatches, checkpoint_steps
from rational_icl.logs.merge import Merged, merge_logs
from rational_icl.logs.run import Run
from rational_icl.logs.schema import Metadata
from rational_icl.logs.writer import RunWriter

__all__ = [
    "Log",
    "Merged",
    "Metadata",
    "PredictionLogger",
    "Run",
    "RunWriter",
    "TrainingBatches",
    "checkpoint_steps",
    "import_npz",
    "import_runs",
    "log_from_arrays",
    "merge_logs",
    "open_log",
]
