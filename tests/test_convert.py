import numpy as np
import pytest
import torch_files
from test_interop_translate import variables_of

from bot_jax import convert, export
from bot_jax.interop.arrays import read_arrays, write_arrays
from bot_jax.interop.translate import to_theirs

NAMES = ("cat", "dog", "emu")


@pytest.fixture(scope="module")
def theirs():
    return to_theirs(variables_of("resnet18_b"), "resnet18_b", "timm")


def run(*arguments):
    return convert.main([str(argument) for argument in arguments])


@pytest.fixture
def classes(tmp_path):
    (tmp_path / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return tmp_path / "classes.txt"


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pth"])
def test_in_and_out_again(tmp_path, theirs, classes, capsys, suffix):
    source, ours, back = tmp_path / f"in{suffix}", tmp_path / "ours.safetensors", tmp_path / "b.npz"
    if suffix == ".pth":
        dense = {name: torch_files.dense(array) for name, array in theirs.items()}
        torch_files.save(source, {"state_dict": dense})
    else:
        write_arrays(source, theirs)
    names = ["--from", "timm", "--model", "resnet18_b", "--classes", classes]
    assert run(*names, "--image-size", 160, source, ours) == 0
    assert "resnet18_b, 3 classes" in capsys.readouterr().out
    weights = export.read_weights(ours)
    assert (weights.model, weights.class_names, weights.image_size) == ("resnet18_b", NAMES, 160)
    assert run("--to", "timm", ours, back) == 0
    found = read_arrays(back)
    assert found.keys() == theirs.keys()
    for name, array in theirs.items():
        np.testing.assert_array_equal(found[name], array)


def test_from_one_framework_to_another(tmp_path, theirs):
    write_arrays(tmp_path / "in.npz", theirs)
    names = ["--from", "timm", "--to", "gluoncv", "--model", "resnet18_b"]
    assert run(*names, tmp_path / "in.npz", tmp_path / "out.npz") == 0
    found = read_arrays(tmp_path / "out.npz")
    np.testing.assert_array_equal(found["layer1.0.bn1.gamma"], theirs["layer1.0.bn1.weight"])


@pytest.mark.parametrize(
    ("change", "flags", "words"),
    [
        ({}, ["--model", "resnet18_q"], "resnet18_q"),
        ({}, ["--model", "resnet18_d"], "missing"),
        ({"bn1.weight": np.zeros(3, np.float32)}, [], "of another shape"),
        ({"fc.bias": np.zeros(3, np.int64)}, [], "expected floating point"),
        ({}, ["--classes", "CLASSES"], "2 names for 3 classes"),
        ({}, ["--classes", "nowhere.txt"], "nowhere.txt cannot be read"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path, theirs, capsys, change, flags, words):
    (tmp_path / "CLASSES").write_text("a\nb\n")
    write_arrays(tmp_path / "in.npz", theirs | change)
    flags = [tmp_path / flag if flag == "CLASSES" else flag for flag in flags]
    flags = flags if "--model" in flags else ["--model", "resnet18_b", *flags]
    assert run("--from", "timm", *flags, tmp_path / "in.npz", tmp_path / "out.safetensors") == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npz", b"PK\x03\x04", "cannot be read"),
        ("a.safetensors", b"\x08", "cannot be read"),
        ("a.th", b"", "cannot be read"),
        ("a.params", b"", "the name must end in"),
        ("missing.npz", None, "there is no such file"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, capsys, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    names = ["--from", "timm", "--model", "resnet18_b"]
    assert run(*names, tmp_path / name, tmp_path / "out.safetensors") == 2
    assert words in capsys.readouterr().err


def test_an_array_of_objects_is_refused(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", **{"fc.bias": np.array([{}], object)})
    names = ["--from", "timm", "--model", "resnet18_b"]
    assert run(*names, tmp_path / "a.npz", tmp_path / "out.safetensors") == 2
    assert "allow_pickle=False" in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ["--from", "timm", "a", "b"],
        ["a", "b"],
        ["--to", "timm", "--model", "resnet18_b", "a", "b"],
        ["--from", "tim", "--model", "resnet18_b", "a", "b"],
    ],
)
def test_flags_that_do_not_go_together(flags):
    with pytest.raises(SystemExit) as stopped:
        convert.main(flags)
    assert stopped.value.code == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "model", "top1"),
    [
        ("resnet20-12fca82f.th", "resnet20_cifar", 81.0),
        ("resnet56-4bfd9763.th", "resnet56_cifar", 83.2),
    ],
)
def test_real_weights_reach_their_accuracy(shared_data, tmp_path, file, model, top1):
    """On 10,000 test images of CIFAR-10 that were encoded as JPEG."""
    import io
    import tarfile

    import jax
    from PIL import Image

    from bot_jax.augment.normalize import normalize
    from bot_jax.models.registry import get_model

    source, archive = shared_data.parent / "weights" / file, shared_data / "cifar10_jpeg.tar"
    if not (source.exists() and archive.exists()):
        pytest.skip("no weights, or no images")
    names = ["--from", "pytorch_resnet_cifar10", "--model", model]
    assert run(*names, source, tmp_path / "ours.safetensors") == 0
    images, labels = [], []
    with tarfile.open(archive) as opened:
        for member in opened:
            parts = member.name.split("/")
            if member.isfile() and "test" in parts:
                image = Image.open(io.BytesIO(opened.extractfile(member).read()))
                images.append(np.asarray(image.convert("RGB")))
                labels.append(parts[-2])
    weights = export.read_weights(tmp_path / "ours.safetensors")
    network = get_model(model, num_classes=10)
    apply = jax.jit(
        lambda x: network.apply(weights.variables, normalize(x.astype(np.float32)), train=False)
    )
    found = [np.argmax(apply(np.stack(images[i : i + 500])), 1) for i in range(0, len(images), 500)]
    classes = np.unique(labels, return_inverse=True)[1]
    assert len(images) == 10_000
    assert 100 * np.mean(np.concatenate(found) == classes) == pytest.approx(top1, abs=0.3)
