"""Arrows point one way: which module may import which, and what starting up may cost."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import rational_icl

PACKAGE = Path(rational_icl.__file__).parent
OWN = "rational_icl."
DOTTED = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in PACKAGE.rglob("*.py")
}

# From left to right, each layer may import the ones before it and itself, never one after it.
LAYERS = [
    {
        "_errors",
        "_extras",
        "_arrays",
        "_cleanup",
        "_cluster",
        "_files",
        "_guards",
        "_hdf5_guard",
        "_locks",
        "_progress",
        "_shown",
        "_staging",
        "_threads",
        "_workers",
    },
    {"_jit", "_arviz"},
    {"settings", "strategies"},  # settings are validated by what predictors make of them
    {"logs"},
    {"callbacks"},
    {"checks"},
    {"cells"},
    {"accounts"},
    {"fitting"},
    {"posterior"},
    {"observations", "prediction"},
    {"robustness"},
    {"comparison"},
    {"plotting"},
    {"report"},
    {"train"},
    {"cli"},
    {"__main__"},
]
LAYER_OF = {module: index for index, layer in enumerate(LAYERS) for module in layer}

FORBIDDEN = [
    ("accounts", "logs"),  # an account cannot peek at transformers
    ("logs", "strategies"),
    ("logs", "_jit"),
    ("callbacks", "_jit"),  # whoever trains in PyTorch need not have JAX started
    ("callbacks", "strategies"),
]


def imported_modules(file: Path) -> set[str]:
    """What a file imports of the package, wherever in the file: modules, by dotted name."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            within = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in DOTTED else node.module for name in within}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.removeprefix(OWN) for name in names if name.startswith(OWN)}


def imports(file: Path) -> set[str]:
    """The rooms, folders or files of the top level, that a file imports."""
    return {name.split(".")[0] for name in imported_modules(file)}


def modules() -> list[tuple[str, Path]]:
    files = [file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py"]
    return [(file.relative_to(PACKAGE).parts[0].removesuffix(".py"), file) for file in files]


def test_every_module_has_a_layer():
    assert {module for module, _ in modules()} == set(LAYER_OF)


@pytest.mark.parametrize(("module", "file"), modules(), ids=lambda value: str(value)[-30:])
def test_imports_point_backwards(module, file):
    if module == "cli":
        return  # commands import what they call
    late = {name for name in imports(file) & set(LAYER_OF) if LAYER_OF[name] > LAYER_OF[module]}
    assert not late, f"{file.name} imports {late}, which come after {module}"
    forbidden = {there for here, there in FORBIDDEN if here == module}
    assert not imports(file) & forbidden


def test_imports_run_in_no_circle():
    graph = {
        name.removeprefix(OWN): {other for other in imported_modules(file) if OWN + other in DOTTED}
        for name, file in DOTTED.items()
        if name != "rational_icl"
    }
    # a setting is validated by what predictors make of it, and imports them when that is asked
    graph["settings.validation"].remove("strategies.predictors")
    graphlib.TopologicalSorter(graph).prepare()


def test_accounts_see_cells_and_not_behaviour():
    for module, file in modules():
        if module == "accounts":
            assert "Behaviour" not in file.read_text()
            of_cells = {name for name in imported_modules(file) if name.split(".")[0] == "cells"}
            assert all(name.startswith("cells.records") for name in of_cells)


def test_nobody_asks_which_setting_it_is():
    for module, file in modules():
        if module in ("settings", "cli"):  # the registry, and the training options of urns
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare):
                assert "setting.name" not in ast.unparse(node), f"{file}: {ast.unparse(node)}"


def _imported_by(code: str) -> set[str]:
    script = f"import sys; {code}; print(' '.join(sys.modules))"
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(shown.stdout.split())


def test_importing_the_package_and_asking_for_help_load_nothing_heavy():
    heavy = {"jaxlib", "zarr", "pandas", "matplotlib", "scipy", "numpy"}
    assert not _imported_by("import rational_icl, rational_icl.cli") & heavy


def test_logs_need_no_jax():
    assert "jaxlib" not in _imported_by("import rational_icl.logs")


def test_training_is_imported_by_nobody():
    for module, file in modules():
        if module not in ("train", "cli"):
            assert "train" not in imports(file)


def test_torch_is_for_callbacks_and_for_reading_its_files():
    for module, file in modules():
        if module != "callbacks" and file.parts[-3:] != ("logs", "importers", "tensors.py"):
            assert "torch" not in file.read_text(), file


def test_callbacks_load_no_framework_before_one_is_used():
    frameworks = {"torch", "transformers", "lightning", "jaxlib", "numpy"}
    assert not _imported_by("import rational_icl as ri; ri.callbacks") & frameworks


def test_callbacks_are_imported_by_nobody():
    for module, file in modules():
        if module != "callbacks":
            assert "callbacks" not in imports(file)
