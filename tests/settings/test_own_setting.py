"""A setting defined outside the package goes all the way from draws to a report."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import rational_icl as ri
from rational_icl import settings
from rational_icl.cli import main
from rational_icl.logs import Metadata, RunWriter
from rational_icl.settings.draws import evaluation_data
from rational_icl.train import Grid, Recipe, train_grid

EXAMPLE = Path(__file__).parents[2] / "analysis" / "coin_flips.py"
EXACT = 1e-12
RECIPE = Recipe(
    steps=4, num_checkpoints=2, first_checkpoint=2, batch_size=4, width=8, id_sequences=4,
    ood_sequences=3,
)  # fmt: skip
STEPS = (10, 20, 40, 80, 160, 320)


@pytest.fixture(scope="module")
def coin_flips() -> type[settings.Setting]:
    return runpy.run_path(str(EXAMPLE))["CoinFlips"]


@pytest.fixture
def setting(coin_flips) -> settings.Setting:
    return settings.make("coin_flips", num_dims=2, context_length=8, concentration=0.5)


@pytest.fixture
def logs(setting, tmp_path) -> Path:
    """Transformers that move from generalizing to memorizing, the later the more tasks."""
    for num_tasks in (2, 4, 8):
        data = evaluation_data(setting, num_tasks, 0, 16, 16)
        inputs = {split: drawn.inputs for split, drawn in data.splits.items()}
        meta = Metadata(setting, num_tasks, 8, 0)
        folder = tmp_path / "logs" / f"D{num_tasks}.zarr"
        writer = RunWriter(folder, meta, data.tasks, data.ood_tasks, inputs, STEPS)
        for checkpoint, step in enumerate(STEPS):
            share = step / (step + 20 * num_tasks)
            logged = {}
            for split, own in inputs.items():
                predicted = ri.predictions(setting, data.tasks, own).to_numpy()
                mixed = share * predicted[0] + (1 - share) * predicted[1]
                logged[split] = setting.outcome.to_logged(mixed)
            writer.write(checkpoint, logged)
    return tmp_path / "logs"


def test_the_definition_is_short():
    lines = EXAMPLE.read_text().splitlines()
    assert lines.index("def main(out: Path) -> None:") - lines.index("@register") < 80


@pytest.mark.full
def test_it_trains_and_logs(setting, tmp_path):
    train_grid(Grid(setting, (2, 4), (0,), RECIPE), tmp_path / "logs", progress=False)
    result = CliRunner().invoke(main, ["--load", str(EXAMPLE), "check", str(tmp_path / "logs")])
    assert result.exit_code == 0, result.output
    assert "2 runs, all sound" in result.output


def test_predictions_by_name_are_those_of_a_coin_flipper(coin_flips):
    tasks, inputs = np.array([0.1, 0.7]), np.array([[1, 1, 0, 1]], dtype=np.uint8)
    found = ri.predictions("coin_flips", tasks, inputs, concentration=0.5)
    for position in range(4):
        heads, seen = inputs[0, :position].sum(), position
        weight = tasks**heads * (1 - tasks) ** (seen - heads)
        memorizing = (weight * tasks).sum() / weight.sum()
        generalizing = (heads + 0.5) / (seen + 1)
        one = found.isel(sequence=0, position=position, outcome=1)
        assert float(one.sel(strategy="memorizing")) == pytest.approx(memorizing, abs=EXACT)
        assert float(one.sel(strategy="generalizing")) == pytest.approx(generalizing, abs=EXACT)


@pytest.mark.full
def test_its_logs_are_checked_fitted_and_reported(logs, tmp_path):
    words = ["--load", str(EXAMPLE), "report", str(logs), "--quick"]
    words += ["--out", str(tmp_path / "report")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "report" / "report.json").read_text())
    assert document["setting"] == "coin_flips"
    assert document["setting_parameters"]["concentration"] == 0.5
    page = (tmp_path / "report" / "index.html").read_text()
    assert "A pool of coins" in page


def test_a_name_that_is_taken_is_refused(coin_flips):
    class Impostor(coin_flips):
        name = "categorical"

    with pytest.raises(ValueError, match="already registered"):
        settings.register(Impostor)


def test_a_missing_file_is_one_sentence(tmp_path):
    result = CliRunner().invoke(main, ["--load", str(tmp_path / "no.py"), "check", str(tmp_path)])
    assert result.exit_code == 2
    assert "no such file" in result.output
    assert "Traceback" not in result.output


def test_a_setting_that_is_not_loaded_says_how(logs, monkeypatch):
    monkeypatch.delitem(settings._BY_NAME, "coin_flips")
    result = CliRunner().invoke(main, ["check", str(logs)])
    assert result.exit_code == 2
    assert "--load" in result.output


@pytest.mark.parametrize(
    "text", ["import nosuchmodule_", "def (", "x = 1 / 0", "raise SystemExit(3)"]
)
def test_an_error_in_a_loaded_file_is_one_sentence(tmp_path, text):
    file = tmp_path / "mine.py"
    file.write_text(text)
    result = CliRunner().invoke(main, ["--load", str(file), "check", str(tmp_path)])
    assert result.exit_code == 2
    assert "--load ran it" in result.output
    assert "Traceback" not in result.output


def test_a_setting_without_a_name_is_not_registered():
    with pytest.raises(ValueError, match="not a subclass of Setting"):
        settings.register(type("Nameless", (settings.Symbols,), {}))
