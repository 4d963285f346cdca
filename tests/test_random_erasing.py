"""Random erasing against the algorithm written as a loop in NumPy."""

import jax
import numpy as np
import pytest
import scipy.stats

from bot_jax.augment.random_erasing import random_erasing
from bot_jax.errors import InputError

COUNT = 10_000
HEIGHT, WIDTH = 20, 28
TIMM = {"area": (0.02, 1 / 3), "log_aspect_ratio": True, "attempts": 10}


def keys_for(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def erased(images=None, count=COUNT, **options):
    if images is None:
        images = np.ones((count, HEIGHT, WIDTH, 3), np.float32)
    erase = jax.jit(lambda x, k: random_erasing(x, k, **options))
    return np.asarray(erase(images, keys_for(len(images))))


def boxes_of(hidden):
    """Top, left, height and width of the one box of each mask [b, H, W]; height 0: none."""
    rows, columns = hidden.any(axis=2), hidden.any(axis=1)
    np.testing.assert_array_equal(hidden, rows[:, :, None] & columns[:, None, :])
    top, left = rows.argmax(axis=1), columns.argmax(axis=1)
    height, width = rows.sum(axis=1), columns.sum(axis=1)
    for lines, first, size in ((rows, top, height), (columns, left, width)):
        position = np.arange(lines.shape[1])
        together = (first[:, None] <= position) & (position < (first + size)[:, None])
        np.testing.assert_array_equal(lines, together)
    return top, left, height, width


def expected_sizes(area=(0.02, 0.4), log_aspect_ratio=False, attempts=100, count=20_000):
    """Height and width of boxes by the paper's algorithm; (0, 0) where none fits."""
    generator = np.random.default_rng(0)
    sizes = []
    for _ in range(count):
        size = (0, 0)
        for _ in range(attempts):
            target = generator.uniform(*area) * HEIGHT * WIDTH
            if log_aspect_ratio:
                ratio = np.exp(generator.uniform(np.log(0.3), np.log(1 / 0.3)))
            else:
                ratio = generator.uniform(0.3, 1 / 0.3)
            height, width = round(np.sqrt(target * ratio)), round(np.sqrt(target / ratio))
            if height < HEIGHT and width < WIDTH:
                size = (height, width)
                break
        sizes.append(size)
    return np.array(sizes).T


@pytest.mark.parametrize("options", [{}, TIMM, {"area": (0.02, 1.0), "attempts": 1}])
def test_sizes_are_those_of_the_paper_s_algorithm(options):
    top, left, height, width = boxes_of(erased(**options)[..., 0] == 0)
    heights, widths = expected_sizes(**options)
    for ours, theirs in (
        (height, heights),
        (width, widths),
        (height * width, heights * widths),
        (height / np.maximum(width, 1), heights / np.maximum(widths, 1)),
    ):
        error = theirs.std() * np.sqrt(1 / len(ours) + 1 / len(theirs))
        assert abs(ours.mean() - theirs.mean()) < 4 * error
        # Two samples of whole numbers: 1.95 times this is exceeded once in a thousand.
        limit = 1.95 * np.sqrt(1 / len(ours) + 1 / len(theirs))
        assert scipy.stats.ks_2samp(ours, theirs, method="asymp").statistic < limit
    # The mean place of a box is the middle, and both ends are reached.
    some = height > 0
    for start, room in ((top, HEIGHT - height), (left, WIDTH - width)):
        offset = start[some] - room[some] / 2
        assert abs(offset.mean()) < 4 * offset.std() / np.sqrt(some.sum())
        for size in (4, 5):
            of_size = some & (room == size)
            assert set(start[of_size]) == set(range(size + 1))


def test_where_no_box_fits_the_image_stays():
    assert (erased(count=100, area=(1.0, 1.0), aspect_ratio=(1.0, 1.0)) == 1).all()


def test_other_pixels_stay_as_they_are():
    images = np.random.default_rng(0).normal(size=(50, HEIGHT, WIDTH, 3)).astype(np.float32)
    erase = jax.jit(lambda x: random_erasing(x, keys_for(50)))
    expected = images.copy()
    boxes = boxes_of(np.asarray(erase(np.ones_like(images)))[..., 0] == 0)
    for image, top, left, height, width in zip(expected, *boxes, strict=True):
        assert height > 0
        image[top : top + height, left : left + width] = 0
    np.testing.assert_array_equal(erase(images), expected)


@pytest.mark.parametrize("fill", ["random", "pixel"])
def test_fill(fill):
    images = np.full((2000, HEIGHT, WIDTH, 3), 1000, np.float32)
    result = erased(images, fill=fill)
    top, left, height, width = boxes_of(result[..., 0] != 1000)
    boxes = [
        image[t : t + h, le : le + w]
        for image, t, le, h, w in zip(result, top, left, height, width, strict=True)
    ]
    if fill == "random":
        assert all((box == box[0, 0]).all() for box in boxes)
        colors = np.stack([box[0, 0] for box in boxes])
    else:
        colors = np.concatenate([box.reshape(-1, 3)[:3] for box in boxes])
        assert len(np.unique(colors)) > 0.99 * colors.size
    for channel in colors.T:
        assert scipy.stats.kstest(channel, scipy.stats.norm.cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(colors.T) - np.eye(3)).max() < 4 / np.sqrt(len(colors))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"area": (0.02, 1.5)}, r"random_erasing\.area = \(0.02, 1.5\): 1.5 must be from 0 to 1"),
        ({"area": (0.4, 0.02)}, r"area = \(0.4, 0.02\) must have the least .* \(0.02, 0.4\)"),
        ({"area": (0.4,)}, "area = .* must be two numbers"),
        ({"area": ("a", 1)}, "area = .*'a' is not of type float"),
        ({"aspect_ratio": (0.0, 1.0)}, "aspect_ratio = .* must be above 0"),
        ({"attempts": 0}, "attempts = 0 must be at least 1"),
        ({"fill": "pixels"}, r"random_erasing\.fill = 'pixels' is not known. Did you mean 'pixel'"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError, match=message):
        random_erasing(np.ones((1, 8, 8, 3), np.float32), keys_for(1), **options)
