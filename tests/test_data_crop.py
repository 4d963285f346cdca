import numpy as np
import pytest
from data_helpers import smooth_image
from PIL import Image
from scipy.stats import ks_2samp

from bot_jax.data import crop
from bot_jax.data.tensorflow_cpu import tf

FLAVORS = ("paper", "gluoncv")
PAPER = {"height": 300, "width": 500, "area": (0.08, 1.0), "aspect_ratio": (3 / 4, 4 / 3)}
# Nearly every candidate fits, and linear and logarithmic ratios differ much.
WIDE = {"height": 900, "width": 900, "area": (0.01, 0.02), "aspect_ratio": (1 / 4, 4)}


def sample_windows(count, flavor, height, width, area, aspect_ratio):
    """int [count, 4]: windows of the same numbers every time."""
    draws = np.random.default_rng(7).random((count, crop.WINDOW_DRAWS), np.float32)

    windows = crop.sample_windows(
        tf.fill([count], height),
        tf.fill([count], width),
        draws,
        flavor=flavor,
        area=area,
        aspect_ratio=aspect_ratio,
        image_size=32,
    )
    return windows.numpy()


def simulate_windows(count, flavor, height, width, area, aspect_ratio):
    """The same distribution, one candidate after the other, in NumPy."""
    rng = np.random.default_rng(0)
    windows = []
    while len(windows) < count:
        pixels = rng.uniform(*area) * height * width
        if flavor == "paper":
            ratio = np.exp(rng.uniform(*np.log(aspect_ratio)))
        else:
            ratio = rng.uniform(*aspect_ratio)
            ratio = ratio if rng.random() < 0.5 else 1 / ratio
        box_width, box_height = round(np.sqrt(pixels * ratio)), round(np.sqrt(pixels / ratio))
        if box_width <= width and box_height <= height:
            top = rng.integers(height - box_height + 1)
            left = rng.integers(width - box_width + 1)
            windows.append((top, left, box_height, box_width))
    return np.array(windows)


def features(windows, height, width):
    top, left, box_height, box_width = windows.T.astype(float)
    return {
        "area": box_height * box_width / (height * width),
        "ratio": box_width / box_height,
        "vertical place": top / np.maximum(height - box_height, 1),
        "horizontal place": left / np.maximum(width - box_width, 1),
    }


@pytest.mark.parametrize("setting", [PAPER, WIDE])
@pytest.mark.parametrize("flavor", FLAVORS)
def test_windows_follow_the_distribution_of_the_flavor(flavor, setting):
    height, width, area = setting["height"], setting["width"], setting["area"]
    ours = sample_windows(4000, flavor, **setting)
    top, left, box_height, box_width = ours.T
    assert np.all((top >= 0) & (left >= 0) & (box_height > 0) & (box_width > 0))
    assert np.all((top + box_height <= height) & (left + box_width <= width))

    # Ten misfits in a row, which the simulation leaves out, have a window of their own.
    drawn = ours[(box_height != 32) | (box_width != 32)]
    assert len(drawn) > 0.995 * len(ours)
    ours = features(drawn, height, width)
    expected = features(simulate_windows(20000, flavor, **setting), height, width)
    for name in ours:
        assert ks_2samp(ours[name], expected[name]).pvalue > 1e-3, name
    places = np.corrcoef(ours["vertical place"], ours["horizontal place"])
    assert abs(places[0, 1]) < 0.06
    # The smallest area is reached: one drawn as the length of a side would stay away from it.
    assert 0.98 * area[0] < ours["area"].min() < 1.05 * area[0]
    assert ours["area"].max() > 0.75 * area[1]


def test_the_flavors_differ():
    ratios = [features(sample_windows(3000, f, **WIDE), 900, 900)["ratio"] for f in FLAVORS]
    assert ks_2samp(*ratios).pvalue < 1e-3


@pytest.mark.parametrize(
    ("flavor", "size", "expected"),
    [
        ("paper", (8, 4000), [0, 1994, 8, 11]),  # at most 4/3 wide
        ("paper", (4000, 8), [1994, 0, 11, 8]),  # at least 3/4 wide
        ("gluoncv", (8, 4000), [0, 1996, 8, 8]),
        ("gluoncv", (90, 4000), [29, 1984, 32, 32]),  # native resolution, image_size 32
        ("paper", (1, 1), [0, 0, 1, 1]),
        ("gluoncv", (1, 1), [0, 0, 1, 1]),
        ("paper", (1, 50), [0, 24, 1, 1]),
    ],
)
def test_central_window_where_no_candidate_fits(flavor, size, expected):
    windows = sample_windows(20, flavor, *size, area=(0.5, 1.0), aspect_ratio=(3 / 4, 4 / 3))
    assert windows.tolist() == [expected] * 20


def test_central_window_keeps_the_nearest_ratio_within_bounds():
    windows = sample_windows(5, "paper", 100, 100, area=(1.0, 1.0), aspect_ratio=(2.0, 2.0))
    assert windows.tolist() == [[25, 0, 50, 100]] * 5


def test_window_is_a_function_of_the_seed():
    first, second = sample_windows(50, "paper", **PAPER), sample_windows(50, "paper", **PAPER)
    np.testing.assert_array_equal(first, second)
    assert len(np.unique(first, axis=0)) == 50


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_window_does_not_depend_on_the_others_of_its_batch(flavor):
    rng = np.random.default_rng(3)
    height, width = rng.integers(1, 7000, (2, 60)).astype(np.int32)
    draws = rng.random((60, crop.WINDOW_DRAWS), np.float32)
    options = {"area": (0.3, 1.0), "aspect_ratio": (3 / 4, 4 / 3), "image_size": 32}

    def windows(rows):
        of_rows = (height[rows], width[rows], draws[rows])
        return crop.sample_windows(*of_rows, flavor=flavor, **options).numpy()

    together = windows(slice(None))
    assert np.all(together[:, :2] >= 0)
    assert np.all(together[:, :2] + together[:, 2:] <= np.stack([height, width], 1))
    for i in range(60):
        np.testing.assert_array_equal(windows(slice(i, i + 1)), together[i : i + 1])


def test_whole_images():
    windows = crop.whole_images(tf.constant([3, 5]), tf.constant([4, 6]))
    assert windows.numpy().tolist() == [[0, 0, 3, 4], [0, 0, 5, 6]]


def interpolate(image, positions, kernel, support):
    """Resamples axis 0 of float [n, ...] at `positions` (pixel centres at integers)."""
    base = np.floor(positions).astype(int)
    result, total = 0, 0
    for offset in range(1 - support, support + 1):
        index = base + offset
        weight = kernel(positions - index) * ((index >= 0) & (index < len(image)))
        weight = weight.reshape(-1, *[1] * (image.ndim - 1))
        result = result + weight * image[np.clip(index, 0, len(image) - 1)]
        total = total + weight
    return result / total


def triangle(x):
    return np.maximum(0, 1 - np.abs(x))


def keys_cubic(x, a=-0.5):
    x = np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def numpy_resize(image, height, width, interpolation):
    """Float [height, width, 3] without antialiasing, pixel centres at half-integers."""
    kernel, support = {"bilinear": (triangle, 1), "bicubic": (keys_cubic, 2)}[interpolation]
    rows = (np.arange(height) + 0.5) * image.shape[0] / height - 0.5
    columns = (np.arange(width) + 0.5) * image.shape[1] / width - 0.5
    image = interpolate(image.astype(float), rows, kernel, support)
    return interpolate(image.swapaxes(0, 1), columns, kernel, support).swapaxes(0, 1)


PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def expected_resize(image, height, width, interpolation, antialias):
    if antialias:
        # Channel by channel in float: for uint8 Pillow rounds and clips between the two axes.
        channels = [Image.fromarray(image[..., i].astype(np.float32)) for i in range(3)]
        channels = [c.resize((width, height), PILLOW[interpolation]) for c in channels]
        return np.clip(np.stack([np.asarray(c) for c in channels], axis=-1), 0, 255)
    return np.clip(numpy_resize(image, height, width, interpolation), 0, 255)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(90, 71), (9, 13)])
def test_resize_equals_pillow_or_the_formula(size, interpolation, antialias):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    resized = crop.resize(image, 24, interpolation=interpolation, antialias=antialias).numpy()
    assert resized.dtype == np.uint8
    expected = expected_resize(image, 24, 24, interpolation, antialias)
    assert np.abs(resized - expected).max() < 0.7
    assert np.abs(resized - expected).mean() < 0.3  # rounded, not cut off


@pytest.mark.parametrize("size", [(24, 24), (41, 42), (42, 42), (1, 300), (5, 3)])
def test_small_and_large_windows_have_the_same_pixels(size, monkeypatch):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)

    def resize(small):
        monkeypatch.setattr(crop, "_SMALL", small)
        return crop.resize(image, 24, interpolation="bilinear", antialias=False).numpy()

    np.testing.assert_array_equal(resize(small=0), resize(small=10**6))
    of_bytes, of_floats = (tf.image.resize(x, (24, 24)) for x in (image, image.astype(np.float32)))
    np.testing.assert_array_equal(of_bytes, of_floats)  # not only when they are rounded


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    # Source size, and size and start of the crop when the shorter side becomes 41.
    ("size", "resized", "start"),
    [
        ((90, 71), (51, 41), (8, 4)),  # 51.97 becomes 51; (51-36)/2 = 7.5 -> 8, 2.5 -> 2
        ((71, 90), (41, 51), (2, 8)),
        ((20, 20), (41, 41), (2, 2)),
        ((8, 200), (41, 1025), (2, 494)),  # 494.5 -> 494
    ],
)
def test_evaluation_view_equals_resize_then_crop(size, resized, start, interpolation, antialias):
    image = smooth_image(*size)
    view = crop.resize_and_center_crop(
        tf.constant(image), 36, eval_resize=41, interpolation=interpolation, antialias=antialias
    ).numpy()
    whole = expected_resize(image, *resized, interpolation, antialias)
    top, left = (round((side - 36) / 2) for side in resized)
    assert (top, left) == (start[0], left)
    expected = whole[top : top + 36, left : left + 36]
    assert view.shape == (36, 36, 3)
    assert np.abs(view - expected).max() < 0.7
    assert np.abs(view - expected).mean() < 0.3


def test_default_eval_resize_is_that_of_the_paper():
    assert crop.default_eval_resize(224) == 256
    assert crop.default_eval_resize(299) == 342
