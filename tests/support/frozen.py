"""What the package computed when it was frozen, by public names and the command line only.

    python tests/support/frozen.py PART…          write these parts again: names, checks, …
    python tests/support/frozen.py PART/ITEM…     or one item of a part: cells/urns
    python tests/support/frozen.py --diff PART…   say how far the code has moved; write nothing

A part is `tests/frozen/PART.json`, a document per item: numbers, words and lists of them. Writing a
part again gives up what it protects: only for a change that is meant, and said in the commit.
"""

import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from damaged_logs import DAMAGED, DATA
from documents import FOLDER, Document, apart, frozen, leaves, rewrite

import rational_icl as ri

LOGS = ("urns", "urns_mlp_0.5", "urns_mlp_8", "regression", "classification", "markov")
THIN = {"cells": 9, "posterior": 7, "fits": 49}
"""One cell in so many is written down; means are of all. Runs have 28 checkpoints: with 9, all."""
FEW_ACCOUNTS = ("rational", "rational_plateau", "kinetic", "logistic_surface", "constant_weights")
SAVED_FITS = ("urns", "markov")
GRID = {"num_tasks": [4, 10, 64, 200], "steps": [1.0, 100.0, 777.0, 1e4, 1e6]}


@cache
def summarized(log: str) -> tuple[ri.Cells, ri.Behaviour]:
    """A shipped log, reduced."""
    return ri.summarize(ri.open_log(DATA / log), progress=False)


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """What a command printed, in a terminal of 80 columns."""
    typed = [sys.executable, "-m", "rational_icl", *map(str, words)]
    env = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(typed, capture_output=True, text=True, env=env, check=False)


# --- names -----------------------------------------------------------------------------------


def public_names() -> Document:
    """Names of the package and its public modules; what functions take and classes hold or take."""
    found: Document = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # former names still serve
        public = {name: getattr(ri, name) for name in ri.__all__}
    modules = {
        f"rational_icl.{name}": held for name, held in public.items() if inspect.ismodule(held)
    }
    for module, held in {"rational_icl": ri, **modules}.items():
        own = [name for name in dir(held) if not name.startswith("_")]
        for name in sorted(getattr(held, "__all__", own)):
            if module == "rational_icl.callbacks":
                found[f"{module}.{name}"] = []  # a framework would be needed to look into it
            elif not inspect.ismodule(one := getattr(held, name)):
                found[f"{module}.{name}"] = _parts(one)
    return found


def _parts(one: Any) -> list[str]:
    if not inspect.isclass(one):
        return list(inspect.signature(one).parameters) if inspect.isfunction(one) else []
    fields = {name for kind in one.__mro__ for name in inspect.get_annotations(kind)}
    taken = {} if issubclass(one, Exception) else inspect.signature(one).parameters
    return sorted(name for name in {*dir(one), *fields, *taken} if not name.startswith("_"))


def command_line() -> Document:
    """By command: its help, to read, and the options in it."""
    shown = command("--help").stdout
    commands = re.findall(r"^  (\w+) ", shown.partition("Commands:")[2], re.MULTILINE)
    helps = {"": shown} | {name: command(name, "--help").stdout for name in commands}
    return {
        f"rational-icl {name}".strip(): {"help": text, "options": sorted(set(_options(text)))}
        for name, text in helps.items()
    }


def _options(text: str) -> list[str]:
    lines = re.findall(r"^  (?:-\w, )?--.*", text.partition("Options:")[2], re.MULTILINE)
    return [word for line in lines for word in re.findall(r"--[\w-]+", line.split("   ")[0])]


# --- checks ----------------------------------------------------------------------------------


def shipped_checks(log: str) -> Document:
    """`check --json` of a shipped log."""
    done = command("check", "--json", DATA / log)
    return {"status": done.returncode, **_findings(json.loads(done.stdout))}


def damaged_checks(damage: str) -> Document:
    """What is found in a log that was made wrong in one way."""
    with tempfile.TemporaryDirectory() as folder:
        log = DAMAGED[damage](Path(folder))
        return _findings(ri.inspect_log(log, progress=False).to_dict())


def _findings(document: Mapping[str, Any]) -> Document:
    facts = ("run", "setting", "num_tasks", "seed", "planned", "packed", "sequences")
    where = ("severity", "kind", "run", "split", "steps")
    return {
        "exit_status": document["exit_status"],
        "runs": [{name: run[name] for name in facts} for run in document["runs"]],
        "findings": [{name: one[name] for name in where} for one in document["findings"]],
    }


# --- exact predictors ------------------------------------------------------------------------


def predictors(setting: str) -> Document:
    """Exact predictions of a drawn pool of tasks, evenly and unevenly frequent."""
    sizes = {"num_dims": 4, "context_length": 6}
    further = {"regression": {"noise_variance": 0.1}, "classification": dict(CLASSES)}
    made = ri.settings.make(setting, **sizes, **further.get(setting, {}))
    rng = np.random.default_rng(11)
    tasks, even = made.draw_tasks(rng, 5), np.full(5, 0.2)
    inputs = made.draw_inputs(rng, tasks[[0, 1, 4]], tasks, even)
    found: Document = {}
    for name, prob in (("even", None), ("uneven", np.array([0.4, 0.3, 0.15, 0.1, 0.05]))):
        known = ri.predictions(made, tasks, inputs, task_prob=prob)
        found[name] = {str(one): known.sel(strategy=one).values for one in known["strategy"].values}
    if setting == "regression":
        found["variances"] = ri.predictive_variances(made, tasks, inputs).values
    return found


CLASSES = {"within_class_variance": 0.5}


# --- cells -----------------------------------------------------------------------------------


def cells_of(log: str) -> Document:
    """Cells and behaviour of a log; divergences by value at fixed weights, not by what is kept."""
    cells, behaviour = summarized(log)
    fields = ("num_tasks", "step", "batch_size", "num_dims", "context_length")
    worth = ("loss", "loss_error", "complexity")
    document: Document = {
        "strategies": list(cells.strategies),
        "runs": list(behaviour.runs),
        "run": _thinned(behaviour.run),
        **{name: _thinned(getattr(cells, name)) for name in (*fields, *worth)},
    }
    numbers = ("relative_distance", "relative_distance_error", "best_weight")
    more = ("best_weight_covariance", "best_divergence", "interpolation_distance")
    for name, split in behaviour.splits.items():
        document[name] = {
            **{field: _thinned(getattr(split, field)) for field in (*numbers, *more)},
            "divergence": divergences(split.divergence, cells),
        }
    regions = ri.partition_cells(cells, behaviour)._asdict()
    document["regions"] = {name: np.flatnonzero(mask) for name, mask in regions.items()}
    return document


def divergences(divergence: Any, cells: ri.Cells) -> Document:
    """Of every cell, from mixtures of the same weights in all cells."""
    strategies = len(cells.strategies)
    corners = np.full((strategies, strategies), 1e-12)
    np.fill_diagonal(corners, 1 - 1e-12 * (strategies - 1))
    drawn = np.random.default_rng(5).dirichlet(np.ones(strategies), 3)
    chosen = {f"corner {k}": weight for k, weight in enumerate(corners)}
    chosen |= {"centre": np.full(strategies, 1 / strategies)}
    chosen |= {f"drawn {i}": weight for i, weight in enumerate(drawn)}
    with jax.enable_x64(True):
        value = eqx.filter_jit(lambda function, log_weight: function(log_weight))
        return {
            name: _thinned(value(divergence, np.tile(np.log(weight), (len(cells), 1))))
            for name, weight in chosen.items()
        }


def _thinned(values: Any, every: int = THIN["cells"]) -> Document:
    """One cell in so many, and mean and root mean square of all finite numbers, by column."""
    values = np.asarray(values)
    finite = np.isfinite(values)
    known = np.where(finite, values, 0.0)
    count = np.maximum(finite.sum(axis=0), 1)
    return {
        "cells": values[::every],
        "mean": known.sum(axis=0) / count,
        "size": np.sqrt((known**2).sum(axis=0) / count),
        "unknown": int((~finite).sum()),
    }


# --- fits and what is predicted from them ----------------------------------------------------


def fits(log: str) -> Document:
    """Every account on balls and urns; a few on other logs. The rational fit of some is saved."""
    cells, behaviour = summarized(log)
    found = {}
    for name in ri.accounts.names() if log == "urns" else FEW_ACCOUNTS:
        try:
            account = ri.accounts.make(name, cells.strategies)
            fit = ri.fit(account, cells, behaviour, num_starts=4, seed=0)
        except ri.FitError as error:
            found[name] = {"refused": str(error)}
            continue
        loose = {*fit.identifiability.undetermined, *fit.at_boundary}
        found[name] = {
            "objective": fit.objective,
            "params": {key: value for key, value in fit.params.items() if key not in loose},
            "loose_params": {key: fit.params[key] for key in sorted(loose)},
            "weight": np.exp(fit.log_weights(cells))[:: THIN["fits"]],
        }
        if name == "rational" and log in SAVED_FITS and WRITING:
            fit.save(FOLDER / f"fit_{log}.json")
    return found


WRITING: list[str] = []
"""Which parts are being written."""


def predicted(log: str) -> Document:
    """Phase diagram and crossovers of the fit that was saved when frozen."""
    fit = ri.load_fit(FOLDER / f"fit_{log}.json")
    phase = ri.phase_diagram(fit, GRID["num_tasks"], GRID["steps"])
    table = ri.crossovers(fit, [1, *GRID["num_tasks"]])
    return {
        "phase": {str(name): phase[name].values for name in phase.data_vars},
        "crossovers": {str(name): column.tolist() for name, column in table.items()},
    }


def compared(log: str) -> Document:
    """Three accounts under two schemes; times are left out."""
    accounts = ["rational", "logistic_surface", "constant_weights"]
    schemes = ["late_steps", "leave_one_num_tasks_out"]
    options: Document = {"schemes": schemes, "num_starts": 2, "seed": 0, "progress": False}
    found = ri.compare(accounts, *summarized(log), **options)
    frames = ("table", "runs", "crossover", "params", "transitions")
    return {name: _rows(getattr(found, name)) for name in frames}


def _rows(frame: Any) -> Document:
    """Columns of a table, with its rows in an order of their own."""
    keys = ["scheme", "held_out", "account", "run", "parameter", "num_tasks"]
    ordered = frame.sort_values([key for key in keys if key in frame])
    kept = [name for name in ordered if name != "seconds"]
    return {str(name): ordered[name].tolist() for name in kept}


def reported(log: str) -> Document:
    """report.json of a quick report, less versions, and the names of all its files."""
    with tempfile.TemporaryDirectory() as folder:
        done = command("report", DATA / log, "--quick", "--out", Path(folder) / "report")
        if done.returncode:
            raise RuntimeError(done.stderr)
        found = json.loads((Path(folder) / "report" / "report.json").read_text())
    del found["version"], found["provenance"]
    return {**found, "files": dict.fromkeys(found["files"], True)}


def sampled(log: str) -> Document:
    """A short chain of the rational account, and what is predicted from it."""
    plan: Document = {"num_chains": 1, "num_warmup": 50, "num_draws": 50, "adapt": False}
    cells, behaviour = summarized(log)
    account = ri.accounts.Rational()
    idata = ri.sample(account, cells, behaviour, seed=0, progress=False, **plan)
    posterior, seen = idata["posterior"], idata["observed_data"]
    single = [name for name in posterior.data_vars if posterior[name].ndim == 2]
    weight = ri.predict(idata, [64, 200], [1e3, 1e4])
    crossing = ri.predict_crossovers(idata, [64, 200])
    between = ri.predict_thresholds(idata, [1e3, 1e4], [8, 64, 512])
    found = {"weight": weight, "crossing": crossing, "threshold": between}
    shown = ("weight", "lower", "upper", "median", "never")
    found = {key: {k: one[k].values for k in shown if k in one} for key, one in found.items()}
    return {
        "variables": sorted(map(str, posterior.data_vars)),
        "mean": {str(name): posterior[name].values.mean() for name in single},
        "sd": {str(name): posterior[name].values.std() for name in single},
        "observed": {
            str(name): _thinned(seen[name].values, THIN["posterior"]) for name in seen.data_vars
        },
        **found,
    }


# --- parts, files and differences ------------------------------------------------------------


def _each(function: Callable[[str], Document], items: Any) -> dict[str, Callable[[], Document]]:
    return {item: partial(function, item) for item in items}


SETTINGS = ("categorical", "regression", "classification", "markov")
PARTS: dict[str, dict[str, Callable[[], Document]]] = {
    "names": {"python": public_names, "command line": command_line},
    "checks": _each(damaged_checks, DAMAGED) | _each(shipped_checks, LOGS),
    "predictors": _each(predictors, SETTINGS),
    "cells": _each(cells_of, LOGS),
    "fits": _each(fits, LOGS),
    "predictions": _each(predicted, SAVED_FITS),
    "comparison": _each(compared, ["urns"]),
    "report": _each(reported, ["urns"]),
    "posterior": _each(sampled, ["urns"]),
}


def computed(part: str, item: str) -> Document:
    """An item, computed now, as JSON would give it back."""
    return json.loads(json.dumps(PARTS[part][item](), default=_plain))


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist()


def _write(part: str, item: str, document: Document) -> None:
    held = {**frozen(part), item: document}
    rewrite(part, {name: held[name] for name in PARTS[part] if name in held})


def _show(part: str, item: str, document: Document) -> None:
    new = dict(leaves(document, f"{part}/{item}"))
    old = dict(leaves(frozen(part)[item], f"{part}/{item}"))
    moved = {key: apart(value, new.get(key)) for key, value in old.items()}
    worst = max(moved, key=lambda key: moved[key])
    count = sum(value > 0 for value in moved.values())
    print(f"{part}/{item}: {count} of {len(old)} moved, most {moved[worst]:.3g} at {worst}")


def main(*words: str) -> None:
    """Write the parts or items that are named, or with --diff say how far they have moved."""
    show = "--diff" in words
    for word in (word for word in words if word != "--diff"):
        part, _, item = word.partition("/")
        for name in [item] if item else PARTS[part]:
            WRITING[:] = [] if show else [part]
            (_show if show else _write)(part, name, computed(part, name))
            print(part, name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
