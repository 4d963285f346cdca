import itertools
import logging
import shutil

import numpy as np
import pytest
from data_helpers import data_config, encode, smooth_image
from PIL import Image

from bot_jax.data import load, pipeline
from bot_jax.data.pipeline import eval_batches, train_batches
from bot_jax.data.source import make_source
from bot_jax.errors import InputError

BATCH, NUM_EXAMPLES = 4, 14  # three steps an epoch, two examples left over


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Fourteen images of different sizes in two classes, the odd ones PNG."""
    root = tmp_path_factory.mktemp("photos")
    for i in range(NUM_EXAMPLES):
        folder = root / "train" / ("cat", "dog")[i >= 7]
        folder.mkdir(parents=True, exist_ok=True)
        image = smooth_image(30 + 2 * i, 50 - i, seed=i)
        (folder / f"{i:02}.jpg").write_bytes(encode(image, ("JPEG", "PNG")[i % 2]))
    return root


@pytest.fixture
def broken_photos(photos, tmp_path):
    """`photos`, of which the examples 2 and 9 cannot be read."""
    root = tmp_path / "photos"
    shutil.copytree(photos, root)
    (root / "train" / "cat" / "02.jpg").write_bytes(b"no image")
    (root / "train" / "dog" / "09.jpg").write_bytes(b"")
    return root


@pytest.fixture(scope="module")
def batches(photos):
    """Three epochs of `photos` with seed 0."""
    return train(config_of(photos), 9)


def config_of(photos, **overrides):
    return data_config(path=str(photos), **overrides)


def train(config, count, *, start_step=0, seed=0, rows=None, batch_size=BATCH):
    """The first `count` batches."""
    rows = np.arange(batch_size) if rows is None else np.array(rows)
    source = make_source(config, "train")
    batches = train_batches(
        source, config, seed=seed, batch_size=batch_size, rows=rows, start_step=start_step
    )
    return list(itertools.islice(batches, count))


def test_training_batches(batches):
    for step, batch in enumerate(batches):
        assert {name: (value.shape, value.dtype) for name, value in batch.items()} == {
            "image": ((4, 16, 16, 3), np.uint8),
            "label": ((4,), np.int32),
            "sample_id": ((4,), np.uint32),
            "index": ((4,), np.int32),
            "bad": ((4,), np.bool),
        }
        epoch, within = divmod(step, 3)
        expected = epoch * NUM_EXAMPLES + within * BATCH + np.arange(BATCH)
        np.testing.assert_array_equal(batch["sample_id"], expected)
        np.testing.assert_array_equal(batch["label"], batch["index"] >= 7)
        assert not batch["bad"].any()
        assert batch["image"].reshape(4, -1).std(axis=1).min() > 1


def test_an_example_looks_different_in_each_epoch(batches):
    views = {}
    for batch in batches:
        for index, image in zip(batch["index"], batch["image"], strict=True):
            views.setdefault(int(index), []).append(image.tobytes())
    assert sum(len(images) for images in views.values()) == 36
    assert all(len(set(images)) == len(images) for images in views.values())


@pytest.mark.parametrize(("threads", "together"), [(1, 1), (8, 16), (8, 3)])
def test_resuming_sharing_and_threads_change_no_pixel(
    photos, batches, monkeypatch, threads, together
):
    monkeypatch.setattr(load, "_TOGETHER", together)
    monkeypatch.setattr(load, "_PARALLEL", {"num_parallel_calls": threads, "deterministic": True})
    resumed = train(config_of(photos), 4, start_step=5, rows=[1, 3])
    for part, whole in zip(resumed, batches[5:], strict=True):
        assert part.keys() == whole.keys()
        for name in part:
            np.testing.assert_array_equal(part[name], whole[name][[1, 3]], err_msg=name)


def test_center_crop_is_the_view_of_the_evaluation(photos):
    config = config_of(photos, train_crop="center")
    (batch,) = train(config, 1)
    source = make_source(config, "train")
    rows = np.arange(source.num_examples)
    (whole,) = pipeline.eval_batches(source, config, batch_size=len(rows), rows=rows)
    np.testing.assert_array_equal(batch["image"], whole["image"][batch["index"]])


def test_the_seed_decides(photos, batches):
    other = train(config_of(photos), 3, seed=1)
    assert any(np.any(a["index"] != b["index"]) for a, b in zip(batches, other, strict=False))
    assert all(np.any(a["image"] != b["image"]) for a, b in zip(batches, other, strict=False))


def test_crop_of_everything_is_the_resized_image(photos):
    config = config_of(
        photos,
        crop_area=(1.0, 1.0),
        crop_aspect_ratio=(0.5, 2.0),  # so that the image's own is within it
        antialias=True,
    )
    batch = train(config, 1)[0]
    paths = sorted((photos / "train").rglob("*.jpg"))
    for index, image in zip(batch["index"], batch["image"], strict=True):
        whole = Image.open(paths[index]).convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)
        assert np.abs(image - np.asarray(whole, float)).max() <= 2


def test_skipping_bad_images_leaves_the_others_as_they_are(broken_photos, batches, caplog):
    with caplog.at_level(logging.WARNING):
        skipping = train(config_of(broken_photos, on_bad_image="skip"), 9)
    seen_bad = 0
    for before, after in zip(batches, skipping, strict=True):
        is_bad = np.isin(before["index"], (2, 9))
        np.testing.assert_array_equal(after["bad"], is_bad)
        np.testing.assert_array_equal(after["index"], before["index"])
        np.testing.assert_array_equal(after["label"], np.where(is_bad, -1, before["label"]))
        np.testing.assert_array_equal(after["image"][~is_bad], before["image"][~is_bad])
        assert not after["image"][is_bad].any()
        seen_bad += is_bad.sum()
    assert 4 <= seen_bad <= 6
    messages = sorted(record.getMessage() for record in caplog.records)
    assert len(messages) == 2  # once a file
    assert messages[0].endswith(
        "cat/02.jpg cannot be read: its content is of no known image format."
    )
    assert messages[1].endswith("dog/09.jpg cannot be read: the file is empty.")


def test_bad_image_ends_the_run_by_default(broken_photos):
    config = config_of(broken_photos)
    expected = (
        r"(cat/02\.jpg cannot be read: its content|dog/09\.jpg cannot be read: the file is).*"
    )
    with pytest.raises(InputError, match=expected + "on_bad_image=skip"):
        train(config, 3)
    source = make_source(config, "train")
    with pytest.raises(InputError, match=r"cat/02\.jpg cannot be read"):
        list(eval_batches(source, config, batch_size=8, rows=np.arange(8)))


def test_evaluation_sees_every_example_once(broken_photos):
    config = config_of(broken_photos, on_bad_image="skip", antialias=True)
    source = make_source(config, "train")
    halves = [
        list(eval_batches(source, config, batch_size=4, rows=np.array(rows)))
        for rows in ([0, 1], [2, 3])
    ]
    assert [len(half) for half in halves] == [4, 4]
    batches = [
        {name: np.concatenate([first[name], second[name]]) for name in first}
        for first, second in zip(*halves, strict=True)
    ]
    together = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    np.testing.assert_array_equal(together["index"], [*range(14), -1, -1])
    np.testing.assert_array_equal(together["bad"], np.isin(np.arange(16), (2, 9)))
    expected = [*[0] * 7, *[1] * 7, -1, -1]
    expected[2] = expected[9] = -1
    np.testing.assert_array_equal(together["label"], expected)
    assert not together["image"][[2, 9, 14, 15]].any()
    paths = sorted((broken_photos / "train").rglob("*.jpg"))
    for index in (0, 5, 13):
        image = Image.open(paths[index])
        size = [19 * side // min(image.size) for side in image.size]  # ceil(16 / 0.875) = 19
        resized = np.asarray(image.resize(size, Image.Resampling.BILINEAR), float)
        left, top = (round((side - 16) / 2) for side in size)
        view = resized[top : top + 16, left : left + 16]
        assert np.abs(together["image"][index] - view).max() <= 1


def test_too_few_examples_for_a_batch(photos):
    with pytest.raises(InputError, match=r"14 examples, too few.*of 15.*config.batch_size=14"):
        train(config_of(photos), 1, batch_size=15)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("flavor", "gluon", "config.data.flavor = 'gluon'.*'gluoncv'"),
        ("interpolation", "bilinar", "config.data.interpolation.*'bilinear'"),
        ("on_bad_image", "ignore", "config.data.on_bad_image.*error, skip"),
        ("image_size", 0, "config.data.image_size = 0"),
        ("eval_resize", 12, "config.data.eval_resize = 12 is smaller .* = 16.* 0 for 19"),
        ("crop_area", (0.0, 1.0), "config.data.crop_area"),
        ("crop_area", (0.5, 1.5), "config.data.crop_area"),
        ("crop_aspect_ratio", (1.5, 0.5), "config.data.crop_aspect_ratio"),
        ("train_crop", "centre", "Did you mean 'center'"),
    ],
)
def test_wrong_options_are_refused_before_the_first_batch(photos, option, value, message):
    config = config_of(photos, **{option: value})
    source = make_source(config, "train")
    rows = np.arange(4)
    with pytest.raises(InputError, match=message):
        train_batches(source, config, seed=0, batch_size=4, rows=rows, start_step=0)
    with pytest.raises(InputError, match=message):
        eval_batches(source, config, batch_size=4, rows=rows)
