"""Teachers: from a run and from a file, and those that do not fit."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from bot_jax import export, train
from bot_jax.artifact import write_artifact
from bot_jax.classifier import load_classifier
from bot_jax.errors import InputError
from bot_jax.teacher import make_teacher

CLASSES = tuple(map(str, range(10)))


@pytest.fixture(scope="module")
def trained(make_tiny_config, tmp_path_factory):
    """The directory of a run, and a file of its weights."""
    directory = tmp_path_factory.mktemp("teacher")
    train.train(make_tiny_config(), directory / "run")
    export.write_weights(directory / "file.safetensors", export.run_weights(directory / "run"))
    return directory


@pytest.fixture
def config(tiny_config, trained):
    tiny_config.distillation.teacher = str(trained / "run")
    tiny_config.distillation.teacher_model = "tiny"
    return tiny_config


def test_no_teacher_unless_one_is_named(tiny_config):
    assert make_teacher(tiny_config, CLASSES) is None


def test_a_run_and_its_file_are_the_same_teacher(config, trained):
    config.distillation.compute = "bfloat16"
    from_run = make_teacher(config, CLASSES)
    config.distillation.teacher = str(trained / "file.safetensors")
    from_file = make_teacher(config, CLASSES)
    for one, other in zip(
        jax.tree.leaves(from_run.variables), jax.tree.leaves(from_file.variables), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert from_run.model == from_file.model
    assert from_run.identity == from_file.identity
    assert from_run.identity["step"] == 22
    assert from_run.model.dtype == "bfloat16"


def test_an_exported_program_is_the_same_teacher(config, trained, tmp_path):
    config.distillation.teacher = str(trained / "run")
    expected = make_teacher(config, CLASSES).identity
    file = tmp_path / "teacher.zip"
    write_artifact(file, load_classifier(trained / "run"))
    config.distillation.teacher = str(file)
    assert make_teacher(config, CLASSES).identity == expected
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"teacher\.zip cannot be read as an exported model"):
        make_teacher(config, CLASSES)


def test_a_student_learns_from_a_trained_teacher(config, tmp_path):
    """End to end: the loss with the teacher is that against the labels and much more."""
    result = train.train(config, tmp_path / "student")
    assert result["step"] == 22
    lines = map(json.loads, (tmp_path / "student/metrics.jsonl").read_text().splitlines())
    last = [line for line in lines if line["split"] == "train"][-1]
    assert last["loss"] > 400 * np.log(10) * 0.9 > last["label_loss"]


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("teacher", "nowhere", "no such run or file; a trained tiny is wanted"),
        ("teacher_model", "resnet50_d", "is a tiny, but .* asks for resnet50_d"),
        ("compute", "float8", "Valid: bfloat16, float16, float32"),
    ],
)
def test_a_teacher_that_is_not_there_or_another_is_refused(config, field, value, words):
    config.distillation[field] = value
    with pytest.raises(InputError, match=words):
        make_teacher(config, CLASSES)


@pytest.mark.parametrize("classes", [CLASSES[:9], CLASSES[::-1]])
def test_other_classes_are_refused(config, classes):
    with pytest.raises(InputError, match="same, in the same order"):
        make_teacher(config, classes)


def test_weights_of_another_shape_are_refused(config, trained, tmp_path):
    weights = export.read_weights(trained / "file.safetensors")
    weights.variables["params"]["head"]["kernel"] = np.zeros((3, 10), np.float32)
    del weights.variables["params"]["conv"]
    export.write_weights(tmp_path / "x.safetensors", weights)
    config.distillation.teacher = str(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="do not fit") as caught:
        make_teacher(config, CLASSES)
    assert "params/head/kernel: (3, 10) in the file, (8, 10) in the model" in str(caught.value)
    assert "params/conv/kernel: missing in the file" in str(caught.value)


def test_an_unknown_model_is_refused(config, trained, tmp_path):
    weights = export.read_weights(trained / "file.safetensors")
    file = tmp_path / "x.safetensors"
    export.write_weights(file, dataclasses.replace(weights, model="resnet7"))
    config.distillation.teacher, config.distillation.teacher_model = str(file), ""
    with pytest.raises(InputError, match="no model named 'resnet7'"):
        make_teacher(config, CLASSES)


def test_compiling_needs_no_trained_teacher(config):
    config.distillation.teacher = "nowhere"
    teacher = make_teacher(config, CLASSES, trained=False)
    assert teacher.identity["model"] == "tiny"
    assert {x.shape for x in jax.tree.leaves(teacher.shapes)} >= {(3, 3, 3, 8), (8, 10)}
    config.distillation.teacher_model = ""
    with pytest.raises(InputError, match="no such run or file"):
        make_teacher(config, CLASSES, trained=False)


def test_compiling_takes_the_number_of_classes_of_the_data(config):
    teacher = make_teacher(config, CLASSES[:7], trained=False)
    assert teacher.shapes["params"]["head"]["kernel"].shape == (8, 7)


def test_an_unfinished_run_does_not_teach(config, trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    config.distillation.teacher = str(tmp_path / "run")
    with pytest.raises(InputError, match="not finished"):
        make_teacher(config, CLASSES)


def test_a_run_goes_on_with_its_own_teacher_only_wherever_that_is(config, trained, tmp_path):
    config.epochs = 0.25
    config.schedule.warmup_epochs = 0.0
    train.train(config, tmp_path / "student")
    (tmp_path / "student" / "result.json").unlink()  # as if it had been stopped before the end
    weights = export.read_weights(trained / "file.safetensors")
    config.distillation.teacher = str(trained / "file.safetensors")
    train.train(config, tmp_path / "student")

    (tmp_path / "student" / "result.json").unlink()
    weights.variables["params"]["head"]["bias"] += 1.0
    config.distillation.teacher = str(tmp_path / "other.safetensors")
    export.write_weights(tmp_path / "other.safetensors", weights)
    with pytest.raises(InputError, match="Use the same teacher"):
        train.train(config, tmp_path / "student")
