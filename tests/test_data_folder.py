import os

import pytest
from data_helpers import data_config

from bot_jax.data import folder
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError


def touch(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())


def contents(source):
    """{path as written into the file: label} by reading every example."""
    examples = [source.read(tf.constant(i, tf.int64)) for i in range(source.num_examples)]
    return {encoded.numpy().decode(): int(label) for encoded, label in examples}


def make(root, split):
    return folder.make(data_config(path=str(root)), split)


def test_split_folders(tmp_path):
    touch(
        tmp_path, "train/b/1.jpg", "train/a/2.png", "train/c/3.gif", "val/b/4.jpg", "test/a/5.jpg"
    )
    train = make(tmp_path, "train")
    assert train.class_names == ("a", "b", "c")
    assert contents(train) == {"train/a/2.png": 0, "train/b/1.jpg": 1, "train/c/3.gif": 2}
    assert train.describe(0) == str(tmp_path / "train/a/2.png")
    validation = make(tmp_path, "validation")
    assert validation.class_names == ("a", "b", "c")  # "b" is 1 though "a" is absent
    assert contents(validation) == {"val/b/4.jpg": 1}
    assert contents(make(tmp_path, "test")) == {"test/a/5.jpg": 0}


def test_sub_folders_hidden_files_and_other_files(tmp_path):
    touch(
        tmp_path,
        *("train/a/x/y/1.JPG", "train/a/2.jpeg", "train/a/._2.jpeg", "train/a/.git/3.jpg"),
        *("train/a/notes.txt", "train/b/4.webp", "train/.cache/5.jpg", "train/b/Thumbs.db"),
    )
    source = make(tmp_path, "train")
    assert source.class_names == ("a", "b")
    assert contents(source) == {"train/a/x/y/1.JPG": 0, "train/a/2.jpeg": 0, "train/b/4.webp": 1}


def test_links_and_names_in_other_alphabets(tmp_path):
    touch(tmp_path, "elsewhere/1.jpg", "train/a b/2 ü 图.jpg")
    os.symlink(tmp_path / "elsewhere", tmp_path / "train" / "c")
    raw = os.path.join(os.fsencode(tmp_path), b"train", b"a b", b"\xff.jpg")
    with open(raw, "wb") as file:
        file.write(b"latin")
    source = make(tmp_path, "train")
    assert contents(source) == {"train/a b/2 ü 图.jpg": 0, "latin": 0, "elsewhere/1.jpg": 1}


def test_folder_without_splits_is_divided_by_a_hash_of_the_path(tmp_path):
    names = [f"{c}/{i:03}.jpg" for c in "abc" for i in range(100)]
    touch(tmp_path / "here", *names)
    touch(tmp_path / "there", *names, "a/new.jpg")
    train, validation = (contents(make(tmp_path / "here", s)) for s in ("train", "validation"))
    assert not set(train) & set(validation)
    assert train | validation == contents(make(tmp_path / "here", "all"))
    assert len(train) + len(validation) == 300
    assert 15 <= len(validation) <= 45
    # Neither the place of the folder nor other files change what is held out.
    moved = contents(make(tmp_path / "there", "validation"))
    assert set(moved) - {"a/new.jpg"} == set(validation)


def test_hold_out_never_changes():
    # The first 64 bits of `printf a/2.jpg | sha256sum` are 2 modulo 100, those of a/3.jpg 1.
    assert [i for i in range(40) if folder.is_held_out(f"a/{i}.jpg")] == [2, 3]


def test_class_called_test_is_a_class(tmp_path):
    touch(tmp_path, *(f"{c}/{i}.jpg" for c in ("exam", "test") for i in range(30)))
    assert make(tmp_path, "train").class_names == ("exam", "test")


def test_missing_folder(tmp_path):
    for path in ("", str(tmp_path / "nowhere")):
        with pytest.raises(InputError, match=r"is not a folder.*one sub-folder a class"):
            folder.make(data_config(path=path), "train")


def test_missing_split(tmp_path):
    touch(tmp_path, "train/a/1.jpg", "val/a/1.jpg")
    with pytest.raises(InputError, match=r"no folder for the split 'test'.*train, validation"):
        make(tmp_path, "test")
    touch(tmp_path / "flat", "a/1.jpg")
    with pytest.raises(InputError, match=r"split 'test' of .*flat is not known.*'all'"):
        make(tmp_path / "flat", "test")


def test_no_classes(tmp_path):
    touch(tmp_path, "1.jpg")
    with pytest.raises(InputError, match="has no sub-folders"):
        make(tmp_path, "train")


def test_no_images(tmp_path):
    touch(tmp_path, "train/a/notes.txt", "train/b/notes.txt")
    with pytest.raises(InputError, match=r"No images .*'train'.*2 classes: a, b.*\.jpg"):
        make(tmp_path, "train")


def test_class_that_only_validation_has(tmp_path):
    touch(tmp_path, "train/cat/1.jpg", "train/dog/1.jpg", "val/cats/1.jpg")
    with pytest.raises(InputError, match=r"training folder has not: cats\. Did you mean 'cat'"):
        make(tmp_path, "validation")
