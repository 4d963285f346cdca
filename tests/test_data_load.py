import numpy as np
import pytest
from data_helpers import encode, pillow_rgb, smooth_image

from bot_jax.data import decode, load
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


def load_all(paths, index, sample_id=None):
    """One batch of the examples `index` of the files; `finish` is the identity."""
    paths = [str(path) for path in paths]
    source = from_files("files", paths, list(range(10, 10 + len(paths))), ["any"])
    samples = {
        "index": tf.constant(index, tf.int64),
        "sample_id": tf.range(len(index), dtype=tf.int64),
    }

    def run(samples):
        return load.load_batch(
            samples,
            source,
            lambda height, width, sample_id: decode.whole_image(height, width),
            lambda image, sample_id: tf.ensure_shape(image, [SIZE, SIZE, 3]),
            image_size=SIZE,
            apply_exif_orientation=False,
        )

    batch = tf.data.Dataset.from_tensors(samples).map(run).get_single_element()
    return {name: value.numpy() for name, value in batch.items()}


def test_a_batch_of_any_formats(files):
    batch = load_all(files, [3, 0, 1, 5, 2, 4])
    for row, i in enumerate([3, 0, 1, 5, 2, 4]):
        np.testing.assert_array_equal(batch["image"][row], pillow_rgb(files[i].read_bytes()))
    np.testing.assert_array_equal(batch["label"], [13, 10, 11, 15, 12, 14])
    np.testing.assert_array_equal(batch["index"], [3, 0, 1, 5, 2, 4])
    np.testing.assert_array_equal(batch["sample_id"], np.arange(6))
    assert batch["reason"].tolist() == [b""] * 6


def test_unreadable_files_stay_alone(files):
    index = [0, 1, 2, 3, 4, 5, 5]
    good = load_all(files, index)
    files[1].write_bytes(files[1].read_bytes()[:-40])
    files[3].unlink()
    files[4].write_bytes(b"")
    batch = load_all(files, index)
    assert [bool(reason) for reason in batch["reason"]] == [
        False,
        True,
        False,
        True,
        True,
        False,
        False,
    ]
    assert b"truncated" in batch["reason"][1].lower()
    assert batch["reason"][3] == b"it is missing, or may not be opened"
    assert batch["reason"][4] == b"the file is empty"
    for row in range(7):
        if row in (1, 3, 4):
            assert batch["label"][row] == -1
            assert not batch["image"][row].any()
        else:
            assert batch["label"][row] == good["label"][row]
            np.testing.assert_array_equal(batch["image"][row], good["image"][row])
    np.testing.assert_array_equal(batch["index"], index)


def test_what_only_pillow_reads_is_not_unreadable(files):
    # TensorFlow refuses a WebP with transparency.
    from PIL import Image

    image = Image.fromarray(IMAGES[0])
    image.putalpha(100)
    files[2].write_bytes(encode(image, "WEBP", lossless=True))
    batch = load_all(files, [1, 2])
    assert batch["reason"].tolist() == [b"", b""]
    np.testing.assert_array_equal(batch["label"], [11, 12])
    np.testing.assert_array_equal(batch["image"][1], IMAGES[0])


def test_a_batch_in_which_nothing_can_be_read(files):
    for path in files:
        path.unlink()
    batch = load_all(files, [0, 1, 2])
    assert not batch["image"].any()
    assert batch["label"].tolist() == [-1, -1, -1]
    assert all(batch["reason"])


def test_padding_is_black_and_without_a_reason(files):
    batch = load_all(files, [2, -1, -1])
    assert batch["label"].tolist() == [12, -1, -1]
    assert batch["reason"].tolist() == [b"", b"", b""]
    assert batch["image"][0].any()
    assert not batch["image"][1:].any()
    assert batch["index"].tolist() == [2, -1, -1]
