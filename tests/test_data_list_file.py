import pytest
from data_helpers import data_config

from bot_jax.data import list_file
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError


def make(root, split="train", **options):
    return list_file.make(data_config(source="list", path=str(root), options=options), split)


def write(path, text):
    path.write_text(text, encoding="utf-8")


def labels(source):
    return [int(source.read(tf.constant(i, tf.int64))[1]) for i in range(source.num_examples)]


@pytest.fixture
def images(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("1.jpg", "2 and a half.jpg", "3.jpg"):
        (tmp_path / "images" / name).write_bytes(name.encode())
    for name in "abcd":
        (tmp_path / f"{name}.jpg").touch()
    return tmp_path


def test_numbers_and_paths_with_spaces(images):
    write(images / "train.txt", "images/1.jpg 2\n\nimages/2 and a half.jpg\t0\n images/3.jpg 1\n")
    source = make(images)
    assert source.class_names == ("0", "1", "2")
    assert labels(source) == [2, 0, 1]
    assert source.read(tf.constant(1, tf.int64))[0].numpy() == b"2 and a half.jpg"
    assert source.describe(1) == str(images / "images/2 and a half.jpg")


def test_absolute_paths_if_they_are_allowed(images):
    write(images / "train.txt", f"{images}/images/3.jpg 0")
    with pytest.raises(InputError, match=r"it is absolute.*options\.allow_outside=true"):
        make(images)
    source = make(images, allow_outside=True)
    assert source.read(tf.constant(0, tf.int64))[0].numpy() == b"3.jpg"


def test_names_are_those_of_the_training_list(images):
    write(images / "train_list.txt", "a.jpg dog\nb.jpg cat\nc.jpg 7up\n")
    write(images / "val_list.txt", "d.jpg dog\n")
    assert make(images).class_names == ("7up", "cat", "dog")
    assert labels(make(images)) == [2, 1, 0]
    assert make(images, "validation").class_names == ("7up", "cat", "dog")
    assert labels(make(images, "validation")) == [2]


def test_names_from_classes_txt(images):
    write(images / "classes.txt", "tench\ngreat white shark\n")
    write(images / "train.txt", "a.jpg 1\nb.jpg 00\n")
    assert make(images).class_names == ("tench", "great white shark")
    assert labels(make(images)) == [1, 0]
    write(images / "train.txt", "a.jpg tench\n")
    assert labels(make(images)) == [0]


def test_list_for_evaluation_only(images):
    write(images / "test.txt", "a.jpg 1\n")
    assert make(images, "test").class_names == ("0", "1")


def test_missing_folder_and_list(images):
    with pytest.raises(InputError, match="'/nowhere' is not a folder"):
        make("/nowhere")
    expected = "looked for validation.txt, validation_list.txt, val.txt, val_list.txt"
    with pytest.raises(InputError, match=expected):
        make(images, "validation")


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"train": "a.jpg 0\nb.jpg\n"}, r"train.txt, line 2: 'b.jpg' is not of the form"),
        ({"train": "\n\n"}, r"train.txt is empty"),
        ({"train": "a.jpg 0", "val": "\nb.jpg 1"}, r"val.txt, line 2: '1' .* 1 classes of .*train"),
        ({"train": "a.jpg cat", "val": "b.jpg cot"}, r"line 1: 'cot'.*Did you mean 'cat'"),
        ({"train": "a.jpg 0", "classes": "a\nb\na"}, r"classes.txt names the class 'a' more than"),
        ({"train": "a.jpg 2", "classes": "a\nb"}, r"'2' is not one of the 2 classes of .*classes"),
    ],
)
def test_wrong_line_is_named(images, lists, message):
    for name, text in lists.items():
        write(images / f"{name}.txt", text)
    with pytest.raises(InputError, match=message):
        make(images, "validation" if "val" in lists else "train")
