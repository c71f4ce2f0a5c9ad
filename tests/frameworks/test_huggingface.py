"""The callback for the Hugging Face trainer, exercised with it."""

import copy
import subprocess
import sys
from pathlib import Path

import logging_checks
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs pip install 'transformers[torch]'")
transformers = pytest.importorskip("transformers", reason="needs pip install transformers")
pytest.importorskip("accelerate", reason="needs pip install 'transformers[torch]'")

import rational_icl as ri  # noqa: E402
from rational_icl.callbacks.huggingface import PredictionCallback  # noqa: E402
from rational_icl.logs import Run  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:::transformers"),
    pytest.mark.filterwarnings("ignore:::accelerate"),
    pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning"),
]


class Counts(torch.nn.Module):
    """Sums of embeddings so far, with dropout, logits, and a loss where labels are given."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(5, 8)
        self.dropout = torch.nn.Dropout(0.5)
        self.unembedding = torch.nn.Linear(8, 5)

    def forward(self, input_ids, labels=None):
        logits = self.unembedding(self.dropout(self.embedding(input_ids).cumsum(1)))
        if labels is None:
            return transformers.modeling_outputs.CausalLMOutput(logits=logits)
        loss = torch.nn.functional.cross_entropy(logits.mT, labels)
        return transformers.modeling_outputs.CausalLMOutput(loss=loss, logits=logits)


class Sequences(torch.utils.data.Dataset):
    """The training sequences of a run, one at a time."""

    def __init__(self, logger):
        self.logger = logger

    def __len__(self):
        return 400

    def __getitem__(self, index):
        step, sequence = divmod(index, 4)
        inputs = self.logger.training_batch(step + 1).inputs
        tokens = self.logger.setting.tokens(inputs)
        return {
            "input_ids": torch.tensor(tokens[sequence]).long(),
            "labels": torch.tensor(inputs[sequence]).long(),
        }


class Keeps(transformers.TrainerCallback):
    """Keeps the logits of steps 2, 4 and 8, and sees to it that training goes on in its mode.

    It is told of a step before the callback under test.
    """

    def __init__(self, logger):
        self.logger, self.logits, self.modes = logger, {}, set()

    def on_step_begin(self, args, state, control, model, **kwargs):
        if state.global_step:
            self.modes.add(model.dropout.training)

    def on_step_end(self, args, state, control, model, **kwargs):
        if state.global_step in (2, 4, 8):
            still = copy.deepcopy(model).eval()
            self.logits[state.global_step] = {
                split: by_hand(still, own) for split, own in self.logger.inputs.items()
            }


def by_hand(model, inputs) -> np.ndarray:
    """Logits of the four symbols after a start token and each symbol but the last."""
    tokens = torch.tensor(np.insert(inputs[:, :-1].astype(np.int64), 0, 4, axis=1))
    with torch.no_grad():
        stream = model.embedding(tokens).cumsum(1)
        return model.unembedding(stream)[:, :, :4].numpy()


def train(logger, weights, *, callback=None, resume=None, **options) -> Keeps:
    """Train to step 8, on from the given saved step."""
    torch.manual_seed(0)
    keeps = Keeps(logger)
    arguments = transformers.TrainingArguments(
        output_dir=str(weights), per_device_train_batch_size=4, learning_rate=0.1, save_steps=3,
        report_to="none", disable_tqdm=True, use_cpu=True, **{"max_steps": 8, **options},
    )  # fmt: skip
    trainer = transformers.Trainer(
        Counts(), arguments, train_dataset=Sequences(logger),
        callbacks=[keeps, callback or PredictionCallback(logger)],
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=resume and str(weights / f"checkpoint-{resume}"))
    return keeps


def test_the_trainer_logs_the_models_own_predictions(open_logger, tmp_path):
    keeps = train(open_logger(), tmp_path / "weights")
    logging_checks.differ(keeps.logits)
    logging_checks.hold(tmp_path / "D3-s0.zarr.zip", keeps.logits)
    assert keeps.modes == {True}


def test_a_step_of_several_batches_is_logged_once(open_logger, logged_steps, tmp_path):
    keeps = train(open_logger(), tmp_path / "weights", gradient_accumulation_steps=3)
    assert logged_steps == [2, 4, 8]
    logging_checks.hold(tmp_path / "D3-s0.zarr.zip", keeps.logits)


def test_a_stopped_trainer_goes_on_with_what_is_missing(open_logger, logged_steps, tmp_path):
    """Stopped after step 5, it goes on from the weights of step 3 and logs step 8 alone."""
    first = open_logger()
    before = train(first, tmp_path / "weights", max_steps=5)
    assert first.missing == [8]
    first.close()
    after = train(open_logger(), tmp_path / "weights", resume=3)
    assert set(after.logits) == {4, 8}
    assert logged_steps == [2, 4, 8]
    logging_checks.hold(tmp_path / "D3-s0.zarr.zip", {**after.logits, **before.logits})


def test_predictions_of_ones_own_take_the_place_of_the_default(open_logger, tmp_path):
    logger = open_logger(outputs="probabilities")
    even = np.full((6, 4), 0.25)
    own = PredictionCallback(logger, lambda model: lambda inputs: np.stack([even] * len(inputs)))
    train(logger, tmp_path / "weights", callback=own)
    run = Run(tmp_path / "D3-s0.zarr.zip")
    np.testing.assert_allclose(run.predictions("ood", 2), 0.25, atol=logging_checks.HALF)


def test_only_the_main_process_logs(open_logger, tmp_path, monkeypatch):
    monkeypatch.setattr(transformers.Trainer, "is_world_process_zero", lambda self: False)
    logger = open_logger()
    train(logger, tmp_path / "weights", callback=PredictionCallback(None))
    assert logger.missing == [2, 4, 8]


def test_a_main_process_without_a_logger_is_told(open_logger, tmp_path):
    with pytest.raises(ri.LogError, match="no logger in the main process"):
        train(open_logger(), tmp_path / "weights", callback=PredictionCallback(None))


def test_the_example_makes_a_log_also_after_a_stop(example, stopped, tmp_path):
    main = example("huggingface")["main"]
    main(tmp_path / "whole", (2,), 60)
    stopped(main, tmp_path / "logs", (2,), 60)
    assert 0 < len(Run(tmp_path / "logs" / "D2-s0.zarr").steps) < 20
    main(tmp_path / "logs", (2,), 60)
    logging_checks.accepted(tmp_path / "logs", 1)
    whole, resumed = (tmp_path / name / "D2-s0.zarr.zip" for name in ("whole", "logs"))
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.full
def test_of_two_processes_that_share_batches_one_logs(tmp_path):
    script = Path(__file__).with_name("two_processes.py")
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", str(script)]
    words += [str(tmp_path / "D3-s0.zarr"), str(tmp_path / "weights")]
    shown = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=180)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.count("processes: 2") == 2
    assert Run(tmp_path / "D3-s0.zarr.zip").steps.tolist() == [2, 4]


@pytest.mark.full
def test_the_examples_log_is_reported(example, tmp_path):
    example("huggingface")["main"](tmp_path / "logs", (2, 8, 32), 200)
    logging_checks.reported(tmp_path / "logs", tmp_path / "report")
