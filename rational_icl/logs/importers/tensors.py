"""Files of `torch.save` that hold one tensor: read without unpickling anything else.

Nothing else imports torch, an extra, and this only when such a file is read.
"""

import io
import math
import pickle
import pickletools
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rational_icl._errors import LogError
from rational_icl.logs import arrays, guards

_OLDEST = (2, 6)  # before, loading only weights could still run code
_INSTALL = "install it with pip install 'rational_icl[torch]'"
_MOST_PROGRAM_BYTES = 2**16
_NAMES = {
    "torch._utils _rebuild_tensor_v2",
    "torch BFloat16Storage",
    "torch HalfStorage",
    "torch FloatStorage",
    "torch DoubleStorage",
    "collections OrderedDict",
}
"""All that the file of one floating-point tensor refers to."""
_TYPES = {
    "BFloat16Storage": "V2",
    "HalfStorage": "<f2",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
}
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
    try:
        guards.check_archive(path, str(path))
        stored = _stored_bytes(path)
        # only weights: names are looked up in a list, and nothing is called that is not in it
        tensor = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (*guards.READ_ERRORS, pickle.UnpicklingError) as error:
        problem = str(error).partition("\n")[0]
        raise LogError(
            f"{path}: not a readable file of one tensor ({problem}); save it again with "
            "torch.save(outputs.detach().cpu(), path)"
        ) from None
    if type(tensor) is not torch.Tensor or tensor.layout is not torch.strided:
        raise LogError(f"{path}: holds a {type(tensor).__name__}; expected one tensor")
    if tuple(tensor.shape) != shape:
        raise LogError(f"{path}: shape {tuple(tensor.shape)}; expected ({words}) = {shape}")
    claimed = max(tensor.untyped_storage().nbytes(), math.prod(shape) * tensor.itemsize)
    if claimed > stored:
        raise LogError(f"{path}: claims more numbers than it holds; it is damaged, save it again")
    return np.array(tensor.detach().double().numpy())


def read_again(path: Path) -> np.ndarray:
    """The tensor of a file that `load` has read, float64, by its bytes and without torch."""
    with zipfile.ZipFile(path) as archive:
        (name,) = (one for one in archive.namelist() if one.endswith("/data.pkl"))
        storage, offset, shape, strides = _Described(io.BytesIO(archive.read(name))).load()
        raw = archive.read(f"{name.removesuffix('data.pkl')}data/{storage[2]}")
    values = arrays.plain(np.frombuffer(raw, dtype=_TYPES[storage[1]]), str(path))
    steps = tuple(step * values.itemsize for step in strides)
    return np.array(
        np.ndarray(shape, values.dtype, values.tobytes(), offset * values.itemsize, steps),
        dtype=np.float64,
    )


class _Described(pickle.Unpickler):
    """What a program says of its one tensor: storage, offset, shape, strides. No code runs."""

    def find_class(self, module: str, name: str) -> Any:
        if name == "_rebuild_tensor_v2":
            return lambda storage, offset, shape, strides, *_: (storage, offset, shape, strides)
        return dict if name == "OrderedDict" else name

    def persistent_load(self, pid: Any) -> Any:
        return pid


def _torch() -> ModuleType:
    try:
        import torch
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise LogError(f"reading .pt files needs torch; {_INSTALL}") from None
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    if version < _OLDEST:
        raise LogError(
            f"torch {torch.__version__} could run code in a .pt file; 2.6 or later is needed: "
            f"{_INSTALL}"
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
        if len(programs) != 1 or programs[0].file_size > _MOST_PROGRAM_BYTES:
            raise ValueError("no tensor, or far more than one")
        for operation, argument, _ in pickletools.genops(archive.read(programs[0])):
            if operation.name in _BY_NAME and argument not in _NAMES:
                raise ValueError(f"refers to {argument!r}, as no plain floating-point tensor does")
        folder = programs[0].filename.removesuffix("data.pkl") + "data/"
        return sum(entry.file_size for entry in entries if entry.filename.startswith(folder))
