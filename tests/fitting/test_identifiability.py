"""What data leave free is said, whatever the account; what they determine is never called free."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpyro.distributions as dist
import pytest
from account_cases import FEW_ACCOUNTS
from synthetic import (
    DIVERSITIES,
    STEPS,
    TRUTH,
    evaluate,
    everything,
    make_cells,
    make_fit,
    mixed_behaviour,
)

from rational_icl import accounts
from rational_icl.accounts import Account, ConstantWeights, Rational
from rational_icl.cells.records import Behaviour, Cells
from rational_icl.fitting.fits import Fit, fit, load_fit
from rational_icl.fitting.identifiability import Identifiability
from rational_icl.prediction.crossovers import crossovers
from rational_icl.prediction.phases import MOST_SPREAD, phase_diagram

RECOVERY = 1e-3  # relative, as in the tests of fits
ROUNDING = 1e-9  # nats, between a compiled objective and one evaluated at natural parameters
SEEDS = range(5)
GRID = [2, 8, 32], [10.0, 300.0, 10_000.0, 1e6]
BEHAVIOURS: dict[tuple, tuple[Cells, Behaviour]] = {}


def world(
    steps: tuple[float, ...] = tuple(STEPS), num_strategies: int = 2, **truth: float
) -> tuple[Cells, Behaviour]:
    """Cells, and transformers that are the rational mixtures at some parameters; made once."""
    key = (steps, num_strategies, tuple(truth.items()))
    if key not in BEHAVIOURS:
        cells = make_cells(steps=steps, num_strategies=num_strategies)
        BEHAVIOURS[key] = (
            cells,
            mixed_behaviour(cells, make_fit(cells, None, **truth).log_weights(cells)),
        )
    return BEHAVIOURS[key]


def fitted(account: Account, cells: Cells, behaviour: Behaviour, **options: int) -> Fit:
    return fit(account, cells, behaviour, regions=everything(cells), **{"num_starts": 4, **options})


def identified(found: Fit) -> Identifiability:
    assert found.identifiability is not None
    return found.identifiability


class Hidden(Rational):
    """The rational account, and a parameter that no weight depends on."""

    name: ClassVar[str] = "hidden"
    kind: str = "positive"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        kinds = {
            "positive": dist.LogNormal(0.0, 1.0),
            "share": dist.Uniform(0.0, 1.0),
            "real": dist.Normal(0.0, 1.0),
        }
        return {**Rational().priors, "hidden": kinds[self.kind]}


class Doubled(Rational):
    """The rational account with γ as a product, of which only the product matters."""

    name: ClassVar[str] = "doubled"

    @property
    def priors(self) -> dict[str, dist.Distribution]:
        return {**Rational().priors, "factor": dist.LogNormal(0.0, 1.0)}

    def log_weights(self, params, cells):
        whole = {**params, "gamma": params["gamma"] * params["factor"]}
        return Rational().log_weights(whole, cells)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("kind", ["positive", "share", "real"])
def test_a_parameter_that_nothing_depends_on_is_free(kind: str, seed: int):
    found = fitted(Hidden(kind), *world(), seed=seed)
    known = identified(found)
    assert known.undetermined == ("hidden",)
    assert known.directions == ["hidden +1.00"]
    assert known.rank == len(found.params) - 1
    assert known.condition > 1e6
    low, high = known.spread["hidden"]
    assert low < found.params["hidden"] < high
    assert "hidden" in found.caution
    assert phase_diagram(found, *GRID)["determined"].all()  # no weight depends on it
    assert crossovers(found, GRID[0])["determined"].all()


def test_a_product_is_free_in_its_factors_and_no_prediction_depends_on_it():
    found = fitted(Doubled(), *world())
    assert identified(found).undetermined == ("gamma", "factor")
    (direction,) = identified(found).free.to_dict(orient="records")
    np.testing.assert_allclose(np.abs([direction["gamma"], direction["factor"]]), 0.5**0.5, 1e-3)
    assert direction["gamma"] * direction["factor"] < 0
    assert phase_diagram(found, *GRID)["determined"].all()


@pytest.mark.parametrize("num_strategies", [2, 3])
@pytest.mark.parametrize("truth", [(0.7, 0.2, 4.0), (0.3, 0.25, 0.2), (0.05, 0.4, 0.02)])
def test_what_data_determine_is_not_called_free(truth: tuple[float, ...], num_strategies: int):
    named = dict(zip(TRUTH, truth, strict=True))
    found = fitted(Rational(), *world(tuple(STEPS), num_strategies, **named))
    for name, value in named.items():
        np.testing.assert_allclose(found.params[name], value, rtol=RECOVERY)
    known = identified(found)
    assert (known.undetermined, known.rank, found.caution) == ((), 3, "")
    assert (known.num_steps, known.num_diversities) == (len(STEPS), len(DIVERSITIES))
    assert len(known.equal) == len(found.equal_fits) == 1
    assert phase_diagram(found, *GRID)["determined"].all()


@pytest.mark.parametrize(("step", "num_strategies"), [(100.0, 2), (1000.0, 3), (10_000.0, 2)])
def test_at_one_checkpoint_flagged_predictions_differ_and_others_agree(
    step: float, num_strategies: int
):
    cells, behaviour = world((step,), num_strategies)
    fits = [fitted(Rational(), cells, behaviour, num_starts=1, seed=seed) for seed in SEEDS]
    assert np.ptp([one.objective for one in fits]) < 1e-6
    assert np.ptp([one.params["alpha"] for one in fits]) > 0.1
    phases = [phase_diagram(one, GRID[0], [step, *GRID[1]]) for one in fits]
    weights = np.stack([phase["weight"].to_numpy() for phase in phases])
    between_seeds = np.ptp(weights, axis=0).max(axis=-1)
    for found, phase in zip(fits, phases, strict=True):
        assert set(identified(found).undetermined) >= {"alpha", "gamma"}
        assert identified(found).num_steps == 1
        assert "1 distinct step " in found.caution
        determined = phase["determined"].to_numpy()
        assert between_seeds[determined].max() <= MOST_SPREAD
        assert determined[:, phase["step"] == step].all()
        assert not determined.all()
        width = (phase["highest"] - phase["lowest"]).to_numpy().max(axis=-1)
        np.testing.assert_array_equal(determined, width <= MOST_SPREAD)
        assert between_seeds[~determined].max() > MOST_SPREAD


def test_crossovers_that_hang_on_free_directions_say_so():
    fits = [fitted(Rational(), *world((1000.0,)), num_starts=1, seed=seed) for seed in SEEDS]
    tables = [crossovers(one, DIVERSITIES) for one in fits]
    steps = np.log([table["predicted"] for table in tables])
    for table in tables:
        apart = np.ptp(steps, axis=0)[table["determined"].to_numpy()]
        assert (apart < np.log(1.1)).all()
        assert not table["determined"].all()
    assert crossovers(fitted(Rational(), *world()), DIVERSITIES)["determined"].all()


@pytest.mark.parametrize(
    "constant", [0.0, -80.0, 80.0], ids=["mixed", "generalizing", "memorizing"]
)
def test_weights_alike_in_all_cells_leave_parameters_free(constant: float):
    """In the plateau, and where all is memorized, no curve is seen."""
    cells = make_cells()
    odds = np.full(len(cells), constant)
    log_weight = -np.logaddexp(0.0, np.stack([-odds, odds], axis=1))
    found = fitted(Rational(), cells, mixed_behaviour(cells, log_weight))
    assert identified(found).rank < 3
    assert identified(found).undetermined


def test_two_neighbouring_checkpoints_count_as_little_more_than_one():
    found = fitted(Rational(), *world((1000.0, 1001.0)))
    assert identified(found).num_steps == 2
    assert set(identified(found).undetermined) == {"alpha", "gamma"}
    assert not identified(fitted(Rational(), *world((100.0, 10_000.0)))).undetermined


def test_more_parameters_than_pairs_of_step_and_diversity():
    cells = make_cells((4.0, 32.0), (1000.0,))
    behaviour = mixed_behaviour(cells, make_fit(cells).log_weights(cells))
    for name in ("rational", "logistic_surface_curved", "logistic"):
        found = fitted(accounts.make(name, cells.strategies), cells, behaviour)
        assert identified(found).rank <= 2 < len(found.params)
        assert identified(found).undetermined


@pytest.mark.parametrize("name", FEW_ACCOUNTS)
def test_at_one_checkpoint_all_accounts_say_what_is_determined(name: str, tmp_path: Path):
    check_account(name, (1000.0,), tmp_path)


@pytest.mark.parametrize("name", FEW_ACCOUNTS)
def test_all_accounts_say_what_is_determined(name: str, tmp_path: Path):
    check_account(name, tuple(STEPS[::3]), tmp_path)


def check_account(name: str, steps: tuple[float, ...], folder: Path) -> None:
    """What is said is of the right size, true of each equal fit, and kept in files."""
    cells, behaviour = world(steps)
    found = fitted(accounts.make(name, cells.strategies), cells, behaviour, num_starts=2)
    known = identified(found)
    assert len(known.eigenvalues) == len(found.params)
    assert known.rank + len(known.directions) == len(found.params)
    assert (known.num_steps, known.num_diversities) == (len(steps), len(DIVERSITIES))
    assert all(np.diff(known.eigenvalues) >= 0)
    divergence = behaviour.splits["id"].divergence
    for other in found.equal_fits:
        objective = evaluate(divergence, np.exp(other.log_weights(cells))).mean()
        assert objective <= found.objective + known.tolerance + ROUNDING
    if len(steps) == 1 and "alpha" in found.params and "gamma" in found.params:
        assert {"alpha", "gamma"} <= set(known.undetermined)
    found.save(folder / "fit.json")
    again = load_fit(folder / "fit.json")
    phase = phase_diagram(again, *GRID)
    assert phase.identical(phase_diagram(found, *GRID))
    assert (phase["lowest"] <= phase["weight"] + ROUNDING).all()
    assert (phase["highest"] >= phase["weight"] - ROUNDING).all()


def test_a_parameter_at_the_edge_of_its_range_is_not_said_to_be_free():
    """α ends at 0, where the objective is flat, and so do all fits as good."""
    cells = make_cells()
    # evidence that grows faster than the account has it
    weights = make_fit(make_cells(steps=STEPS**1.4), alpha=0.0, gamma=0.002).log_weights(
        make_cells(steps=STEPS**1.4)
    )
    found = fitted(Rational(), cells, mixed_behaviour(cells, weights))
    assert found.params["alpha"] < 1e-4
    assert found.at_boundary == ("alpha",)
    assert identified(found).undetermined == ("alpha",)
    assert found.caution == ""
    assert phase_diagram(found, *GRID)["determined"].all()


def test_files_of_earlier_releases_are_read_and_their_starts_taken(tmp_path: Path):
    found = fitted(Rational(), *world((1000.0,)))
    path = tmp_path / "fit.json"
    found.save(path)
    document = json.loads(path.read_text())
    assert document.pop("identifiability")["num_steps"] == 1
    path.write_text(json.dumps(document))
    old = load_fit(path)
    assert (old.identifiability, old.caution) == (None, "")
    assert not phase_diagram(old, *GRID)["determined"].all()  # four starts, equally good


def test_an_account_without_parameters_has_nothing_free():
    cells, behaviour = world()
    found = fitted(accounts.make("rational_fixed", cells.strategies), cells, behaviour)
    known = identified(found)
    assert (known.rank, known.condition, known.undetermined) == (0, 1.0, ())
    assert found.equal_fits == (found,)


def test_constant_weights_are_determined_by_any_data():
    found = fitted(ConstantWeights(2), *world((1000.0,)))
    assert identified(found).undetermined == ()
