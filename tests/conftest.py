"""Fixtures shared by all tests, and what a worker compiles. Arrays and files are read-only."""

import gc
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Every test, and every command that a test starts, compiles into one folder and reads it from
# there afterwards; set before JAX is imported. `pytest --cache-clear` empties it.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
# Tests compile more than they compute: this halves the time of compilation, which is most of a
# whole run, and leaves fits and samplers as fast; predictors take twice as long. A jaxlib ends the
# process at an option that it does not know, and later ones no longer know the second.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=1"
    + " --xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
)
# OpenBLAS rounds as the processor's instructions go: tables of stationary distributions then differ
# in their last bits, and LZMA, which complexity counts, by a few bytes.
os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")

import jax
import numpy as np
import posteriors
import pytest
from builders import urn_run, write_missing

from rational_icl.cells.records import Behaviour, Cells
from rational_icl.logs import store

TESTS = Path(__file__).parent
# What is not of the default tier, under three minutes on two cores, which is for editing. Single
# tests say so themselves, with the same marks.
TIERS = {
    # every setting, every account, calibration, recovery: what a rule holds for
    "full": (
        *("accounts/test_abrupt", "accounts/test_accounts", "accounts/test_coopetition"),
        "accounts/test_extremes",
        *("accounts/test_rivals", "accounts/test_sampled_accounts", "accounts/test_validation"),
        *("cells/test_exact_zeros", "cells/test_simplex", "cells/test_weight_errors"),
        *("cli/test_cli", "cli/test_logs"),
        *("comparison/test_compare", "comparison/test_recovery", "comparison/test_refit"),
        *("comparison/test_posteriors", "comparison/test_verdict"),
        *("fitting/test_fits", "fitting/test_identifiability", "fitting/test_in_context"),
        *("fitting/test_jackknife", "fitting/test_many_strategies"),
        *("posterior/test_adaptation", "posterior/test_arviz", "posterior/test_bad_input"),
        "posterior/test_conditions",
        *("posterior/test_coverage", "posterior/test_diagnosis", "posterior/test_effects"),
        *("posterior/test_files", "posterior/test_interpretation", "posterior/test_leave_one_out"),
        *("posterior/test_noise", "posterior/test_report", "posterior/test_sampling"),
        *("posterior/test_side_by_side", "posterior/test_simulated_logs"),
        "posterior/test_whole_runs",
        *("prediction/test_next_tokens", "prediction/test_predicted_crossovers"),
        "prediction/test_predictions",
        *("report/test_explorer", "report/test_folder"),
        *("settings/test_classification", "settings/test_markov", "settings/test_own_setting"),
        *("settings/test_regression", "settings/test_shipped_settings", "settings/test_validation"),
        *("strategies/test_losses", "strategies/test_precision"),
        *("train/test_grid", "train/test_model"),
    ),
    # other people's files, killed processes, clusters, frameworks
    "files": (
        *("cells/test_cluster", "cells/test_file", "cells/test_resumable", "checks/test_checks"),
        *("cli/test_interrupts", "cli/test_stopping"),
        "fitting/test_fit_files",
        *("frameworks/test_huggingface", "frameworks/test_lightning", "frameworks/test_pytorch"),
        *("logs/test_batches", "logs/test_cache_import", "logs/test_crashes"),
        *("logs/test_forms_of_fields", "logs/test_parts", "logs/test_shipped_logs"),
        *("logs/test_fuzz", "logs/test_nested_lists", "logs/test_number_types"),
        *("logs/test_parquet_import", "logs/test_security", "logs/test_settings_on_disk"),
        *("logs/test_table_folders", "test_locks", "train/test_spread"),
    ),
}
# Begun first, so that no worker is left with one of them at the end while the other has none.
LONGEST = (
    *("posterior/test_simulated_logs", "logs/test_crashes", "posterior/test_leave_one_out"),
    *("cli/test_interrupts", "logs/test_fuzz", "cli/test_cli"),
)
TIER_OF = {name: tier for tier, names in TIERS.items() for name in names}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of a file gets the mark of the file's tier; the longest files come first."""
    if unknown := [name for name in (*TIER_OF, *LONGEST) if not (TESTS / f"{name}.py").is_file()]:
        raise pytest.UsageError(f"TIERS: no file {', '.join(unknown)}")
    for item in items:
        tier = TIER_OF.get(_name(item))
        if tier:
            item.add_marker(tier)
    rank = {name: index for index, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(_name(item), len(rank)))


def _name(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).with_suffix("").as_posix()


@pytest.fixture(scope="module", autouse=True)
def released() -> Iterator[None]:
    """Compiled programs are let go after each file.

    A process may map 65,530 pieces of memory and no more: the programs of a few thousand tests end
    it with a segmentation fault.
    """
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(scope="session")
def urn() -> dict[str, np.ndarray]:
    """The arrays of one run: 4 tasks, 4 symbols, 6 positions, steps 10, 20 and 40."""
    run = urn_run()
    for array in run.values():
        array.setflags(write=False)
    return run


@pytest.fixture(scope="session")
def urn_folder(urn: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`urn` as a finished folder `urn.zarr`; copy it before changing it."""
    folder = tmp_path_factory.mktemp("folder") / "urn.zarr"
    write_missing(folder, urn)
    return folder


@pytest.fixture(scope="session")
def urn_packed(urn: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`urn` as a packed file `urn.zarr.zip`; copy it before changing it."""
    folder = tmp_path_factory.mktemp("packed") / "urn.zarr"
    write_missing(folder, urn)
    return store.pack(folder)


@pytest.fixture(scope="session")
def small() -> tuple[Cells, Behaviour]:
    """Cells of a small posterior: four task diversities, two runs each, eight steps."""
    cells = posteriors.design()
    return cells, posteriors.noisy(cells, 1)


@pytest.fixture(scope="session")
def posterior(small: tuple[Cells, Behaviour]) -> Any:
    """Draws of the default model: 2 chains of 300 after 150 of warming up, seed 0. Read-only."""
    return posteriors.sampled(*small)
