"""Models for use: what of a run goes with them, and what does not fit."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from bot_jax import export
from bot_jax.classifier import load_classifier, load_models
from bot_jax.errors import InputError
from bot_jax.preprocessing import Preprocessing


@pytest.fixture
def workdir(color_run, tmp_path):
    """A copy of the run of colours, to be changed."""
    shutil.copytree(color_run[0] / "workdir", tmp_path / "workdir")
    return tmp_path / "workdir"


def configure(workdir, part, **fields):
    config = json.loads((workdir / "config.json").read_text())
    config[part] |= fields
    (workdir / "config.json").write_text(json.dumps(config))


def test_a_run_brings_its_preprocessing_and_threshold(workdir):
    model = load_classifier(workdir)
    assert model.preprocessing == Preprocessing(8, 8)
    assert model.rejection == json.loads((workdir / "rejection.json").read_text())
    assert model.class_names == ("blue", "green", "red", "background")
    assert model.compute == "float32"
    configure(workdir, "data", eval_resize=0, interpolation="bicubic", antialias=True)
    configure(workdir, "data", apply_exif_orientation=True, max_image_pixels=10_000)
    expected = Preprocessing(8, 10, "bicubic", True, True, 10_000)
    assert load_classifier(workdir).preprocessing == expected
    changed = load_classifier(workdir, image_size=16, interpolation="bilinear")
    assert changed.preprocessing == Preprocessing(16, 19, "bilinear", True, True, 10_000)


def test_a_run_of_an_older_version_has_fewer_fields(workdir):
    config = json.loads((workdir / "config.json").read_text())
    for name in ("max_image_pixels", "background", "service"):
        del config["data"][name]
    (workdir / "config.json").write_text(json.dumps(config))
    (workdir / "rejection.json").unlink()
    model = load_classifier(workdir)
    assert model.preprocessing == Preprocessing(8, 8)
    assert model.rejection is None


def test_it_computes_in_the_dtype_of_the_run(workdir):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)

    def logits(model):
        return np.asarray(model.apply(model.weights, images)["logits"])

    plain = logits(load_classifier(workdir))
    configure(workdir, "precision", compute="bfloat16")
    half, asked = load_classifier(workdir), load_classifier(workdir, "float32")
    assert (half.compute, asked.compute) == ("bfloat16", "float32")
    assert np.abs(logits(half) - plain).max() > 1e-4
    np.testing.assert_array_equal(logits(asked), plain)


def test_a_file_of_weights_has_what_is_usual(workdir, tmp_path):
    file = tmp_path / "w.safetensors"
    export.write_weights(file, export.run_weights(workdir))
    model = load_classifier(file)
    assert model.preprocessing == Preprocessing(8, 10)
    assert (model.rejection, model.compute) == (None, "float32")
    assert load_classifier(file, eval_resize=8).preprocessing == Preprocessing(8, 8)
    one, other = load_models([file, workdir])
    for name, array in one.weights.items():
        np.testing.assert_array_equal(array, other.weights[name])


def test_weights_that_do_not_fit_are_refused(workdir, tmp_path):
    weights, file = export.run_weights(workdir), tmp_path / "w.safetensors"

    def refused(words, **changes):
        export.write_weights(file, dataclasses.replace(weights, **changes))
        with pytest.raises(InputError, match=words):
            load_classifier(file)

    refused("no model named 'small'", model="small")
    refused("has no option 'depth'", options={"depth": 3})
    refused("of which no model can be made", options={"num_classes": 5})
    refused(
        r"head/kernel: \(8, 4\) in the file, \(8, 3\) in the model", class_names=("a", "b", "c")
    )
    halved = jax.tree.map(lambda x: x[:1], weights.variables)
    refused("do not fit the model", variables=halved)
    with pytest.raises(InputError, match="nor a file"):
        load_classifier(tmp_path / "nowhere")
