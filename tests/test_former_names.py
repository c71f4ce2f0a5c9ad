"""Names of earlier releases still serve, and say what they are called now."""

import importlib
import sys

import pytest

import rational_icl as ri


def test_observations_are_called_noise():
    sys.modules.pop("rational_icl.observations", None)
    with pytest.warns(DeprecationWarning, match=r"ri\.noise"):
        former = importlib.import_module("rational_icl.observations")
    assert former.StudentResiduals is ri.noise.StudentResiduals
