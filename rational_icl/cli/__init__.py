"""The command line: each command is a thin layer over one or two public functions."""

from rational_icl.cli import importing, predicting, reports, summaries, theory, training
from rational_icl.cli.logs import main

__all__ = ["importing", "main", "predicting", "reports", "summaries", "theory", "training"]
