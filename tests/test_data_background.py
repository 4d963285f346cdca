"""The background class: which files are in which split, and what is refused."""

import numpy as np
import pytest
from data_helpers import data_config
from test_data_folder import contents, touch

from bot_jax.data import folder
from bot_jax.data.source import make_source
from bot_jax.errors import InputError


def make(root, split, **more):
    config = data_config(path=str(root / "data"), background=str(root / "other"), **more)
    return make_source(config, split)


@pytest.fixture
def data(tmp_path):
    touch(tmp_path / "data", *(f"{s}/{c}/1.jpg" for s in ("train", "val", "test") for c in "ab"))
    return tmp_path


def test_a_tenth_is_held_out_by_the_hash_of_the_path(data):
    names = [f"x/{i}.jpg" for i in range(40)] + [f"{i}.png" for i in range(60)]
    touch(data / "other", *names, "notes.txt")
    of_split = {}
    for split in ("train", "validation", "test"):
        source = make(data, split)
        assert source.class_names == ("a", "b", "background")
        read = contents(source)
        of_split[split] = {path for path, label in read.items() if label == 2}
        own = {"train": "train", "validation": "val", "test": "test"}[split]
        known = {path: label for path, label in read.items() if label < 2}
        assert known == {f"{own}/a/1.jpg": 0, f"{own}/b/1.jpg": 1}
    held_out = {name for name in names if folder.is_held_out(name)}
    assert 3 <= len(held_out) <= 20
    assert of_split == {
        "train": set(names) - held_out,
        "validation": held_out,
        "test": held_out,
    }


def test_folders_of_its_own(data):
    touch(data / "other", "train/x/1.jpg", "train/2.jpg", "val/3.jpg")
    for split, expected in (
        ("train", {"train/x/1.jpg", "train/2.jpg"}),
        ("validation", {"val/3.jpg"}),
    ):
        assert {p for p, label in contents(make(data, split)).items() if label == 2} == expected
    with pytest.raises(InputError, match=r"no folder for the split 'test'.*train, validation"):
        make(data, "test")


def test_pictures_of_trains_are_no_split(data):
    touch(data / "other", *(f"train/{i}.jpg" for i in range(40)))
    held_out = {f"train/{i}.jpg" for i in range(40) if folder.is_held_out(f"train/{i}.jpg")}
    assert {p for p, k in contents(make(data, "validation")).items() if k == 2} == held_out


def test_lists_and_their_names_of_splits(tmp_path):
    touch(tmp_path / "data", "1.jpg", "2.jpg")
    (tmp_path / "data/mine.txt").write_text("1.jpg cat\n2.jpg dog\n")
    names = [f"{i}.jpg" for i in range(30)]
    touch(tmp_path / "other", *(f"b{name}" for name in names))
    source = make(tmp_path, "mine", source="list", train_split="mine")
    assert source.class_names == ("cat", "dog", "background")
    kept = [f"b{name}" for name in sorted(names) if not folder.is_held_out(f"b{name}")]
    read = contents(source)
    assert sorted(p for p, label in read.items() if label == 2) == sorted(kept)
    assert source.labels.tolist() == [0, 1, *[2] * len(kept)]
    assert source.labels.dtype == np.int32
    assert source.describe(2) == str(tmp_path / "other" / sorted(kept)[0])
    assert source.describe(0).endswith("data/1.jpg")


def test_what_is_refused(data):
    with pytest.raises(InputError, match=r"config.data.background = '.*other' is not a folder"):
        make(data, "train")
    touch(data / "other", "notes.txt")
    with pytest.raises(InputError, match=r"background.* has no images, which are files that end"):
        make(data, "train")
    touch(data / "other", "a/0.jpg")
    assert not folder.is_held_out("a/0.jpg")
    with pytest.raises(InputError, match="too few images for the split 'validation'"):
        make(data, "validation")
    with pytest.raises(InputError, match=r"is for config.data.source = 'folder' and 'list', not"):
        make(data, "train", source="digits")
    touch(data / "data", "train/Background/1.jpg")
    with pytest.raises(InputError, match="has a class 'Background' already"):
        make(data, "train")
