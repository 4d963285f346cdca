"""A SavedModel: the same logits by TensorFlow alone."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from data_helpers import smooth_image
from test_artifact import NAMES, make_weights, own_logits, random_images

from bot_jax import export
from bot_jax.data import crop

# What it takes to use it, where there is no JAX.
ALONE = """\
import sys
for name in ("bot_jax", "flax", "jax", "jaxlib", "safetensors"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf
model = tf.saved_model.load("model")
for name, signature in (("prepared", "serving_default"), ("photographs", "any_size")):
    with np.load(name + ".npz") as images:
        results = {}
        for key, value in images.items():
            both = model.signatures[signature](images=tf.constant(value))
            results |= {key: both["logits"], key + " probabilities": both["probabilities"]}
    np.savez(name + " results.npz", **results)
"""


def run_alone(folder, prepared, photographs):
    """Results of both signatures, of images by name."""
    np.savez(folder / "prepared.npz", **prepared)
    np.savez(folder / "photographs.npz", **photographs)
    (folder / "alone.py").write_text(ALONE)
    done = subprocess.run([sys.executable, "alone.py"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("prepared", "photographs"):
        with np.load(folder / f"{name} results.npz") as results:
            yield dict(results)


def written(name, size, folder):
    """A model, its weights, and folder/model, which the command wrote."""
    model, weights = make_weights(name, size)
    export.write_weights(folder / "w.safetensors", weights)
    command = [str(folder / "w.safetensors"), str(folder / "model"), "--format", "saved_model"]
    assert export.main([*command, "--eval-resize", str(size + 1)]) == 0
    return model, weights


def test_tensorflow_alone_gives_the_same(tiny_model, tmp_path, capsys):
    model, weights = written(tiny_model, 8, tmp_path)
    assert "tiny, 3 classes, float32, images of 8 pixels" in capsys.readouterr().out
    facts = json.loads((tmp_path / "model" / "assets.extra" / "metadata.json").read_text())
    assert facts["class_names"] == list(NAMES)
    assert facts["preprocessing"]["eval_resize"] == 9
    prepared = {str(count): random_images(count, 8) for count in (1, 3)}
    photographs = {
        f"{height}x{width}": smooth_image(height, width)[None]
        for height, width in ((40, 67), (33, 20))
    }
    results, of_photographs = run_alone(tmp_path, prepared, photographs)
    for key, images in prepared.items():
        expected = own_logits(model, weights, images)
        np.testing.assert_allclose(results[key], expected, rtol=1e-5, atol=1e-5)
        probabilities = np.asarray(jax.nn.softmax(expected))
        np.testing.assert_allclose(results[f"{key} probabilities"], probabilities, atol=1e-5)
    for key, images in photographs.items():
        view = crop.resize_and_center_crop(
            images[0], 8, eval_resize=9, interpolation="bilinear", antialias=False
        )
        expected = own_logits(model, weights, view.numpy()[None])
        np.testing.assert_allclose(of_photographs[key], expected, atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("resnet20_cifar", 32), ("resnet18_d", 65), ("mobilenet_025", 64)]
)
def test_every_kind_of_model(name, size, tmp_path):
    model, weights = written(name, size, tmp_path)
    images = random_images(2, size)
    results, _ = run_alone(tmp_path, {"two": images}, {})
    expected = own_logits(model, weights, images)
    np.testing.assert_allclose(
        results["two"], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("there", "is there already"),
        ("m.zip", "in neither, since that is a folder"),
        ("no/where/model", "cannot be written"),
    ],
)
def test_what_cannot_be_written_is_refused_in_words(name, words, tiny_model, tmp_path, capsys):
    _, weights = make_weights(tiny_model, 8)
    export.write_weights(tmp_path / "w.safetensors", weights)
    (tmp_path / "there").mkdir()
    (tmp_path / "no").write_text("a file")
    before = sorted(tmp_path.rglob("*"))
    command = [str(tmp_path / "w.safetensors"), str(tmp_path / name), "--format", "saved_model"]
    assert export.main(command) == 2
    assert words in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before
