"""An exported program: the same logits, for any number and size of images, without this package."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest
from data_helpers import encode, smooth_image
from PIL import Image
from safetensors.numpy import load
from sklearn.datasets import load_sample_images

from bot_jax import artifact, export
from bot_jax.augment.normalize import normalize
from bot_jax.classifier import load_classifier
from bot_jax.data import crop
from bot_jax.errors import InputError
from bot_jax.models.registry import get_model
from bot_jax.state import initial_variables

NAMES = ("ant", "bee", "cat \N{CAT FACE}")


def make_weights(name, size, **options):
    """Weights that were drawn; what is 0 or 1 in the beginning is not."""
    model = get_model(name, num_classes=3, **options)
    variables = jax.device_get(jax.jit(lambda: initial_variables(model, size, 0))())
    rng = np.random.default_rng(0)

    def draw(path, x):
        is_small = x.ndim == 1 or path[-2].key == "head"
        return x + rng.uniform(0.1, 0.5, x.shape).astype(np.float32) if is_small else x

    variables = jax.tree_util.tree_map_with_path(draw, variables)
    return model, export.Weights(name, options, NAMES, size, 7, variables)


def own_logits(model, weights, images):
    """Of the model as the evaluation calls it."""
    compute = jax.jit(lambda v, x: model.apply(v, normalize(x), train=False))
    return np.asarray(compute(weights.variables, images.astype(np.float32)))


def random_images(count, size):
    return np.random.default_rng(count).integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.fixture(scope="module")
def tiny(tiny_model, tmp_path_factory):
    """The tiny model, its weights, and the artifact that the command made of their file."""
    folder = tmp_path_factory.mktemp("tiny")
    model, weights = make_weights(tiny_model, 8)
    export.write_weights(folder / "tiny.safetensors", weights)
    command = [str(folder / "tiny.safetensors"), str(folder / "tiny.zip"), "--eval-resize", "9"]
    assert export.main(command) == 0
    return model, weights, folder / "tiny.zip"


def test_it_says_what_it_is(tiny):
    _, weights, file = tiny
    with zipfile.ZipFile(file) as archive:
        facts = json.loads(archive.read("metadata.json"))
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert load(archive.read("weights.safetensors")).keys() >= {"params/head/kernel"}
    assert facts["class_names"] == list(NAMES)
    assert (facts["model"], facts["step"], facts["compute"]) == ("tiny", 7, "float32")
    assert facts["preprocessing"] == {
        "image_size": 8,
        "eval_resize": 9,
        "interpolation": "bilinear",
        "antialias": False,
        "apply_exif_orientation": False,
        "max_image_pixels": 178_956_970,
        "mean": [123.68, 116.779, 103.939],
        "standard_deviation": [58.393, 57.12, 57.375],
    }
    assert facts["versions"]["jax"] == jax.__version__
    classifier = artifact.read_artifact(file)
    assert classifier.class_names == NAMES
    assert classifier.preprocessing.eval_resize == 9
    np.testing.assert_array_equal(
        classifier.weights["params/conv/kernel"], weights.variables["params"]["conv"]["kernel"]
    )


def test_the_same_again_gives_the_same_bytes(tiny, tmp_path):
    _, _, file = tiny
    classifier = load_classifier(file.with_suffix(".safetensors"), eval_resize=9)
    artifact.write_artifact(tmp_path / "again.zip", classifier)
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()
    assert str(Path(artifact.__file__).parent).encode() not in file.read_bytes()


@pytest.mark.parametrize("count", [1, 3, 8])
def test_logits_of_any_number_of_images(tiny, count):
    model, weights, file = tiny
    images = random_images(count, 8)
    classifier = artifact.read_artifact(file)
    results = jax.jit(classifier.apply)(classifier.weights, images)
    expected = own_logits(model, weights, images)
    np.testing.assert_allclose(results["logits"], expected, rtol=1e-6, atol=1e-6)
    exponentials = np.exp(expected.astype(float) - expected.max(-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    np.testing.assert_allclose(results["probabilities"], probabilities, atol=1e-6)


def test_a_half_type_is_computed_in_it(tiny):
    model, weights, file = tiny
    images = random_images(4, 8)
    classifier = load_classifier(file.with_suffix(".safetensors"), compute="bfloat16")
    artifact.write_artifact(file.with_name("half.zip"), classifier)
    half = artifact.read_artifact(file.with_name("half.zip"))
    assert half.compute == "bfloat16"
    logits = jax.jit(half.apply)(half.weights, images)["logits"]
    assert logits.dtype == np.float32
    difference = np.abs(logits - own_logits(model, weights, images)).max()
    assert 1e-5 < difference < 0.1
    own = own_logits(get_model("tiny", num_classes=3, dtype="bfloat16"), weights, images)
    np.testing.assert_allclose(logits, own, atol=0.01)


# Runs what docs/export.md says, in a process that cannot import this package.
ALONE = """\
import sys
for name in ("bot_jax", "flax", "tensorflow", "safetensors"):
    sys.modules[name] = None
import numpy as np
images = np.load("images.npy")
{snippet}
np.savez("results.npz", **{{k: np.asarray(v) for k, v in results.items()}})
"""


def snippet():
    """The first block of Python in docs/export.md."""
    text = (Path(__file__).parents[1] / "docs" / "export.md").read_text()
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


def run_alone(file, images, folder):
    code = snippet().replace("model.zip", str(file))
    np.save(folder / "images.npy", images)
    (folder / "alone.py").write_text(ALONE.format(snippet=code))
    done = subprocess.run(
        [sys.executable, "-W", "error", "alone.py"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "results.npz") as results:
        return dict(results), done.stdout


def test_it_runs_without_this_package(tiny, tmp_path):
    model, weights, file = tiny
    images = random_images(3, 8)
    results, printed = run_alone(file, images, tmp_path)
    expected = own_logits(model, weights, images)
    np.testing.assert_allclose(results["logits"], expected, rtol=1e-5, atol=1e-5)
    assert NAMES[expected[0].argmax()] in printed


def test_images_of_any_size_are_prepared_inside(tiny):
    model, weights, file = tiny
    with zipfile.ZipFile(file) as archive:
        program = jax.export.deserialize(bytearray(archive.read("model_any_size.bin")))
        arrays = load(archive.read("weights.safetensors"))
    for count, height, width in ((2, 40, 67), (1, 33, 20)):
        images = np.stack([smooth_image(height, width, seed) for seed in range(count)])
        logits = jax.jit(program.call)(arrays, images)["logits"]
        prepared = [
            crop.resize_and_center_crop(
                x, 8, eval_resize=9, interpolation="bilinear", antialias=False
            )
            for x in images
        ]
        expected = own_logits(model, weights, np.stack(prepared))
        np.testing.assert_allclose(logits, expected, atol=0.02)  # a pixel may differ by 1
        assert np.abs(logits - own_logits(model, weights, images)).max() > 0.1


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("resnet20_cifar", 32),
        ("resnet18_d", 65),
        ("mobilenet_025", 64),
        pytest.param("inception_v3", 107, marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.slow
def test_every_kind_of_model(model, size, tmp_path):
    module, weights = make_weights(model, size)
    export.write_weights(tmp_path / "m.safetensors", weights)
    artifact.write_artifact(tmp_path / "m.zip", load_classifier(tmp_path / "m.safetensors"))
    images = random_images(2, size)
    results, _ = run_alone(tmp_path / "m.zip", images, tmp_path)
    expected = own_logits(module, weights, images)
    np.testing.assert_allclose(
        results["logits"], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.slow
def test_photographs_through_the_commands(tmp_path):
    """Exported and predicted in processes of their own, and run without this package."""
    module, weights = make_weights("resnet18_d", 64)
    export.write_weights(tmp_path / "m.safetensors", weights)
    folder, photographs = tmp_path / "photographs", load_sample_images()
    folder.mkdir()
    for name, pixels in zip(("china", "flower"), photographs.images, strict=True):
        Image.fromarray(pixels).save(folder / f"{name}.png")

    def command(*arguments):
        root = Path(__file__).parents[1]
        command = [sys.executable, "-m", *map(str, arguments)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    program = tmp_path / "m.zip"
    command("bot_jax.export", tmp_path / "m.safetensors", program, "--eval-resize", 73)
    printed = command("bot_jax.predict", folder, "--model", program, "--top", 3, "--json")
    prepared = np.stack(
        [
            crop.resize_and_center_crop(
                pixels, 64, eval_resize=73, interpolation="bilinear", antialias=False
            )
            for pixels in photographs.images
        ]
    )
    expected = own_logits(module, weights, prepared)
    found = [json.loads(line) for line in printed.splitlines()]
    assert [Path(one["image"]).name for one in found] == ["china.png", "flower.png"]
    for one, logits in zip(found, expected, strict=True):
        probabilities = np.exp(logits - logits.max())
        probabilities /= probabilities.sum()
        assert one["class"] == NAMES[logits.argmax()]
        assert [x["class"] for x in one["top"]] == [NAMES[i] for i in np.argsort(-logits)[:3]]
        assert one["probability"] == pytest.approx(probabilities.max(), abs=0.01)
    assert np.abs(expected[0] - expected[1]).max() > 1
    alone, _ = run_alone(program, prepared, tmp_path)
    np.testing.assert_allclose(
        alone["logits"], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


def rewritten(file, to, **changes):
    """A copy with other entries; None leaves one out."""
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(to, "w") as copy:
        for name in archive.namelist():
            content = changes.get(name.split(".")[0], archive.read(name))
            if content is not None:
                copy.writestr(name, content)
    return to


def facts_with(file, **changes):
    with zipfile.ZipFile(file) as archive:
        return json.dumps(json.loads(archive.read("metadata.json")) | changes)


def test_damaged_files_are_refused_in_words(tiny, tmp_path):
    _, _, file = tiny
    whole, broken = file.read_bytes(), tmp_path / "broken.zip"

    def refused(content, words):
        broken.write_bytes(content)
        with pytest.raises(InputError, match=words) as error:
            artifact.read_artifact(broken)
        assert str(broken) in str(error.value)

    cannot = "cannot be read as an exported model"
    for cut in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        refused(whole[:cut], cannot)
    place = whole.index(b"params/head/kernel")
    refused(whole[:place] + b"X" + whole[place + 1 :], "Bad CRC-32")
    refused(encode(smooth_image(8, 8), "PNG"), cannot)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": None}, r"it has no model\.bin"),
        ({"weights": None}, r"it has no weights\.safetensors"),
        ({"metadata": b"[]"}, "cannot be read as an exported model"),
        ({"metadata": b"{}"}, "cannot be read as an exported model: it has no 'format'"),
        ({"model": b"not a program"}, "has a program that cannot be used"),
        ({"weights": b"not weights"}, "cannot be read as an exported model"),
    ],
)
def test_files_of_something_else_are_refused_in_words(tiny, tmp_path, changes, words):
    _, _, file = tiny
    with pytest.raises(InputError, match=words):
        artifact.read_artifact(rewritten(file, tmp_path / "x.zip", **changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "it has format 2, and this version reads 1"),
        ({"class_names": "abc"}, "class_names is no list"),
        ({"class_names": [1, 2, 3]}, "class_names are no texts"),
        ({"class_names": ["a", "b"]}, "other images or classes than the metadata say"),
        ({"rejection": {"threshold": "high"}}, "is no number"),
        ({"preprocessing": {}}, "image_size"),
        ({"preprocessing": {"image_size": 16}}, "other images or classes than the metadata say"),
        ({"preprocessing": {"image_size": 8, "eval_resize": 7}}, "the centre crop would not fit"),
        ({"preprocessing": {"image_size": 8, "interpolation": "area"}}, "is not known"),
    ],
)
def test_metadata_of_something_else_are_refused_in_words(tiny, tmp_path, changes, words):
    _, _, file = tiny
    other = rewritten(file, tmp_path / "x.zip", metadata=facts_with(file, **changes))
    with pytest.raises(InputError, match=words):
        artifact.read_artifact(other)


def test_weights_of_another_model_are_refused(tiny, tmp_path, tiny_model):
    _, _, file = tiny
    _, other = make_weights(tiny_model, 8, batch_norm=False)
    other = rewritten(file, tmp_path / "x.zip", weights=export.weights_bytes(other))
    with pytest.raises(InputError, match="other weights than those in the file"):
        artifact.read_artifact(other)


def test_a_compressed_file_is_refused(tiny, tmp_path):
    _, _, file = tiny
    with zipfile.ZipFile(file) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as copy:
        for name, content in entries.items():
            copy.writestr(name, content)
    with pytest.raises(InputError, match="it is compressed"):
        artifact.read_artifact(tmp_path / "x.zip")
