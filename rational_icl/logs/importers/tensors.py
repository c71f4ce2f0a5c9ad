"""Files of `torch.save` that hold one tensor: read without unpickling anything else.

Nothing else imports torch, an extra, and this only when such a file is read.
"""

import math
import pickletools
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np

from rational_icl import _guards
from rational_icl._errors import LogError
from rational_icl._extras import needed

_MIN_VERSION = (2, 6)  # before, loading only weights could still run code
_EXTRA = "'rational_icl[torch]'"
_MAX_PROGRAM_BYTES = 2**16
_NAMES = {
    "torch._utils _rebuild_tensor_v2",
    "torch BFloat16Storage",
    "torch HalfStorage",
    "torch FloatStorage",
    "torch DoubleStorage",
    "collections OrderedDict",
}
"""All that the file of one floating-point tensor refers to."""
_BY_NAME = ("GLOBAL", "INST", "STACK_GLOBAL")


def load(path: Path, shape: tuple[int, ...], words: str) -> np.ndarray:
    """The one tensor of a `.pt` file, float64.

    Args:
        path: of the file.
        shape: what it must have.
        words: its axes, for the message.

    Raises:
        LogError: torch is missing or too old, the file is damaged, or holds anything but one
            tensor of floating-point numbers of that shape.
    """
    torch = _torch()
    cure = "save it again with torch.save(outputs.detach().cpu(), path)"
    with _guards.decoding(str(path), "not a readable file of one tensor", cure):
        _guards.check_archive(path, str(path))
        stored = _stored_bytes(path)
        # only weights: names are looked up in a list, and nothing is called that is not in it
        tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if type(tensor) is not torch.Tensor or tensor.layout is not torch.strided:
        raise LogError(f"{path}: holds a {type(tensor).__name__}; expected one tensor")
    if tuple(tensor.shape) != shape:
        raise LogError(f"{path}: shape {tuple(tensor.shape)}; expected ({words}) = {shape}")
    claimed = max(tensor.untyped_storage().nbytes(), math.prod(shape) * tensor.itemsize)
    if claimed > stored:
        raise LogError(f"{path}: claims more numbers than it holds; it is damaged, save it again")
    return np.array(tensor.detach().double().numpy())


def _torch() -> ModuleType:
    with needed("reading .pt files", "torch", _EXTRA):
        import torch
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < _MIN_VERSION:
        raise LogError(
            f"torch {torch.__version__} could run code in a .pt file; 2.6 or later is needed: "
            f"install it with pip install {_EXTRA}"
        )
    return torch


def _stored_bytes(path: Path) -> int:
    """How many bytes of numbers the file holds, once it has proved to describe one tensor.

    Raises:
        ValueError: it describes something else.
        BadZipFile: an entry is not the one that was saved.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise zipfile.BadZipFile("compressed, which torch.save never does")
        if damaged := archive.testzip():  # torch itself does not look at checksums
            raise zipfile.BadZipFile(f"checksum of {damaged!r} is wrong")
        programs = [entry for entry in entries if entry.filename.endswith("/data.pkl")]
        if len(programs) != 1 or programs[0].file_size > _MAX_PROGRAM_BYTES:
            raise ValueError("no tensor, or far more than one")
        for operation, argument, _ in pickletools.genops(archive.read(programs[0])):
            if operation.name in _BY_NAME and argument not in _NAMES:
                raise ValueError(f"refers to {argument!r}, as no plain floating-point tensor does")
        folder = programs[0].filename.removesuffix("data.pkl") + "data/"
        return sum(entry.file_size for entry in entries if entry.filename.startswith(folder))
