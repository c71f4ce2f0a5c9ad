"""The in-context posterior: weights follow realised losses, nothing a predictor cannot know."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

import rational_icl as ri
from rational_icl.fitting.in_context import context_log_weights
from rational_icl.logs import Metadata, RunWriter
from rational_icl.settings import Setting, make
from rational_icl.settings.draws import evaluation_data

IDENTITY = 1e-12
FLOOR = 1e-6  # nats: half precision, and a rate that only tends to zero
RATE = 0.02  # of ρ and of divergences that are floored by half precision

TRUTH = {"alpha": 0.6, "beta": 0.2, "gamma": 5.0}
STEPS = (5, 20, 80, 320, 1280)
WORLDS = [
    make("categorical", num_dims=4, context_length=12),
    make("regression", num_dims=3, context_length=8, noise_variance=0.25),
]


def in_context_mixture(log_weight, loss, rate: float, predicted):
    """Slow: at every position, weights from the losses before it."""
    mixed = np.zeros(predicted.shape[1:])
    for sequence in range(predicted.shape[1]):
        for position in range(predicted.shape[2]):
            score = log_weight - rate * loss[:, sequence, :position].sum(axis=1)
            weight = np.exp(score - logsumexp(score))
            mixed[sequence, position] = np.einsum(
                "k,ko->o", weight, predicted[:, sequence, position]
            )
    return mixed


def written_log(folder: Path, setting: Setting, rate: float) -> ri.Log:
    """Transformers that are the rational account with weights that move at `rate`."""
    for num_tasks in (2, 8, 32):
        data = evaluation_data(setting, num_tasks, 0, 12, 8)
        meta = Metadata(setting, num_tasks, 16, 0)
        inputs = {split: drawn.inputs for split, drawn in data.splits.items()}
        writer = RunWriter(
            folder / f"D{num_tasks}.zarr", meta, data.tasks, data.ood_tasks, inputs, STEPS
        )
        gap, bits = 0.3 * num_tasks**-0.4, 64.0 * num_tasks * setting.num_dims
        writer.write_overrides(
            ["memorizing", "generalizing"], [0.01, 0.01 + gap], [4200 + bits, 3864]
        )
        for checkpoint, step in enumerate(STEPS):
            score = np.array([0.0, -TRUTH["gamma"] * step ** (1 - TRUTH["alpha"]) * gap])
            score -= np.log(2) * np.array([4200 + bits, 3864]) ** TRUTH["beta"]
            logged = {}
            for split, own in inputs.items():
                names = ("memorizing", "generalizing")
                predicted = ri.predictions(setting, data.tasks, own, names).to_numpy()
                came = setting.outcome.realised(setting.observed(own), setting.num_outcomes)
                loss = setting.outcome.divergence(came, predicted)
                mixed = in_context_mixture(score - logsumexp(score), loss, rate, predicted)
                logged[split] = setting.outcome.to_logged(mixed)
            writer.write(checkpoint, logged)
    return ri.open_log(folder)


def fitted(log: ri.Log):
    cells, behaviour = ri.summarize(log, progress=False)
    everything = np.ones(len(cells), dtype=bool)
    regions = ri.Regions(everything, ~everything, ~everything)
    fit = ri.fit(ri.accounts.Rational(), cells, behaviour, regions=regions, num_starts=4)
    return ri.fit_in_context(log, cells, behaviour, fit, progress=False), fit


@pytest.mark.full
@pytest.mark.parametrize(
    ("setting", "rate"), [(WORLDS[0], 0.0), (WORLDS[0], 0.4), (WORLDS[1], 0.4)]
)
def test_a_known_rate_is_recovered(tmp_path, setting, rate):
    found, fit = fitted(written_log(tmp_path, setting, rate))
    assert found.rate == pytest.approx(rate, abs=RATE)
    assert found.objective <= fit.objective + FLOOR
    assert found.objective == pytest.approx(found.frame["in_context_id"].mean(), rel=1e-9)
    if rate:
        assert found.objective < 0.1 * fit.objective
        assert found.params["alpha"] == pytest.approx(TRUTH["alpha"], abs=5 * RATE)


def test_weights_against_the_slow_loop():
    rng = np.random.default_rng(0)
    loss = rng.random((3, 4, 6))
    log_weight = np.log(rng.dirichlet(np.ones(3)))
    found = np.asarray(context_log_weights(log_weight, loss, 0.7))
    for position in range(6):
        score = log_weight[:, None] - 0.7 * loss[:, :, :position].sum(axis=2)
        expected = score - logsumexp(score, axis=0)
        np.testing.assert_allclose(found[:, :, position], expected, atol=1e-6)  # float32 outside


def test_losses_are_of_what_came_and_not_of_the_true_task(tmp_path):
    setting = WORLDS[0]
    run = written_log(tmp_path, setting, 0.0)["D8"]
    predicted = ri.predictions(setting, run.tasks, run.inputs("id")).to_numpy()
    loss = ri.realised_losses(run, "id", predicted)
    symbols = run.inputs("id").astype(int)
    for strategy, sequence, position in ((0, 1, 2), (1, 3, 5), (2, 0, 0)):
        came = symbols[sequence, position]
        expected = -np.log(predicted[strategy, sequence, position, came])
        assert loss[strategy, sequence, position] == pytest.approx(expected, abs=IDENTITY)


def test_one_prediction_a_sequence_is_refused(tmp_path):
    setting = make("classification", num_dims=3, context_length=4, within_class_variance=0.5)
    for num_tasks in (4, 8):
        data = evaluation_data(setting, num_tasks, 0, 8, 8)
        targets = {
            split: setting.targets(drawn.tasks, drawn.inputs)[:, 0]
            for split, drawn in data.splits.items()
        }
        inputs = {split: drawn.inputs for split, drawn in data.splits.items()}
        meta = Metadata(setting, num_tasks, 8, 0)
        folder = tmp_path / f"D{num_tasks}.zarr"
        writer = RunWriter(folder, meta, data.tasks, data.ood_tasks, inputs, STEPS, targets=targets)
        for checkpoint in range(len(STEPS)):
            writer.write(checkpoint, {s: np.full((8, 1, 2), np.log(0.5)) for s in inputs})
    log = ri.open_log(tmp_path)
    cells, behaviour = ri.summarize(log, progress=False)
    assert set(behaviour.splits) == {"id", "ood", "iwl"}
    everything = np.ones(len(cells), dtype=bool)
    regions = ri.Regions(everything, ~everything, ~everything)
    fit = ri.fit(ri.accounts.Rational(), cells, behaviour, regions=regions, num_starts=1)
    with pytest.raises(ri.FitError, match="one position a sequence"):
        ri.fit_in_context(log, cells, behaviour, fit, progress=False)
