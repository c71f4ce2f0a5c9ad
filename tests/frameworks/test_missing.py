"""A framework that is not installed is one sentence with the command that installs it."""

import importlib
import sys

import pytest

from rational_icl import RationalICLError, callbacks
from rational_icl._extras import needed


@pytest.mark.parametrize(
    ("framework", "reach", "command"),
    [
        ("torch", lambda: callbacks.torch_predictions, "pip install 'rational_icl[torch]'"),
        ("torch", lambda: callbacks.huggingface, "pip install 'rational_icl[torch]'"),
        ("transformers", lambda: callbacks.huggingface, "pip install 'transformers[torch]'"),
        ("lightning", lambda: callbacks.lightning, "pip install lightning"),
    ],
)
def test_a_missing_framework_says_how_to_install_it(framework, reach, command, monkeypatch):
    if framework != "torch":
        pytest.importorskip("torch", reason="torch is asked for first")
    for name in [name for name in sys.modules if name.startswith("rational_icl.callbacks.")]:
        monkeypatch.delitem(sys.modules, name)
        monkeypatch.delitem(vars(callbacks), name.rpartition(".")[2], raising=False)
    # not delattr, which would import it to see whether it is there
    monkeypatch.delitem(vars(callbacks), "torch_predictions", raising=False)
    for name in [framework, *sys.modules]:
        if name.split(".")[0] == framework:
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        RationalICLError, match=f"needs {framework}, which is not installed"
    ) as found:
        reach()
    assert command in str(found.value)
    assert "\n" not in str(found.value)


def test_what_is_missing_inside_a_framework_is_not_hidden():
    with pytest.raises(ModuleNotFoundError), needed("this", "torch", "torch"):
        importlib.import_module("no_such_module")
