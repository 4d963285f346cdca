"""AlexNet's PCA noise: image + V @ (alphas * eigenvalues), alphas ~ N(0, std)."""

import jax
import numpy as np
import pytest
import scipy.stats

from bot_jax.augment.pca_noise import add_pca_noise, pca_noise

EIGENVALUES = np.array([55.46, 4.794, 1.148])
EIGENVECTORS = np.array(  # rows R, G, B
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ]
)


def keys_for(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def drawn_alphas(keys, **options):
    """The coefficients of each key, read off the shift of a grey pixel."""
    gray = np.full((len(keys), 1, 1, 3), 128, np.float32)
    shift = np.asarray(pca_noise(gray, keys, **options), np.float64)[:, 0, 0] - 128
    return np.linalg.solve(EIGENVECTORS, shift.T).T / EIGENVALUES


@pytest.mark.parametrize(
    ("alphas", "shift"),
    [
        # One eigenvector at a time: column of V times its eigenvalue times alpha.
        ((0.1, 0, 0), (-3.147355, -3.2211168, -3.2366456)),
        ((0, 1, 0), (3.4478448, -0.021573, -3.3308712)),
        ((0, 0, -2), (-0.9204664, 1.868944, -0.9650088)),
        ((0.1, 1, -2), (-0.6199766, -1.3737458, -7.5325256)),
    ],
)
def test_shift_of_known_coefficients(alphas, shift):
    image = np.random.default_rng(0).uniform(50, 200, (4, 5, 3)).astype(np.float32)
    result = add_pca_noise(image, np.array(alphas, np.float32))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result - image, np.broadcast_to(shift, image.shape), atol=1e-4)


def test_result_is_clipped_to_the_pixel_range():
    image = np.array([[[2, 128, 254]]], np.float32)
    darker = add_pca_noise(image, np.array([0.2, 0, 0], np.float32))
    np.testing.assert_allclose(darker[0, 0], [0, 128 - 6.4422, 254 - 6.4733], atol=1e-3)
    brighter = add_pca_noise(image, np.array([-0.2, 0, 0], np.float32))
    np.testing.assert_allclose(brighter[0, 0], [2 + 6.2947, 128 + 6.4422, 255], atol=1e-3)


def test_coefficients_are_independent_normal_with_the_default_std():
    alphas = drawn_alphas(keys_for(10_000))
    for column in alphas.T:
        assert scipy.stats.kstest(column, scipy.stats.norm(0, 0.1).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(alphas.T) - np.eye(3)).max() < 4 / np.sqrt(10_000)


def test_covariance_of_the_shift():
    std = 0.2
    gray = np.full((10_000, 1, 1, 3), 128, np.float32)
    shift = np.asarray(pca_noise(gray, keys_for(10_000), std=std))[:, 0, 0] - 128
    expected = EIGENVECTORS @ np.diag((std * EIGENVALUES) ** 2) @ EIGENVECTORS.T
    # The standard error of a variance over n normal draws is sqrt(2 / n) of it: 1.4 %.
    np.testing.assert_allclose(np.cov(shift.T), expected, rtol=0.06)
    np.testing.assert_allclose(shift.mean(axis=0), 0, atol=4 * 0.2 * 55.46 * 0.6 / 100)


def test_all_pixels_of_an_image_shift_alike():
    images = np.random.default_rng(0).uniform(60, 190, (3, 4, 5, 3)).astype(np.float32)
    shift = np.asarray(pca_noise(images, keys_for(3))) - images
    np.testing.assert_allclose(shift, np.broadcast_to(shift[:, :1, :1], shift.shape), atol=1e-4)


def test_each_image_depends_on_its_own_key_alone():
    images = np.random.default_rng(0).uniform(0, 255, (4, 3, 3, 3)).astype(np.float32)
    keys = keys_for(4)
    batch = np.asarray(pca_noise(images, keys))
    for row in range(4):
        alone = pca_noise(images[row : row + 1], keys[row : row + 1])
        np.testing.assert_allclose(alone[0], batch[row], atol=1e-4)
    order = np.array([3, 1, 0, 2])
    np.testing.assert_allclose(pca_noise(images[order], keys[order]), batch[order], atol=1e-4)


def test_std_zero_changes_nothing():
    images = np.random.default_rng(0).uniform(0, 255, (2, 3, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(pca_noise(images, keys_for(2), std=0.0), images, atol=1e-5)
