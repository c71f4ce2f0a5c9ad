"""Cells of a log, one a run and checkpoint: their losses, complexities and behaviour."""
