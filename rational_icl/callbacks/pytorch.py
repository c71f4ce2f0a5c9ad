"""Predictions of a PyTorch model, in the form that `PredictionLogger.log` takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float

from rational_icl._errors import LogError
from rational_icl._extras import needed
from rational_icl.settings import Setting

with needed("this adapter", "torch", "'rational_icl[torch]'"):
    import torch


def torch_predictions(
    model: torch.nn.Module,
    setting: Setting,
    *,
    tokens: Callable[[np.ndarray], Any] | None = None,
    readout: Callable[[Any], torch.Tensor] | None = None,
    device: torch.device | str | None = None,
    batch_size: int = 128,
) -> Callable[[np.ndarray], Float[np.ndarray, "sequence position outcome"]]:
    """A function from inputs to what the model, as it is at the call, predicts for them.

        logger.log(step, torch_predictions(model, setting))

    The model is called in evaluation mode and without gradients. Afterwards the mode of each of its
    modules is what it was, also when it fails, and so are the random states of CPU and CUDA.

    Args:
        model: reads a batch of tokens (sequence, token, ...) and returns a tensor (sequence, token,
            outcome), or an object that has it as `logits`.
        setting: where the inputs come from.
        tokens: from inputs (sequence, position, ...) to what the model reads, an array of the same
            number of sequences; `setting.tokens` unless given. Integers become int64, real numbers
            the type of the model's parameters.
        readout: from what the model returns to (sequence, position, outcome), for models of another
            form; unless given, outputs after the tokens that `setting` predicts at, from
            `first_position` on, and without what else a vocabulary holds than outcomes.
        device: where the model is; that of its first parameter unless given.
        batch_size: sequences that the model reads at once.

    Returns:
        A function from inputs (sequence, position, ...) to float32 (sequence, position, outcome).
        It raises LogError when the model returns something of another form.

    Raises:
        LogError: batch_size is less than 1.
    """
    if batch_size < 1:
        raise LogError(f"batch_size is {batch_size}; expected at least 1")
    to_tokens = tokens or setting.tokens

    def predict(inputs: np.ndarray) -> np.ndarray:
        example = _first_parameter(model)
        target = torch.device(device) if device is not None else example.device
        sequences = torch.tensor(np.asarray(to_tokens(inputs)))
        dtype = example.dtype if sequences.is_floating_point() else torch.int64
        predictions = []
        with _evaluating(model, target):
            for batch in sequences.split(batch_size):
                output = model(batch.to(target, dtype))
                if readout:
                    predicted = _checked_readout(readout(output))
                else:
                    predicted = _default_readout(output, setting, sequences.shape[1])
                predictions.append(predicted.float().cpu())
        return torch.cat(predictions).numpy()

    return predict


def _checked_readout(predictions: Any) -> torch.Tensor:
    if not isinstance(predictions, torch.Tensor):
        raise LogError(
            f"readout returned {_described(predictions)}; expected a tensor (sequence, position, "
            "outcome)"
        )
    return predictions


def _default_readout(output: Any, setting: Setting, num_tokens: int) -> torch.Tensor:
    """Outputs after the tokens that the setting predicts at, for its outcomes alone."""
    logits = getattr(output, "logits", output)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 3 or logits.shape[1] != num_tokens:
        raise LogError(
            f"the model returned {_described(logits)}; expected a tensor (sequence, token, "
            f"outcome) with {num_tokens} tokens, or an object with such `logits`; for a model of "
            "another form give `readout`"
        )
    # a vocabulary also holds the start token, or more; numbers that are predicted hold nothing else
    num_outcomes, vocabulary = setting.num_outcomes, setting.vocabulary or setting.num_outcomes
    if logits.shape[2] != num_outcomes and not num_outcomes < vocabulary <= logits.shape[2]:
        expected = f"{num_outcomes}" + (f", or {vocabulary} or more" if setting.vocabulary else "")
        raise LogError(
            f"the model returned {_described(logits)}; expected an outcome axis of {expected}; for "
            "a model of another form give `readout`"
        )
    return logits[:, setting.readout][:, setting.first_position :, :num_outcomes]


def _described(output: Any) -> str:
    shape = f" of shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else ""
    return f"a {type(output).__name__}{shape}"


def _first_parameter(model: torch.nn.Module) -> torch.Tensor:
    parameters = (values for values in model.parameters() if values.is_floating_point())
    return next(parameters, torch.empty(0))


@contextmanager
def _evaluating(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    shared = [device] if device.type == "cuda" else []
    # not inference_mode: what a model caches at its first call there could not be trained through
    with torch.random.fork_rng(shared), torch.no_grad():
        try:
            model.eval()
            yield
        finally:
            for module, training in modes:  # train() would also wake modules that are kept frozen
                module.training = training
