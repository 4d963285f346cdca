"""Writes files as `torch.save` does, without PyTorch: pickles that name what is in it."""

import io
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np

KINDS = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
}


class Tensor:
    """A view of `elements`, a one-dimensional array that several may share."""

    def __init__(self, elements, offset, size, strides):
        self.elements, self.offset, self.size, self.strides = elements, offset, size, strides

    def __reduce__(self):
        rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
        view = Storage(self.elements), self.offset, self.size, self.strides
        return rebuild, (*view, False, OrderedDict())


class Storage:
    def __init__(self, elements):
        self.elements = elements


def dense(array):
    """A tensor of its own storage."""
    array = np.ascontiguousarray(array)
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return Tensor(array.ravel(), 0, array.shape, strides)


@contextmanager
def named_modules():
    """Modules of PyTorch's names, so that a pickle refers to them."""
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*arguments):
        raise AssertionError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in KINDS.values():
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    sys.modules |= {"torch": torch, "torch._utils": utils}
    try:
        yield torch
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def save(file, tensors, legacy=False):
    """Writes a dictionary of `Tensor` and other things."""
    storages = {}
    with named_modules() as torch:

        class Pickler(pickle.Pickler):
            def persistent_id(self, thing):
                if not isinstance(thing, Storage):
                    return None
                elements = thing.elements
                key, _ = storages.setdefault(id(elements), (str(len(storages)), elements))
                kind = getattr(torch, KINDS[str(elements.dtype)])
                found = ("storage", kind, key, "cpu", len(elements))
                return (*found, None) if legacy else found

        stream = io.BytesIO()
        Pickler(stream, protocol=2).dump(tensors)
    if legacy:
        machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
        with file.open("wb") as opened:
            for thing in (0x1950A86A20F9469CFC6C, 1001, machine):
                pickle.dump(thing, opened, protocol=2)
            opened.write(stream.getvalue())
            pickle.dump([key for key, _ in storages.values()], opened, protocol=2)
            for _, elements in storages.values():
                opened.write(struct.pack("<q", len(elements)) + elements.tobytes())
        return
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        archive.writestr("archive/byteorder", "little")
        for key, elements in storages.values():
            archive.writestr(f"archive/data/{key}", elements.tobytes())
