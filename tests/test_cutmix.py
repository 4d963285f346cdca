"""CutMix: where pixels come from, read off images that tell; and the distribution of the boxes."""

import jax
import numpy as np
import pytest
from mixing_helpers import BATCH, GROUP, HEIGHT, WIDTH, ids, mixer, probe, shares_of_images

from bot_jax.augment.cutmix import draw_box
from bot_jax.errors import InputError
from bot_jax.rng import purpose_of, sample_keys

COUNT = 10_000


@pytest.fixture(scope="module")
def cut():
    """Images, labels (which image is in it to which part), and a number for each image."""
    run = mixer({"cutmix": {}})
    numbers = np.arange(BATCH, dtype=np.float32)

    def call(start, **options):
        labels = [np.eye(BATCH, dtype=np.float32), numbers]
        return run(probe(), labels, ids(start=start), **options)

    return call


@pytest.fixture(scope="module")
def boxes():
    """The boxes of 10,000 groups at (height, width, alpha), as an array [10,000, 4]."""
    draw = jax.jit(jax.vmap(draw_box, in_axes=(0, None, None, None)))
    keys = sample_keys(0, purpose_of("cutmix"), GROUP * np.arange(COUNT, dtype=np.uint32))
    return lambda *args: np.stack(draw(keys, *args), -1)


def independent_shares(height, width, alpha, count=400_000):
    """The part of the image that is replaced, drawn by NumPy as the released code does."""
    rng = np.random.default_rng(0)
    cut = np.sqrt(1 - rng.beta(alpha, alpha, count))
    product = 1
    for length in (height, width):
        half = np.floor(length * cut) // 2
        center = rng.integers(0, length, count)
        product = product * (np.clip(center + half, 0, length) - np.clip(center - half, 0, length))
    return product / (height * width)


def test_pastes_one_box_a_group_from_a_permutation_of_the_group(cut):
    boxes_seen = set()
    for batch in range(20):
        images, _ = cut(batch * BATCH)
        own = probe()
        np.testing.assert_array_equal(images[..., 1:], own[..., 1:])  # nothing moves
        number = images[..., 0].astype(int)
        for first in range(0, BATCH, GROUP):
            group = number[first : first + GROUP]
            changed = group != np.arange(first, first + GROUP)[:, None, None]
            union = changed.any(0)
            if not union.any():
                continue
            rows, columns = np.flatnonzero(union.any(1)), np.flatnonzero(union.any(0))
            box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert union[box].all()
            partners = group[:, rows[0], columns[0]]
            assert sorted(partners) == list(range(first, first + GROUP))
            assert (group[:, *box] == partners[:, None, None]).all()
            boxes_seen.add((rows[0], rows[-1], columns[0], columns[-1]))
    assert len(boxes_seen) > 40  # groups have boxes of their own


def test_labels_are_the_parts_of_the_pixels(cut):
    areas = set()
    for batch in range(20):
        images, (labels, numbers) = cut(batch * BATCH)
        expected = shares_of_images(images)
        np.testing.assert_allclose(labels, expected, atol=1e-6)
        np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-6)
        np.testing.assert_allclose(numbers, expected @ np.arange(BATCH), rtol=1e-5)
        areas |= set(expected.max(-1))
    assert 1.0 in areas  # a box without area, or an image that is its own partner
    assert min(areas) < 0.6


def test_a_box_without_area_leaves_image_and_label_as_they_are(cut, boxes):
    top, bottom, left, right = boxes(HEIGHT, WIDTH, 1.0).T
    empty = np.flatnonzero((bottom - top) * (right - left) == 0)
    assert 0 < len(empty) < COUNT / 4
    start = int(empty[0]) * GROUP
    images, (labels, _) = cut(start)
    np.testing.assert_array_equal(images[:GROUP], probe()[:GROUP])
    np.testing.assert_array_equal(labels[:GROUP], np.eye(BATCH)[:GROUP])


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_boxes_are_as_large_as_those_of_numpy(boxes, alpha):
    drawn = boxes(HEIGHT, WIDTH, alpha)
    assert (drawn >= 0).all()
    assert (drawn[:, :2] <= HEIGHT).all()
    assert (drawn[:, 2:] <= WIDTH).all()
    shares = (drawn[:, 1] - drawn[:, 0]) * (drawn[:, 3] - drawn[:, 2]) / (HEIGHT * WIDTH)
    expected = independent_shares(HEIGHT, WIDTH, alpha)
    assert abs(shares.mean() - expected.mean()) < 4 * expected.std() / np.sqrt(COUNT)
    for limit in (0, 0.05, 0.2, 0.4, 0.6, 0.8):
        # The largest standard error of a part of 10,000 draws is 0.005.
        assert abs((shares <= limit).mean() - (expected <= limit).mean()) < 0.02


def test_the_mean_area_is_that_of_the_integral(boxes):
    """At alpha = 1 s = sqrt(1 - lambda) has the density 2 s, and a side loses s^2 / 4 at the edges.

    E[(s - s^2 / 4)^2] = 1/2 - 1/5 + 1/48, where the 1/2 is E[1 - lambda].
    """
    top, bottom, left, right = boxes(2000, 3000, 1.0).T
    shares = (bottom - top) * (right - left) / (2000 * 3000)
    assert abs(shares.mean() - (1 / 2 - 1 / 5 + 1 / 48)) < 4 * shares.std() / np.sqrt(COUNT)


def test_the_middle_of_whole_boxes_is_uniform(boxes):
    """Where a box of four rows is whole its centre is on each row with the same chance."""
    top, bottom = boxes(HEIGHT, WIDTH, 1.0)[:, :2].T
    small = (bottom - top == 4) & (top > 0) & (bottom < HEIGHT)
    centers = ((top + bottom) // 2)[small]
    counts = np.bincount(centers, minlength=HEIGHT)[3 : HEIGHT - 2]
    assert len(counts) == HEIGHT - 5
    assert np.abs(counts - counts.mean()).max() < 4 * np.sqrt(counts.mean())


def test_no_mixing_leaves_everything_as_it_is(cut):
    images, (labels, numbers) = cut(0, mixes=False)
    np.testing.assert_array_equal(images, probe())
    np.testing.assert_array_equal(labels, np.eye(BATCH))
    np.testing.assert_array_equal(numbers, np.arange(BATCH))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, r"config.augment.cutmix.alpha = 0.0 must be above 0"),
        ({"alpha": -1}, r"config.augment.cutmix.alpha = -1.0 must be above 0"),
        ({"alpha": "1"}, r"config.augment.cutmix.alpha = '1' is not of the right type"),
        ({"alpa": 1.0}, r"config.augment.cutmix has no option 'alpa'. Did you mean 'alpha'"),
        ({"probability": 1.5}, r"config.augment.cutmix.probability = 1.5 must be from 0 to 1"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        mixer({"cutmix": options})(probe(), [], ids())
