"""Adapters from training frameworks to `PredictionLogger`: predictions of a model, and callbacks.

| training loop | adapter |
|---|---|
| plain PyTorch | `torch_predictions` |
| Hugging Face `Trainer` | `huggingface.PredictionCallback` |
| Lightning `Trainer` | `lightning.PredictionCallback` |
| plain JAX, or any other | none: a function of inputs is all that `PredictionLogger.log` takes |

A framework is imported when its adapter is first used, and a missing one says how to install it.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submodules=["huggingface", "lightning", "pytorch"],
    submod_attrs={"pytorch": ["torch_predictions"]},
)
