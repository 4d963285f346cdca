"""RICAP: crops of images that tell where a pixel is from, and the distribution of the patches."""

import jax
import numpy as np
import pytest
from mixing_helpers import BATCH, GROUP, HEIGHT, WIDTH, ids, mixer, probe, shares_of_images

from bot_jax.augment.ricap import draw_patches
from bot_jax.errors import InputError
from bot_jax.rng import purpose_of, sample_keys

COUNT = 10_000


@pytest.fixture(scope="module")
def patched():
    """Images, labels (which image is in it to which part), and a number for each image."""
    run = mixer({"ricap": {}})
    numbers = np.arange(BATCH, dtype=np.float32)

    def call(start, **options):
        labels = [np.eye(BATCH, dtype=np.float32), numbers]
        return run(probe(), labels, ids(start=start), **options)

    return call


@pytest.fixture(scope="module")
def patches():
    """Sizes and offsets of 10,000 groups at (height, width, beta), arrays [10,000, 4, 2]."""
    draw = jax.jit(jax.vmap(draw_patches, in_axes=(0, None, None, None)))
    keys = sample_keys(0, purpose_of("ricap"), GROUP * np.arange(COUNT, dtype=np.uint32))
    return lambda *args: jax.device_get(draw(keys, *args))


def put_together(group, sizes, offsets, orders):
    """What the paper describes, by slices: four crops, side by side and one below the other."""
    crops = [
        group[order][:, y : y + h, x : x + w]
        for (h, w), (y, x), order in zip(sizes, offsets, orders, strict=True)
    ]
    above, below = (np.concatenate(crops[i : i + 2], axis=2) for i in (0, 2))
    return np.concatenate([above, below], axis=1)


def test_four_crops_of_permutations_of_the_group(patched, patches):
    all_sizes, all_offsets = patches(HEIGHT, WIDTH, 0.3)
    empty, orders_seen = 0, set()
    for batch in range(20):
        images, _ = patched(batch * BATCH)
        for first in range(0, BATCH, GROUP):
            index = (batch * BATCH + first) // GROUP
            sizes, offsets = all_sizes[index], all_offsets[index]
            group = images[first : first + GROUP]
            h, w = sizes[0]
            orders = []
            for i, (size, place) in enumerate(
                zip(sizes, ((0, 0), (0, w), (h, 0), (h, w)), strict=True)
            ):
                if not size.all():
                    empty += 1
                    orders.append(np.arange(GROUP))
                    continue
                order = group[:, *place, 0].astype(int)  # the image that each pixel is of
                assert sorted(order) == list(range(first, first + GROUP))
                orders.append(order - first)
                orders_seen.add((i, *orders[-1]))
            own = probe()[first : first + GROUP]
            np.testing.assert_array_equal(group, put_together(own, sizes, offsets, orders))
    assert 40 < empty < 280  # of 320
    # Each patch has a permutation of its own; two of 8! are the same now and then.
    assert len(orders_seen) > 0.95 * (320 - empty)


def test_labels_are_the_parts_of_the_pixels(patched):
    for batch in range(20):
        images, (labels, numbers) = patched(batch * BATCH)
        expected = shares_of_images(images)
        np.testing.assert_allclose(labels, expected, atol=1e-6)
        np.testing.assert_allclose(labels.sum(-1), 1, atol=1e-6)
        np.testing.assert_allclose(numbers, expected @ np.arange(BATCH), rtol=1e-5)


@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_sizes_follow_the_beta_distribution(patches, beta):
    height, width = 2000, 3000
    sizes, _ = patches(height, width, beta)
    (h, w), (_, right), (below, _), last = sizes.transpose(1, 2, 0)
    np.testing.assert_array_equal(sizes[:, 1, 0], h)
    np.testing.assert_array_equal(sizes[:, 2, 1], w)
    np.testing.assert_array_equal(right, width - w)
    np.testing.assert_array_equal(below, height - h)
    np.testing.assert_array_equal(last, [below, right])
    variance = 1 / (4 * (2 * beta + 1))
    for part in (h / height, w / width):
        assert abs(part.mean() - 0.5) < 4 * np.sqrt(variance / COUNT)
        np.testing.assert_allclose(part.var(), variance, rtol=0.05)
    assert abs(np.corrcoef(h, w)[0, 1]) < 4 / np.sqrt(COUNT)


def test_sizes_are_rounded_to_the_nearest_pixel(patches):
    """As NumPy's: 12 w' rounds to 0 below 1 / 24, so that an end is half as likely."""
    rng = np.random.default_rng(0)
    sizes, _ = patches(HEIGHT, WIDTH, 0.3)
    for length, drawn in zip((HEIGHT, WIDTH), sizes[:, 0].T, strict=True):
        expected = np.round(length * rng.beta(0.3, 0.3, 400_000))
        for size in range(length + 1):
            assert abs((drawn == size).mean() - (expected == size).mean()) < 0.02
        assert (drawn == 0).any()
        assert (drawn == length).any()


def test_offsets_are_uniform_over_those_that_fit(patches):
    sizes, offsets = patches(HEIGHT, WIDTH, 0.3)
    room = np.array([HEIGHT, WIDTH]) - sizes
    assert (offsets >= 0).all()
    assert (offsets <= room).all()
    for patch in range(4):
        for axis in range(2):
            of_room = offsets[:, patch, axis][room[:, patch, axis] == 5]
            counts = np.bincount(of_room, minlength=6)
            assert np.abs(counts - counts.mean()).max() < 4 * np.sqrt(counts.mean())
    # Where there is room for both, patches have offsets of their own.
    large = (room[:, 0, 0] > 2) & (room[:, 1, 0] > 2)
    assert abs(np.corrcoef(offsets[large, 0, 0], offsets[large, 1, 1])[0, 1]) < 0.1


def test_no_mixing_leaves_everything_as_it_is(patched):
    images, (labels, numbers) = patched(0, mixes=False)
    np.testing.assert_array_equal(images, probe())
    np.testing.assert_array_equal(labels, np.eye(BATCH))
    np.testing.assert_array_equal(numbers, np.arange(BATCH))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": 0.0}, r"config.augment.ricap.beta = 0.0 must be above 0"),
        ({"beta": "x"}, r"config.augment.ricap.beta = 'x' is not of the right type"),
        ({"alpha": 1.0}, r"config.augment.ricap has no option 'alpha'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        mixer({"ricap": options})(probe(), [], ids())
