"""Compiled programs outlive a command: the next one reads them from the user's cache folder."""

import os
from pathlib import Path

from platformdirs import user_cache_path

HALF_WRITTEN = "Error (reading|writing) persistent compilation cache entry"
"""How JAX's warning begins of what an interrupted command left: it is compiled anew."""
FOLDER = "JAX_COMPILATION_CACHE_DIR"
_LEAST_SECONDS = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"


def keep_compiled() -> None:
    """Have JAX keep what it compiles, unless its own variables say otherwise.

    In the folder that `JAX_COMPILATION_CACHE_DIR` names, else `jax` in this package's folder of the
    user's cache. `JAX_ENABLE_COMPILATION_CACHE=0` switches it off. To be called before JAX is
    imported; a folder that cannot be written to is left alone.
    """
    if FOLDER not in os.environ:
        folder = user_cache_path("rational_icl") / "jax"
        if not _writable(folder):
            return
        os.environ[FOLDER] = str(folder)
    os.environ.setdefault(_LEAST_SECONDS, "0")


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
