import contextlib
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch_files
from torch_files import Tensor, dense

from bot_jax.errors import InputError
from bot_jax.interop.torch_file import read_torch

BOTH = pytest.mark.parametrize("legacy", [False, True])


@BOTH
def test_views_are_what_they_show(tmp_path, legacy):
    shared = np.arange(24, dtype=np.float32)
    wide = shared.reshape(4, 6)
    tensors = {
        "whole": Tensor(shared, 0, (4, 6), (6, 1)),
        "transposed": Tensor(shared, 0, (6, 4), (1, 6)),
        "every second": Tensor(shared, 6, (3, 3), (6, 2)),
        "one number": Tensor(shared, 5, (), ()),
        "repeated": Tensor(shared, 2, (3, 2), (1, 0)),
        "empty": Tensor(shared, 24, (0, 6), (6, 1)),
        "half": dense(np.float16([1.5, -2])),
        "counter": dense(np.int64(7)),
    }
    torch_files.save(tmp_path / "a.pth", tensors, legacy)
    found = read_torch(tmp_path / "a.pth")
    expected = {
        "whole": wide,
        "transposed": wide.T,
        "every second": wide[1:, ::2],
        "one number": shared[5],
        "repeated": np.stack([shared[2:5]] * 2, axis=1),
        "empty": np.zeros((0, 6), np.float32),
        "half": np.float16([1.5, -2]),
        "counter": np.int64(7),
    }
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@BOTH
def test_the_tensors_inside_of_a_checkpoint(tmp_path, legacy):
    weights = {"module.a": dense(np.ones(2, np.float32)), "module.b": dense(np.float32(3))}
    file = tmp_path / "a.th"
    torch_files.save(file, {"best_prec1": 91.78, "epoch": 3, "state_dict": weights}, legacy)
    assert read_torch(file).keys() == {"a", "b"}


class Forbidden:
    """A pickle that would make a file if it were run."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


@BOTH
def test_what_is_no_tensor_is_refused_and_not_run(tmp_path, legacy):
    made = tmp_path / "made"
    tensors = {"a": dense(np.ones(2, np.float32)), "b": Forbidden(made)}
    torch_files.save(tmp_path / "a.pth", tensors, legacy)
    with pytest.raises(InputError, match=r"it names (_io|io)\.open, which is no tensor"):
        read_torch(tmp_path / "a.pth")
    assert not made.exists()


@BOTH
@pytest.mark.parametrize(
    ("size", "strides", "offset"),
    [((5,), (1,), 1), ((2, 2), (1, 4), 0), ((2,), (-1,), 3), ((3,), (1,), -1), ((2, 2), (1,), 0)],
)
def test_a_view_outside_of_its_storage_is_refused(tmp_path, legacy, size, strides, offset):
    elements = np.arange(5, dtype=np.float32)
    tensors = {"a": Tensor(elements, offset, size, strides)}
    torch_files.save(tmp_path / "a.pth", tensors, legacy)
    with pytest.raises(InputError, match="cannot be read as a file of PyTorch"):
        read_torch(tmp_path / "a.pth")


def test_a_few_elements_that_are_shown_too_often_are_refused(tmp_path):
    tensors = {"a": Tensor(np.ones(1, np.float32), 0, (2**20, 2**20), (0, 0))}
    torch_files.save(tmp_path / "a.pth", tensors)
    with pytest.raises(InputError, match="shows more elements"):
        read_torch(tmp_path / "a.pth")


@BOTH
def test_files_that_end_too_early(tmp_path, legacy):
    file = tmp_path / "a.pth"
    torch_files.save(file, {"a": dense(np.arange(100, dtype=np.float32))}, legacy)
    whole = file.read_bytes()
    for length in {0, 1, 10, 60, len(whole) // 2, len(whole) - 1}:
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.pth cannot be read"):
            read_torch(file)


@BOTH
def test_mutated_files_are_read_or_refused(tmp_path, legacy):
    file = tmp_path / "a.pth"
    torch_files.save(file, {"a": dense(np.arange(30, dtype=np.float32))}, legacy)
    whole, rng = bytearray(file.read_bytes()), np.random.default_rng(0)
    for _ in range(300):
        mutated = whole.copy()
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            mutated[place] = rng.integers(0, 256)
        file.write_bytes(mutated)
        with contextlib.suppress(InputError):
            read_torch(file)


@pytest.mark.parametrize("opcode", [pickle.LONG_BINPUT, pickle.PUT])
def test_a_number_that_would_take_gigabytes_is_refused(tmp_path, opcode):
    number = struct.pack("<I", 2**31) if opcode == pickle.LONG_BINPUT else b"2147483648\n"
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02}" + opcode + number + b".")
    with pytest.raises(InputError, match="numbers something 2,147,483,648"):
        read_torch(tmp_path / "a.pth")


def test_a_member_that_unpacks_to_more_than_it_says(tmp_path):
    file = tmp_path / "a.pth"
    torch_files.save(file, {"a": dense(np.ones(4, np.float32))})
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["archive/data/0"] = bytes(2**20)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(InputError, match="1,048,576 bytes for 4"):
        read_torch(file)


@pytest.mark.parametrize("thing", [[1, 2], {"a": 1}, {}, "text", {1: 2}])
def test_what_has_no_tensors(tmp_path, thing):
    file = tmp_path / "a.pth"
    torch_files.save(file, thing)
    with pytest.raises(InputError, match="no tensors by name"):
        read_torch(file)
    file.write_bytes(pickle.dumps(thing))
    with pytest.raises(InputError, match="cannot be read"):
        read_torch(file)


@BOTH
def test_files_of_pytorch_itself(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    x = torch.arange(24.0).reshape(4, 6)
    tensors = {"t": x.t(), "s": x[1:, ::2], "b": x.bfloat16(), "p": torch.nn.Parameter(x)}
    file = tmp_path / "a.pth"
    torch.save({"state_dict": tensors}, file, _use_new_zipfile_serialization=not legacy)
    found = read_torch(file)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(np.float32(found[name]), tensor.detach().float().numpy())
