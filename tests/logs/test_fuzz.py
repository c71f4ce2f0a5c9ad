"""Damaged and hostile logs by the hundred: each is read as it was written, or refused.

A process of its own reads them, under a limit of memory and with an alarm against hanging;
`fuzzing.py` says what is judged, `mutations.py` what is done to them. What it has found is kept as
named tests here and in `test_reader.py`, where the seeds stay meaningful when mutations change.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import fuzzing
import pytest

SUPPORT = Path(fuzzing.__file__).parent


def judged(first: int, count: int) -> dict[str, Any]:
    """What became of the logs of so many seeds."""
    paths = os.pathsep.join(
        filter(None, [str(SUPPORT), str(SUPPORT.parent), os.environ.get("PYTHONPATH")])
    )
    done = subprocess.run(
        [sys.executable, fuzzing.__file__, str(first), str(count)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("first", "count"), [(0, 1000), pytest.param(1000, 4000, marks=pytest.mark.full)]
)
def test_mutated_logs_are_read_as_written_or_refused(first: int, count: int):
    found = judged(first, count)
    assert not found["failures"], "\n".join(found["failures"].values())
    assert found["slowest"] < fuzzing.SECONDS
    assert found["bytes"] < fuzzing.BYTES
    # else the mutations have lost their teeth, or hit nothing that matters
    assert found["refused"] > count / 2
    assert found.keys() >= {"as written", "as declared", "forged"}
