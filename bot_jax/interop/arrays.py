"""Files of arrays by name: safetensors, NumPy's .npz, and those of PyTorch, which are only read."""

import os
import zipfile
from pathlib import Path

import numpy as np

from bot_jax.errors import InputError
from bot_jax.interop.torch_file import read_torch

_TORCH = (".pth", ".th", ".pt", ".bin")
_MAX_BYTES = 8 * 2**30


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, by name; its ending says what it is. Nothing in it is run.

    Raises:
      InputError: there is no such file, its ending is another one, or it is damaged.
    """
    if not file.is_file():
        raise InputError(f"{file}: there is no such file.")
    if file.suffix in _TORCH:
        return read_torch(file)
    readers = {".safetensors": _read_safetensors, ".npz": _read_npz}
    if file.suffix not in readers:
        raise InputError(
            f"{file}: the name must end in {', '.join([*readers, *_TORCH])}. "
            "A file of MXNet (.params) or Paddle (.pdparams) is written as .npz there first: "
            "docs/weights.md."
        )
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
        return readers[file.suffix](file)
    except Exception as error:  # safetensors and zipfile raise several kinds for a broken file
        raise InputError(f"{file} cannot be read: {error}") from error


def _read_safetensors(file):
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def _read_npz(file):
    with zipfile.ZipFile(file) as archive:
        # Before anything is unpacked: a few bytes can say that they are very many.
        if sum(info.file_size for info in archive.infolist()) > _MAX_BYTES:
            raise ValueError(f"it unpacks to more than {_MAX_BYTES:,} bytes")
    with np.load(file, allow_pickle=False) as opened:
        return {name: opened[name] for name in opened.files}


def write_arrays(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes arrays by name, at once; the ending is .safetensors or .npz.

    Raises:
      InputError: another ending.
    """
    temporary = file.with_name(f"{file.name}.tmp")
    if file.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(arrays, temporary)
    elif file.suffix == ".npz":
        with temporary.open("wb") as opened:
            np.savez(opened, **arrays)
    else:
        raise InputError(
            f"{file}: the name of what is written must end in .safetensors or .npz. "
            "`safetensors.torch.load_file` gives PyTorch what it wants."
        )
    os.replace(temporary, file)
