from . import huggingface as huggingface
from . import lightning as lightning
from . import pytorch as pytorch
from .pytorch import torch_predictions as torch_predictions
