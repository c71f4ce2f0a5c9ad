"""Plugin that runs inside the workers of a Dask cluster; imported only where Dask is wanted."""

import runpy
from collections.abc import Sequence
from typing import Any

from distributed import WorkerPlugin


class Loader(WorkerPlugin):
    """Plugin that runs Python files in every worker, those that come later too.

    Args:
        files: paths, the same for all workers.
    """

    name = "rational_icl.load"

    def __init__(self, files: Sequence[str]):
        self._files = list(files)

    def setup(self, worker: Any) -> None:
        """Called once in each worker."""
        for path in self._files:
            runpy.run_path(path, run_name="rational_icl_loaded")
