"""From a log to cells: one of a run at a checkpoint, its losses, complexities and behaviour."""
