"""What tests of training frameworks ask of a log: that it holds a model's own predictions."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from rational_icl.cli import main
from rational_icl.logs import Run

HALF = 2.0**-10
"""Relative rounding of what a log holds in half precision, and its normalising after reading."""


def hold(path: Path, expected: Mapping[int, Mapping[str, np.ndarray]]) -> None:
    """Assert that a run's log-probabilities are the log-softmax of logits, by step and split."""
    run = Run(path)
    assert run.steps.tolist() == sorted(expected)
    for checkpoint, step in enumerate(run.steps.tolist()):
        for split, logits in expected[step].items():
            wide = logits.astype(np.float64)
            log_prob = wide - np.log(np.exp(wide).sum(axis=-1, keepdims=True))
            found = run.logged(split, checkpoint)
            np.testing.assert_allclose(found, log_prob, rtol=HALF, atol=HALF)
    run.close()


def differ(expected: Mapping[int, Mapping[str, np.ndarray]]) -> None:
    """Assert that the model moved between steps by far more than the rounding."""
    steps = sorted(expected)
    for before, after in pairwise(steps):
        assert np.abs(expected[before]["id"] - expected[after]["id"]).max() > 10 * HALF


def accepted(logs: Path, runs: int) -> None:
    """Assert that the command line finds a log of so many runs sound."""
    result = CliRunner().invoke(main, ["check", str(logs)])
    assert result.exit_code == 0, result.output
    assert f"{runs} run" in result.output


def reported(logs: Path, out: Path) -> None:
    """Assert that the command line writes a report of a log, of three strategies."""
    words = ["report", str(logs), "--quick", "--out", str(out)]
    words += ["--strategies", "memorizing,generalizing,constant"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert (out / "index.html").stat().st_size > 0
