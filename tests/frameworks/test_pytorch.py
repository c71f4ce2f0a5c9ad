"""Predictions of PyTorch models: the model's own, and nothing about the model has changed after."""

import copy
from types import SimpleNamespace

import logging_checks
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs pip install 'rational_icl[torch]'")
nn = torch.nn

import rational_icl as ri  # noqa: E402
from rational_icl.callbacks import torch_predictions  # noqa: E402
from rational_icl.logs import Run  # noqa: E402

SINGLE = 1e-6
"""Of a few sums in single precision, in another order."""


class Counts(nn.Module):
    """Sums of embeddings so far, dropout, logits of every token of a vocabulary."""

    def __init__(self, vocabulary: int = 5, width: int = 8):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(0.5)
        self.unembedding = nn.Linear(width, vocabulary)

    def forward(self, tokens):
        return self.unembedding(self.dropout(self.embedding(tokens).cumsum(1)))


class Linear(nn.Module):
    """One number after every vector token, from the token alone; its largest batch is kept."""

    def __init__(self, num_features: int = 3, **kind):
        super().__init__()
        self.linear = nn.Linear(num_features, 1, **kind)
        self.largest = 0

    def forward(self, tokens):
        self.largest = max(self.largest, len(tokens))
        return self.linear(tokens)


class Returns(nn.Module):
    """What it is told to, whatever it reads."""

    def __init__(self, output):
        super().__init__()
        self.output = output

    def forward(self, tokens):
        return self.output(tokens)


@pytest.fixture
def inputs(setting) -> np.ndarray:
    return np.random.default_rng(0).integers(setting.num_dims, size=(7, setting.context_length))


def by_hand(model: nn.Module, inputs: np.ndarray) -> np.ndarray:
    """Logits of the four symbols after a start token and each symbol but the last."""
    tokens = torch.tensor(np.insert(inputs[:, :-1].astype(np.int64), 0, 4, axis=1))
    with torch.no_grad():
        return copy.deepcopy(model).eval()(tokens)[:, :, :4].numpy()


def trained(logger: ri.PredictionLogger, steps: int = 8) -> dict[int, dict[str, np.ndarray]]:
    """Train and log as users do; the logits at every logged step, found by hand."""
    torch.manual_seed(0)
    model = Counts()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    logits = {}
    for step in range(1, steps + 1):
        inputs = logger.training_batch(step).inputs
        predicted = model(torch.tensor(logger.setting.tokens(inputs)))
        optimizer.zero_grad()
        nn.functional.cross_entropy(predicted.mT, torch.tensor(inputs).long()).backward()
        optimizer.step()
        if step in (2, 4, 8):
            logits[step] = {split: by_hand(model, own) for split, own in logger.inputs.items()}
        if logger.due(step):
            logger.log(step, torch_predictions(model, logger.setting))
    return logits


def test_a_plain_loop_logs_the_models_own_predictions(open_logger):
    logger = open_logger()
    logits = trained(logger)
    logging_checks.differ(logits)
    logging_checks.hold(logger.finish(), logits)


def test_a_stopped_loop_goes_on_to_the_same_log(open_logger, tmp_path):
    whole = open_logger()
    logits = trained(whole)
    uninterrupted = whole.finish().read_bytes()
    (tmp_path / "D3-s0.zarr.zip").unlink()

    stopped = open_logger()
    trained(stopped, steps=5)
    stopped.close()
    resumed = open_logger()
    assert resumed.missing == [8]
    trained(resumed)
    assert resumed.finish().read_bytes() == uninterrupted
    logging_checks.hold(tmp_path / "D3-s0.zarr.zip", logits)


def test_every_module_is_in_its_own_mode_afterwards(setting, inputs):
    model = nn.Sequential(Counts(), nn.Dropout())
    model[0].embedding.eval()  # kept frozen, as in fine-tuning
    before = [module.training for module in model.modules()]
    assert len(set(before)) == 2
    torch_predictions(model, setting)(inputs)
    assert [module.training for module in model.modules()] == before


def test_a_model_that_fails_is_in_its_own_mode_afterwards(setting, inputs):
    def fail(tokens):
        raise ZeroDivisionError("of the model")

    model = Returns(fail)
    with pytest.raises(ZeroDivisionError, match="of the model"):
        torch_predictions(model, setting)(inputs)
    assert model.training
    assert torch.is_grad_enabled()


def test_training_sees_the_random_numbers_it_would_have_seen(setting, inputs):
    model = Returns(lambda tokens: torch.randn(*tokens.shape, 4))
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    torch_predictions(model, setting)(inputs)
    assert torch.equal(torch.rand(4), expected)


def test_what_a_model_keeps_from_its_first_call_can_be_trained_through(setting, inputs):
    """A tensor made under `inference_mode` could not."""

    class Keeps(Counts):
        positions = None

        def forward(self, tokens):
            if self.positions is None:
                self.positions = torch.arange(tokens.shape[1]).float().outer(torch.ones(8))
            return self.unembedding(self.embedding(tokens) * self.positions)

    model = Keeps()
    torch_predictions(model, setting)(inputs)
    model(torch.tensor(setting.tokens(inputs))).sum().backward()
    assert model.embedding.weight.grad is not None


def test_no_graph_is_kept(setting, inputs):
    found = []
    model = Returns(lambda tokens: found.append(Counts()(tokens)) or found[-1])
    torch_predictions(model, setting)(inputs)
    assert not found[-1].requires_grad


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_batches_do_not_matter(setting, inputs, batch_size):
    torch.manual_seed(0)
    model = Counts()
    found = torch_predictions(model, setting, batch_size=batch_size)(inputs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(model, inputs), rtol=SINGLE, atol=SINGLE)


def test_a_batch_is_no_larger_than_asked_for():
    setting = ri.settings.make("regression", num_dims=2, context_length=4, noise_variance=0.5)
    model = Linear()
    torch_predictions(model, setting, batch_size=3)(np.ones((7, 4, 3)))
    assert model.largest == 3


@pytest.mark.parametrize("first_position", [0, 2])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
def test_a_number_is_read_out_where_its_question_is_asked(first_position, kind):
    setting = ri.settings.make(
        "regression", num_dims=2, context_length=4, noise_variance=0.5,
        first_position=first_position,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Linear(dtype=kind)
    inputs = np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float16)
    weight, bias = (one.detach().double().numpy() for one in model.linear.parameters())
    expected = inputs[:, first_position:, :2].astype(np.float64) @ weight[0, :2] + bias
    found = torch_predictions(model, setting)(inputs)
    tolerance = 2.0**-6 if kind == torch.bfloat16 else SINGLE
    np.testing.assert_allclose(found[..., 0], expected, rtol=tolerance, atol=tolerance)


def test_an_object_with_logits_is_understood(setting, inputs):
    model = Counts()
    wrapped = Returns(lambda tokens: SimpleNamespace(logits=model(tokens), loss=None))
    found = torch_predictions(wrapped.eval(), setting)(inputs)
    assert found.shape == (7, 6, 4)


def test_a_model_of_another_form_says_how_to_read_it(setting, inputs):
    torch.manual_seed(0)
    model = Counts()
    shifted = Returns(lambda tokens: {"scores": model(tokens - 10).flip(1)})
    model.eval()
    found = torch_predictions(
        shifted,
        setting,
        tokens=lambda inputs: setting.tokens(inputs) + 10,
        readout=lambda output: output["scores"].flip(1)[..., :4],
    )(inputs)
    np.testing.assert_allclose(found, by_hand(model, inputs), rtol=SINGLE, atol=SINGLE)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (lambda tokens: (torch.zeros(*tokens.shape, 4),), "a tuple; expected a tensor"),
        (lambda tokens: torch.zeros(*tokens.shape), r"shape \(7, 6\); expected a tensor"),
        (lambda tokens: torch.zeros(len(tokens), 5, 4), "with 6 tokens"),
        (lambda tokens: torch.zeros(*tokens.shape, 3), "outcome axis of 4, or 5 or more"),
    ],
)
def test_what_cannot_be_predictions_is_refused(setting, inputs, output, message):
    with pytest.raises(ri.LogError, match=message):
        torch_predictions(Returns(output), setting)(inputs)


def test_a_mean_beside_another_number_is_refused():
    setting = ri.settings.make("regression", num_dims=2, context_length=4, noise_variance=0.5)
    model = Returns(lambda tokens: torch.zeros(*tokens.shape[:2], 2))
    with pytest.raises(ri.LogError, match="outcome axis of 1;"):
        torch_predictions(model, setting)(np.ones((7, 4, 3)))


def test_options_that_make_no_sense_are_refused(setting, inputs):
    with pytest.raises(ri.LogError, match="batch_size is 0; expected at least 1"):
        torch_predictions(Counts(), setting, batch_size=0)
    wrong = torch_predictions(Counts(), setting, readout=lambda output: [output])
    with pytest.raises(ri.LogError, match="readout returned a list"):
        wrong(inputs)


def test_refused_predictions_leave_the_log_as_it_was(open_logger):
    logger = open_logger()
    model = Returns(lambda tokens: torch.full((*tokens.shape, 4), torch.nan))
    with pytest.raises(ri.LogError, match="NaN"):
        logger.log(2, torch_predictions(model, logger.setting))
    assert logger.due(2)


def test_the_example_makes_a_log(example, tmp_path):
    main = example("pytorch")["main"]
    main(tmp_path, (2, 4), 60)
    logging_checks.accepted(tmp_path, 2)
    assert Run(tmp_path / "D4-s0.zarr.zip").steps[-1] == 60


def test_the_example_passes_over_what_is_finished(example, logged_steps, tmp_path):
    main = example("pytorch")["main"]
    for _ in range(2):
        main(tmp_path, (2,), 60)
    assert len(logged_steps) == 20


@pytest.mark.full
def test_the_examples_log_is_reported(example, tmp_path):
    example("pytorch")["main"](tmp_path / "logs", (2, 8, 32), 200)
    logging_checks.reported(tmp_path / "logs", tmp_path / "report")
