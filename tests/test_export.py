"""Weights as a file: what is written comes back, and what is no such file is refused."""

import json

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bot_jax import export, train, workdir
from bot_jax.checkpoint import Checkpoints
from bot_jax.errors import InputError
from bot_jax.setup import make_setup


@pytest.fixture(scope="module")
def run(make_tiny_config, tmp_path_factory):
    """A finished run whose weights are averaged, and its directory."""
    config = make_tiny_config()
    config.ema_decay = 0.9
    directory = tmp_path_factory.mktemp("run") / "run"
    train.train(config, directory)
    return config, directory


def test_a_run_comes_back_from_its_file(run, tmp_path, capsys):
    _, directory = run
    file = tmp_path / "tiny.safetensors"
    assert export.main([str(directory), str(file)]) == 0
    assert "tiny, 10 classes" in capsys.readouterr().out
    weights = export.read_weights(file)
    assert (weights.model, weights.options, weights.image_size) == ("tiny", {}, 8)
    assert weights.class_names == tuple(map(str, range(10)))
    own = export.run_weights(directory)
    for one, other in zip(
        jax.tree.leaves(weights.variables), jax.tree.leaves(own.variables), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_the_file_is_plain_safetensors_of_the_averaged_weights(run, tmp_path):
    config, directory = run
    file = tmp_path / "tiny.safetensors"
    export.write_weights(file, export.run_weights(directory))
    arrays = load_file(file)
    assert {"params/conv/kernel", "params/head/bias", "batch_stats/bn/var"} <= arrays.keys()
    assert {a.dtype for a in arrays.values()} == {np.dtype("float32")}

    setup = make_setup(config)
    with Checkpoints(directory / "checkpoints", read_only=True) as checkpoints:
        saved = checkpoints.restore(setup.state_shapes, setup.layout)
    averaged, last = saved.ema["params"], saved.params
    np.testing.assert_array_equal(arrays["params/head/kernel"], averaged["head"]["kernel"])
    assert np.abs(arrays["params/head/kernel"] - last["head"]["kernel"]).max() > 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda file: None, "cannot be read"),
        (lambda file: file.write_bytes(b"not weights"), "cannot be read"),
        (lambda file: save_file({"w": np.zeros(3)}, file), "does not say which model"),
    ],
)
def test_other_files_are_refused_in_words(tmp_path, make, words):
    file = tmp_path / "x.safetensors"
    make(file)
    with pytest.raises(InputError, match=words):
        export.read_weights(file)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere", "x.safetensors"], "not the --workdir of a run"),
        (["nowhere", "x.bin"], "must end in .safetensors"),
        (["nowhere", "no/where/x.safetensors"], "not the --workdir of a run"),
        (["nowhere", "x.zip"], "not the --workdir of a run"),
        (["nowhere", "x.safetensors", "--eval-resize", "9"], "--eval-resize is for programs"),
        (["nowhere", "x.safetensors", "--no-antialias"], "--antialias is for programs"),
    ],
)
def test_wrong_arguments_are_refused_in_words(arguments, words, capsys):
    assert export.main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_program_that_cannot_be_written_or_meant(run, tmp_path, capsys):
    _, directory = run
    assert export.main([str(directory), str(tmp_path / "no/where.zip")]) == 2
    assert "where.zip cannot be written" in capsys.readouterr().err
    assert export.main([str(directory), str(tmp_path / "x.zip"), "--eval-resize", "7"]) == 2
    assert "the centre crop would not fit" in capsys.readouterr().err
    assert export.main([str(directory), str(tmp_path / "x.zip"), "--image-size", "16"]) == 0
    printed = capsys.readouterr().out
    assert "tiny, 10 classes, float32, images of 16 pixels cut from 19 (bilinear)" in printed
    assert [file.name for file in tmp_path.iterdir()] == ["x.zip"]


def test_class_names_are_those_of_the_run(run):
    config, directory = run
    assert workdir.read_class_names(directory) == tuple(map(str, range(10)))
    assert workdir.read_config(directory)["model"]["name"] == config.model.name
    assert json.loads((directory / "classes.json").read_text()) == list(map(str, range(10)))
