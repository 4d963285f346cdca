"""Reads the files of `torch.save` without PyTorch, and without running anything in them.

Such a file is a pickle, which is a program: loading it plainly runs what its author wrote. Here it
may build dictionaries, lists, tuples, numbers and texts, and of PyTorch's things only tensors and
their storages; anything else that it names is refused before it is looked up.

Both layouts are read. Since PyTorch 1.6 a file is a zip archive: ARCHIVE/data.pkl, and a member
ARCHIVE/data/KEY of raw bytes for each storage. Before, it was a row of pickles (a magic number, a
version, the machine's byte order, the object, the keys of its storages), and then for each key a
number of elements, int64, and the elements.

A tensor is a view of a storage: an offset, a size and strides in elements. Views that overlap, are
transposed, or share a storage are read as what they show.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np

from bot_jax.errors import InputError

_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_VERSION = 1001
# Far above any image classifier.
_MAX_BYTES = 8 * 2**30
_MAX_TENSORS = 100_000
# A pickle numbers what it refers to again, and takes memory for the largest number.
_MAX_MEMO = 4_000_000

_STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class _Storage:
    """Elements of one type; those of a legacy file come after what refers to them."""

    def __init__(self, dtype, count):
        self.dtype, self.count, self.elements = np.dtype(dtype), count, None


class _Tensor:
    """A view of a storage, made into an array once the storage has its elements."""

    def __init__(self, storage, offset, size, strides):
        self.storage, self.offset, self.size, self.strides = storage, offset, size, strides

    def array(self):
        numbers = (self.offset, *self.size, *self.strides)
        if not all(type(x) is int and x >= 0 for x in numbers) or len(self.size) != len(
            self.strides
        ):
            raise ValueError("a tensor has an offset, size or strides that cannot be")
        if 0 in self.size:
            return np.zeros(self.size, self.storage.dtype)
        last = self.offset + sum((n - 1) * s for n, s in zip(self.size, self.strides, strict=True))
        elements = self.storage.elements
        if last >= len(elements):
            raise ValueError(f"a tensor ends at element {last:,} of {len(elements):,}")
        # A few elements can be shown very often, with strides of 0.
        if math.prod(self.size) * elements.itemsize > _MAX_BYTES:
            raise ValueError("a tensor shows more elements than any classifier has")
        strides = [stride * elements.itemsize for stride in self.strides]
        view = np.lib.stride_tricks.as_strided(
            elements[self.offset :], self.size, strides, writeable=False
        )
        return np.array(view)


def _rebuild_tensor(storage, offset, size, strides, *unused):
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, offset, tuple(size), tuple(strides))


def _rebuild_parameter(data, *unused):
    return data


def _ordered_dict(items=()):
    return dict(items)


_ALLOWED = {
    ("collections", "OrderedDict"): _ordered_dict,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    **{("torch", name): dtype for name, dtype in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """An unpickler that knows the names of `_ALLOWED` and no others."""

    def __init__(self, file, storage_of):
        super().__init__(file, encoding="utf-8")
        self._storage_of = storage_of

    def find_class(self, module, name):
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}, which is no tensor and is not run"
            ) from None

    def persistent_load(self, found):
        if type(found) is not tuple or len(found) < 5 or found[0] != "storage":
            raise pickle.UnpicklingError("it refers to something that is no storage")
        _, dtype, key, _, count, *view = found
        if view and view[0] is not None:
            raise pickle.UnpicklingError("it has views of storages, of a PyTorch before 0.4")
        if dtype not in _STORAGES.values() or type(key) is not str or type(count) is not int:
            raise pickle.UnpicklingError("it has a storage that cannot be")
        return self._storage_of(np.dtype(dtype), key, count)


def _unpickled(file, storage_of):
    """The next pickle of a file."""
    begin = file.tell()
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name.endswith("PUT") and argument > _MAX_MEMO:
            raise ValueError(f"it numbers something {argument:,}")
    file.seek(begin)
    return _Unpickler(file, storage_of).load()


def read_torch(file: Path) -> dict[str, np.ndarray]:
    """The tensors of a file, by name.

    Args:
      file: of `torch.save`: tensors by name, or a dictionary in which one entry, such as
        "state_dict", has those. A prefix "module." of `DataParallel` is taken off.

    Returns:
      name -> array, in the file's order; of the types of the file, bfloat16 as that of ml_dtypes.

    Raises:
      InputError: the file cannot be read, is damaged, or names something other than tensors.
    """
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"it has more than {_MAX_BYTES:,} bytes")
        found = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        tensors = _state_dict(found)
        return {name: tensor.array() for name, tensor in tensors.items()}
    except (
        *(pickle.UnpicklingError, ValueError, TypeError, KeyError, IndexError, AttributeError),
        *(EOFError, OSError, zipfile.BadZipFile, struct.error, RecursionError, MemoryError),
        *(OverflowError, NotImplementedError, RuntimeError),
    ) as error:
        text = str(error) or type(error).__name__
        raise InputError(f"{file} cannot be read as a file of PyTorch: {text}") from error


def _read_zip(file):
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
        (main,) = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        folder = main.removesuffix("data.pkl")
        if folder + "byteorder" in members and archive.read(folder + "byteorder") != b"little":
            raise ValueError("it was written by a machine of the other byte order")
        storages = {}

        def storage_of(dtype, key, count):
            if key not in storages:
                info = members[f"{folder}data/{key}"]
                # Checked before it is unpacked: a few bytes can say that they are very many.
                if info.file_size != count * dtype.itemsize or info.file_size > _MAX_BYTES:
                    raise ValueError(f"storage {key} has {info.file_size:,} bytes for {count:,}")
                storages[key] = _Storage(dtype, count)
                storages[key].elements = np.frombuffer(archive.read(info), dtype)
            elif (storages[key].dtype, storages[key].count) != (dtype, count):
                raise ValueError(f"storage {key} has two types")
            return storages[key]

        if members[main].file_size > 2**28:
            raise ValueError("its table of contents is too long")
        return _unpickled(io.BytesIO(archive.read(main)), storage_of)


def _read_legacy(file):
    storages, size = {}, file.stat().st_size

    def storage_of(dtype, key, count):
        return storages.setdefault(key, _Storage(dtype, count))

    with file.open("rb") as opened:
        for expected in (_MAGIC, _LEGACY_VERSION):
            if _unpickled(opened, storage_of) != expected:
                raise ValueError("it does not begin as one")
        machine = _unpickled(opened, storage_of)
        if machine.get("little_endian") is not True:
            raise ValueError("it was written by a machine of the other byte order")
        found = _unpickled(opened, storage_of)
        for key in _unpickled(opened, storage_of):
            storage = storages[key]
            (count,) = struct.unpack("<q", opened.read(8))
            if count != storage.count:
                raise ValueError(f"storage {key} has {count:,} elements for {storage.count:,}")
            # Before that much memory is taken.
            if not 0 <= count * storage.dtype.itemsize <= size - opened.tell():
                raise EOFError("it ends too early")
            storage.elements = np.fromfile(opened, storage.dtype, count)
    if any(storage.elements is None for storage in storages.values()):
        raise EOFError("it ends too early")
    return found


def _state_dict(found):
    """The tensors by name, where they are."""
    if not isinstance(found, dict):
        raise ValueError("it has no tensors by name")
    for name in ("state_dict", "model_state", "model", "state_dict_ema"):
        if isinstance(found.get(name), dict):
            return _state_dict(found[name])
    tensors = {name: value for name, value in found.items() if isinstance(value, _Tensor)}
    if not tensors or not all(type(name) is str for name in tensors):
        raise ValueError("it has no tensors by name")
    if len(tensors) > _MAX_TENSORS:
        raise ValueError("it has more tensors than any classifier")
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors
