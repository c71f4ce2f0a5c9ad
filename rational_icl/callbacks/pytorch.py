"""Predictions of a PyTorch model, in the form that `PredictionLogger.log` takes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float

from rational_icl._errors import LogError
from rational_icl.callbacks._frameworks import needed
from rational_icl.settings import Setting

with needed("torch", "'rational_icl[torch]'"):
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
        place = torch.device(device) if device is not None else example.device
        read = torch.tensor(np.asarray(to_tokens(inputs)))
        kind = example.dtype if read.is_floating_point() else torch.int64
        parts = []
        with _evaluating(model, place):
            for part in read.split(batch_size):
                output = model(part.to(place, kind))
                found = _own(readout(output)) if readout else _kept(output, setting, read.shape[1])
                parts.append(found.float().cpu())
        return torch.cat(parts).numpy()

    return predict


def _own(found: Any) -> torch.Tensor:
    if not isinstance(found, torch.Tensor):
        raise LogError(
            f"readout returned {_described(found)}; expected a tensor (sequence, position, outcome)"
        )
    return found


def _kept(output: Any, setting: Setting, num_tokens: int) -> torch.Tensor:
    found = getattr(output, "logits", output)
    if not isinstance(found, torch.Tensor) or found.ndim != 3 or found.shape[1] != num_tokens:
        raise LogError(
            f"the model returned {_described(found)}; expected a tensor (sequence, token, outcome) "
            f"with {num_tokens} tokens, or an object with such `logits`; for a model of another "
            "form give `readout`"
        )
    # a vocabulary also holds the start token, or more; numbers that are predicted hold nothing else
    num_outcomes, vocabulary = setting.num_outcomes, setting.vocabulary or setting.num_outcomes
    if found.shape[2] != num_outcomes and not num_outcomes < vocabulary <= found.shape[2]:
        expected = f"{num_outcomes}" + (f", or {vocabulary} or more" if setting.vocabulary else "")
        raise LogError(
            f"the model returned {_described(found)}; expected an outcome axis of {expected}; for "
            "a model of another form give `readout`"
        )
    return found[:, setting.readout][:, setting.first_position :, :num_outcomes]


def _described(found: Any) -> str:
    shape = f" of shape {tuple(found.shape)}" if isinstance(found, torch.Tensor) else ""
    return f"a {type(found).__name__}{shape}"


def _first_parameter(model: torch.nn.Module) -> torch.Tensor:
    parameters = (one for one in model.parameters() if one.is_floating_point())
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
