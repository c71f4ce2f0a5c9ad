"""The callback for Lightning's trainer, exercised with it."""

import copy

import logging_checks
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs pip install lightning")
pl = pytest.importorskip("lightning.pytorch", reason="needs pip install lightning")

import rational_icl as ri  # noqa: E402
from rational_icl.callbacks.lightning import PredictionCallback  # noqa: E402
from rational_icl.logs import Run  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:::lightning")


class Module(pl.LightningModule):
    """Sums of embeddings so far, with dropout; keeps its logits at steps 2, 4 and 8."""

    def __init__(self, logger):
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.Embedding(5, 8), torch.nn.Dropout(0.5))
        self.unembedding = torch.nn.Linear(8, 5)
        self.own, self.kept = logger, {}

    def forward(self, tokens):
        return self.unembedding(self.model(tokens).cumsum(1))

    def training_step(self, batch):
        tokens, targets = batch
        return torch.nn.functional.cross_entropy(self(tokens).mT, targets)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)

    def optimizer_step(self, *args, **kwargs):
        """The one place where weights change; the step is counted right after."""
        super().optimizer_step(*args, **kwargs)
        if (step := self.trainer.global_step + 1) in (2, 4, 8):
            still = copy.deepcopy(dict(self.named_children()))
            self.kept[step] = {split: by_hand(still, own) for split, own in self.own.inputs.items()}

    def train_dataloader(self):
        for batch in range(1, 10_000):
            inputs = self.own.training_batch(batch).inputs
            yield torch.tensor(self.own.setting.tokens(inputs)), torch.tensor(inputs).long()


def by_hand(children, inputs) -> np.ndarray:
    """Logits of the four symbols after a start token and each symbol but the last."""
    tokens = torch.tensor(np.insert(inputs[:, :-1].astype(np.int64), 0, 4, axis=1))
    with torch.no_grad():
        stream = children["model"][0](tokens).cumsum(1)
        return children["unembedding"](stream)[:, :, :4].numpy()


def fit(logger, weights, *, callback=None, **options) -> Module:
    """Train a module to step 8, from its last saved weights on if there are any."""
    torch.manual_seed(0)
    module = Module(logger)
    saving = pl.callbacks.ModelCheckpoint(weights, save_last=True, every_n_train_steps=3)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[callback or PredictionCallback(logger), saving], **{"max_steps": 8, **options},
    )  # fmt: skip
    last = weights / "last.ckpt"
    trainer.fit(module, ckpt_path=last if last.exists() else None)
    return module


def test_the_trainer_logs_the_modules_own_predictions(open_logger, tmp_path):
    module = fit(open_logger(), tmp_path / "weights")
    logging_checks.differ(module.kept)
    logging_checks.hold(tmp_path / "D3-s0.zarr.zip", module.kept)


def test_a_step_of_several_batches_is_logged_once(open_logger, logged_steps, tmp_path):
    module = fit(open_logger(), tmp_path / "weights", accumulate_grad_batches=3)
    assert logged_steps == [2, 4, 8]
    logging_checks.hold(tmp_path / "D3-s0.zarr.zip", module.kept)


def test_a_stopped_trainer_goes_on_with_what_is_missing(open_logger, logged_steps, tmp_path):
    """Stopped after step 5, it goes on from the weights of step 3 and logs step 8 alone."""
    first = open_logger()
    before = fit(first, tmp_path / "weights", max_steps=5)
    assert first.missing == [8]
    first.close()
    after = fit(open_logger(), tmp_path / "weights")
    assert set(after.kept) == {4, 8}
    assert logged_steps == [2, 4, 8]
    logging_checks.hold(tmp_path / "D3-s0.zarr.zip", {**after.kept, **before.kept})


def test_training_goes_on_in_training_mode(open_logger, tmp_path):
    class Watching(PredictionCallback):
        modes = ()

        def on_train_batch_end(self, trainer, pl_module, *args):
            before = [one.training for one in pl_module.modules()]
            super().on_train_batch_end(trainer, pl_module, *args)
            assert all(before)
            assert [one.training for one in pl_module.modules()] == before
            self.modes += (trainer.global_step,)

    logger = open_logger()
    callback = Watching(logger)
    fit(logger, tmp_path / "weights", callback=callback)
    assert callback.modes == (1, 2, 3, 4, 5, 6, 7, 8)


def test_predictions_of_ones_own_take_the_place_of_forward(open_logger, tmp_path):
    logger = open_logger(outputs="probabilities")
    even = np.full((6, 4), 0.25)
    own = PredictionCallback(logger, lambda module: lambda inputs: np.stack([even] * len(inputs)))
    fit(logger, tmp_path / "weights", callback=own)
    run = Run(tmp_path / "D3-s0.zarr.zip")
    np.testing.assert_allclose(run.predictions("ood", 2), 0.25, atol=logging_checks.HALF)


def test_only_the_main_process_logs(open_logger, tmp_path, monkeypatch):
    monkeypatch.setattr(pl.Trainer, "is_global_zero", False)
    logger = open_logger()
    fit(logger, tmp_path / "weights", callback=PredictionCallback(None))
    assert logger.missing == [2, 4, 8]


def test_a_main_process_without_a_logger_is_told(open_logger, tmp_path):
    with pytest.raises(ri.LogError, match="no logger in the main process"):
        fit(open_logger(), tmp_path / "weights", callback=PredictionCallback(None))


def test_the_example_makes_a_log_also_after_a_stop(example, stopped, tmp_path):
    main = example("lightning")["main"]
    main(tmp_path / "whole", (2,), 60)
    stopped(main, tmp_path / "logs", (2,), 60)
    assert 0 < len(Run(tmp_path / "logs" / "D2-s0.zarr").steps) < 20
    main(tmp_path / "logs", (2,), 60)
    logging_checks.accepted(tmp_path / "logs", 1)
    whole, resumed = (tmp_path / name / "D2-s0.zarr.zip" for name in ("whole", "logs"))
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.full
def test_the_examples_log_is_reported(example, tmp_path):
    example("lightning")["main"](tmp_path / "logs", (2, 8, 32), 200)
    logging_checks.reported(tmp_path / "logs", tmp_path / "report")
