"""Digests of what a run holds: equal for equal numbers, whatever the file's name and packing."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np

from rational_icl.logs.run import Run


def run_digest(run: Run) -> str:
    """SHA-256 of a run's metadata, tables and predictions, all of them read and checked.

    Its name, whether it is packed, and how its numbers are compressed do not enter.

    Raises:
        LogError: something in it is damaged, or is not what the schema asks for.
    """
    run.check_tables()
    digests = table_digests(run, run.tables())
    for split in run.splits:
        for checkpoint in range(len(run.steps)):
            digests[f"{split} {checkpoint}"] = array_digest(run.checked(split, checkpoint))
    run.close()
    return combined(digests)


def table_digests(run: Run, tables: Mapping[str, np.ndarray]) -> dict[str, str]:
    """A digest of the metadata, and one of each table, by name."""
    attributes = {**run.metadata.to_attributes(), "strategies": list(run.overrides)}
    described = json.dumps(attributes, sort_keys=True)
    digests = {name: array_digest(table) for name, table in tables.items()}
    return {**digests, "metadata": hashlib.sha256(described.encode()).hexdigest()}


def array_digest(values: np.ndarray) -> str:
    """SHA-256 of an array's type, shape and numbers; byte order and layout do not enter."""
    plain = values.astype(values.dtype.newbyteorder("<"), order="C", copy=False)
    header = f"{plain.dtype.str} {plain.shape} ".encode()
    return hashlib.sha256(header + plain.tobytes()).hexdigest()


def combined(digests: Mapping[str, str]) -> str:
    """One digest of several, whatever their order."""
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()
