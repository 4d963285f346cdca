import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from data_helpers import encode, pillow_rgb, smooth_image

from bot_jax.data import crop, load
from bot_jax.data.folder import from_files
from bot_jax.data.tensorflow_cpu import tf

SIZE = 16
IMAGES = [smooth_image(SIZE, SIZE, seed) for seed in range(6)]


@pytest.fixture
def files(tmp_path):
    """Six images of the size of the model's input, so that nothing is resized."""
    formats = ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF")
    paths = []
    for i, (image, format) in enumerate(zip(IMAGES, formats, strict=True)):
        paths.append(tmp_path / f"{i}.jpg")
        paths[-1].write_bytes(encode(image, format))
    return paths


def load_all(files, index, is_stream=False):
    """(batch, reasons) of the examples `index` of the files; `finish` is the identity."""
    paths = [str(path) for path in files]
    source = from_files("files", paths, list(range(10, 10 + len(paths))), ["any"])
    samples = {
        "index": tf.constant(index, tf.int64),
        "sample_id": tf.range(len(index), dtype=tf.int64),
    }
    if is_stream:
        samples["encoded"] = tf.constant([files[i].read_bytes() for i in index])
        samples["label"] = tf.constant([10 + i for i in index])
        source = dataclasses.replace(source, read=None)

    def run(samples):
        return load.load_batch(
            samples,
            tf.zeros([len(index), 0]),
            source,
            lambda height, width, draws: crop.whole_images(height, width),
            lambda image: tf.ensure_shape(image, [SIZE, SIZE, 3]),
            image_size=SIZE,
            apply_exif_orientation=False,
        )

    batch = tf.data.Dataset.from_tensors(samples).map(run).get_single_element()
    batch = {name: value.numpy() for name, value in batch.items()}
    reasons = load.repair(
        batch, source, lambda image, sample_id: tf.constant(image), apply_exif_orientation=False
    )
    return batch, reasons


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_batch_of_any_formats(files, is_stream):
    index = [3, 0, 1, 5, 2, 4]
    batch, reasons = load_all(files, index, is_stream)
    for row, i in enumerate(index):
        np.testing.assert_array_equal(batch["image"][row], pillow_rgb(files[i].read_bytes()))
    np.testing.assert_array_equal(batch["label"], np.array(index) + 10)
    np.testing.assert_array_equal(batch["index"], index)
    np.testing.assert_array_equal(batch["sample_id"], np.arange(6))
    # GIF, BMP and TIFF were left to Pillow.
    np.testing.assert_array_equal(batch["missing"], np.isin(index, (2, 3, 5)))
    assert reasons == {}


@pytest.mark.parametrize("together", [2, 16])
@pytest.mark.parametrize("is_stream", [False, True])
def test_unreadable_files_stay_alone(files, is_stream, together, monkeypatch):
    monkeypatch.setattr(load, "_TOGETHER", together)
    index = [0, 1, 2, 3, 4, 5, 5]
    good, _ = load_all(files, index, is_stream)
    files[1].write_bytes(files[1].read_bytes()[:-40])
    files[4].write_bytes(b"")
    batch, reasons = load_all(files, index, is_stream)
    assert reasons.keys() == {1, 4}
    assert "truncated" in reasons[1].lower()
    assert reasons[4] == "the file is empty"
    for row in range(7):
        if row in reasons:
            assert batch["label"][row] == -1
            assert not batch["image"][row].any()
        else:
            assert batch["label"][row] == good["label"][row]
            np.testing.assert_array_equal(batch["image"][row], good["image"][row])
    np.testing.assert_array_equal(batch["index"], index)


def test_a_batch_in_which_nothing_can_be_opened(files):
    for path in files:
        path.unlink()
    batch, reasons = load_all(files, [0, 1, 2])
    assert not batch["image"].any()
    assert batch["label"].tolist() == [-1, -1, -1]
    assert reasons == dict.fromkeys(range(3), "No such file or directory")


def test_padding_is_black_and_has_no_reason(files):
    batch, reasons = load_all(files, [1, -1, 2, -1])
    assert batch["label"].tolist() == [11, -1, 12, -1]
    assert reasons == {}
    np.testing.assert_array_equal(batch["image"][2], pillow_rgb(files[2].read_bytes()))
    assert batch["image"][0].any()
    assert not batch["image"][[1, 3]].any()
    assert batch["index"].tolist() == [1, -1, 2, -1]


def test_no_python_inside_tensorflow():
    # It would deadlock with the destruction of the data set, which holds Python's lock.
    for path in Path(load.__file__).parent.glob("*.py"):
        assert not re.search(r"(py|numpy)_function", path.read_text()), path
