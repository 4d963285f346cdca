import numpy as np
import pytest
from data_helpers import data_config

from bot_jax.data import records
from bot_jax.data.tensorflow_cpu import tf
from bot_jax.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A data set of 50 + 7 grey squares; the shade is the example's number, modulo 3 its class."""
    folder = tmp_path_factory.mktemp("tfds")

    def examples(count):
        for i in range(count):
            yield str(i), {"image": np.full((4, 4, 3), i, np.uint8), "label": i % 3}

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
        }
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        "tiny",
        "1.0.0",
        features=features,
        split_datasets={"train": list(examples(50)), "validation": list(examples(7))},
        data_dir=folder,
        download_config=tfds.download.DownloadConfig(num_shards=3),
    )
    return folder


def make(path, split, name="tiny"):
    return records.make(data_config(source="tfds", path=str(path), tfds_name=name), split)


def read(dataset):
    """(index, shade, label) of every example, int [n, 3]."""
    rows = []
    for index, encoded, label in dataset:
        shade = int(tf.io.decode_png(encoded)[0, 0, 0])
        rows.append((int(index), shade, int(label)))
    return np.array(rows)


@pytest.mark.parametrize("sub_folder", ["", "tiny/1.0.0"])
def test_every_record_in_the_order_of_the_files(data_dir, sub_folder):
    source = make(data_dir / sub_folder, "train")
    assert source.num_examples == 50
    assert source.class_names == ("a", "b", "c")
    index, shade, label = read(source.stream(None, 0)).T
    np.testing.assert_array_equal(index, np.arange(50))
    np.testing.assert_array_equal(np.sort(shade), np.arange(50))
    np.testing.assert_array_equal(label, shade % 3)
    assert source.describe(7) == "example 7 of tfds tiny/1.0.0 train"


def test_part_of_a_split(data_dir):
    whole = read(make(data_dir, "train").stream(None, 0))
    source = make(data_dir, "train[20%:50%]")
    part = read(source.stream(None, 0))
    assert source.num_examples == 15
    np.testing.assert_array_equal(part[:, 1:], whole[10:25, 1:])
    np.testing.assert_array_equal(part[:, 0], np.arange(15))


def test_epochs_are_permutations_by_seed_and_epoch(data_dir):
    source = make(data_dir, "train")
    whole = read(source.stream(None, 0))
    orders = {}
    for key in ((0, 0), (1, 0), (2, 0), (0, 1)):
        epoch, seed = key
        order = read(source.stream(tf.constant(epoch, tf.int64), seed))
        np.testing.assert_array_equal(order[np.argsort(order[:, 0])], whole)
        orders[key] = tuple(order[:, 0])
    assert len(set(orders.values())) == 4
    again = read(source.stream(tf.constant(1, tf.int64), 0))
    assert orders[1, 0] == tuple(again[:, 0])


def test_shuffle_within_a_file_differs_by_epoch(data_dir):
    source = make(data_dir, "train[:10%]")  # all in one file, so the order of files is no help
    orders = {tuple(read(source.stream(tf.constant(e, tf.int64), 0))[:, 0]) for e in range(4)}
    assert len(orders) >= 3


def test_unknown_data_set(tmp_path):
    with pytest.raises(InputError, match=r"'imagnet2012' is not a data set.*mean 'imagenet2012'"):
        make(tmp_path, "train", "imagnet2012")


@pytest.mark.parametrize("split", ["test", "train[60:70]", "train[9"])
def test_unknown_split(data_dir, split):
    with pytest.raises(InputError, match=r"has no split .*It has: train, validation"):
        make(data_dir, split)


def test_empty_part(data_dir):
    with pytest.raises(InputError, match=r"'train\[:0\]' of tiny/1.0.0 has no examples"):
        make(data_dir, "train[:0]")


def test_imagenet_that_is_not_there(tmp_path):
    with pytest.raises(InputError) as error:
        make(tmp_path, "train", "imagenet2012")
    message = str(error.value)
    assert "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar" in message
    assert str(tmp_path / "downloads" / "manual") in message

    (tmp_path / "downloads" / "manual").mkdir(parents=True)
    (tmp_path / "downloads" / "manual" / "ILSVRC2012_img_val.tar").touch()
    with pytest.raises(InputError, match=r"Get ILSVRC2012_img_train.tar from .* put it into"):
        make(tmp_path, "train", "imagenet2012")


def test_download_that_fails(tmp_path, monkeypatch):
    def fail(builder):
        raise ConnectionError("no route to host.")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", fail)
    with pytest.raises(InputError, match=r"'mnist' is not in .*could not.*: no route to host\.$"):
        make(tmp_path, "train", "mnist")


def test_data_set_without_classes(tmp_path):
    features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "n": np.int64})
    example = {"image": np.zeros((4, 4, 3), np.uint8), "n": 1}
    tfds.dataset_builders.store_as_tfds_dataset(
        "plain", "1.0.0", features=features, split_datasets={"train": [("0", example)]},
        data_dir=tmp_path,
    )  # fmt: skip
    with pytest.raises(InputError, match=r"plain/1\.0\.0 is not one for image classification"):
        make(tmp_path, "train", "plain")
