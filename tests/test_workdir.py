import os

import numpy as np
import pytest
from ml_collections import ConfigDict

from bot_jax import workdir
from bot_jax.errors import InputError


def test_second_start_needs_the_same_configuration(tmp_path):
    config = ConfigDict({"optimizer": {"momentum": 0.9}, "data": {"path": "/old"}})
    run = tmp_path / "a" / "run"
    workdir.check_workdir(run, config)  # nothing there yet
    workdir.write_config(run, config)
    config.data.path = "/moved"  # where the files are does not matter
    workdir.check_workdir(run, config)
    config.optimizer.momentum = 0.8
    with pytest.raises(InputError, match=r"optimizer.momentum: 0.9 -> 0.8"):
        workdir.check_workdir(run, config)
    workdir.check_workdir(run, config, only="model.")


def test_a_second_start_with_another_augmentation_is_refused(tmp_path):
    """Also with its defaults, which are a group without fields."""
    workdir.write_config(tmp_path, ConfigDict({"augment": {}, "data": {"options": {}}}))
    for augment in ({"cutout": {}}, {"cutout": {"length": 8}}):
        config = ConfigDict({"augment": augment, "data": {"options": {}}})
        with pytest.raises(InputError, match=r"augment\.cutout"):
            workdir.check_workdir(tmp_path, config)
    config = ConfigDict({"augment": {}, "data": {"options": {"allow_outside": True}}})
    workdir.check_workdir(tmp_path, config)  # may change, and so may its group


def test_a_directory_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be used"):
        workdir.write_config(tmp_path / "file" / "run", ConfigDict())


def test_skipped_images_are_remembered(tmp_path):
    assert workdir.read_skipped_images(tmp_path) == set()
    workdir.write_skipped_images(tmp_path, {"b c.jpg", "a.jpg"})
    assert workdir.read_skipped_images(tmp_path) == {"a.jpg", "b c.jpg"}


CLASSES = np.array([[0, 0], [1, 1], [0, 1], [0, 0], [1, 1], [0, 0]])


def test_confusion_matrix_names_its_classes(tmp_path):
    workdir.write_confusion(tmp_path, "test", ("cat", "dog, big"), CLASSES)
    assert (tmp_path / "confusion_test.csv").read_text().splitlines() == [
        'true \\ predicted,cat,"dog, big"',
        "cat,3,1",
        '"dog, big",0,2',
    ]


def test_confusion_of_very_many_classes_is_a_list_of_pairs(tmp_path, monkeypatch):
    monkeypatch.setattr(workdir, "MATRIX_CLASSES", 1)
    workdir.write_confusion(tmp_path, "test", ("cat", "dog, big"), CLASSES)
    assert (tmp_path / "confusion_test.csv").read_text().splitlines() == [
        "true,predicted,count",
        "cat,cat,3",
        'cat,"dog, big",1',
        '"dog, big","dog, big",2',
    ]


def test_versions_name_what_results_depend_on():
    assert {"python", "jax", "flax", "optax", "numpy"} <= workdir.versions().keys()


def test_names_of_images_that_are_no_text_come_back(tmp_path):
    names = {os.fsdecode(b"a/\xff.png"), "a/\u00e9.png"}
    workdir.write_skipped_images(tmp_path, names)
    assert workdir.read_skipped_images(tmp_path) == names


@pytest.mark.parametrize("content", [b"", b"\xff\0", b"[]"])
def test_a_damaged_configuration_is_an_error_in_words(tmp_path, make_tiny_config, content):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        workdir.check_workdir(tmp_path, make_tiny_config())


@pytest.mark.parametrize("content", [b"", b"\xff\0"])
def test_a_damaged_name_of_the_teacher_is_an_error_in_words(tmp_path, content):
    (tmp_path / "teacher.json").write_bytes(content)
    with pytest.raises(InputError, match=r"teacher\.json is damaged"):
        workdir.check_teacher(tmp_path, {})
