"""Mixup: lambda * x + (1 - lambda) * partner, lambda ~ Beta(alpha, alpha)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from bot_jax.augment.mixup import mixup, mixup_lambdas, mixup_permutation
from bot_jax.losses.label_smoothing import smooth_labels

# One batch size throughout, since each costs a long compilation of the Beta sampler.
COUNT = 10_000


def ids(count, start=0):
    return np.arange(start, start + count, dtype=np.uint32)


def random_batch(seed, num_classes=10):
    generator = np.random.default_rng(seed)
    images = generator.uniform(0, 255, (4, 5, 6, 3)).astype(np.float32)
    labels = generator.integers(0, num_classes, 4).astype(np.int32)
    return images, labels


LAMBDAS = np.array([0.0, 0.25, 0.9, 1.0], np.float32)


def test_mixes_images_and_targets_alike():
    (images, labels), (partner_images, partner_labels) = random_batch(0), random_batch(1)
    targets, partner_targets = np.eye(10, dtype=np.float32)[np.stack([labels, partner_labels])]
    mixed, mixed_targets = mixup(images, targets, LAMBDAS, partner_images, partner_targets)
    assert mixed.dtype == mixed_targets.dtype == np.float32
    for row, weight in enumerate([0.0, 0.25, 0.9, 1.0]):
        expected = weight * images[row] + (1 - weight) * partner_images[row]
        np.testing.assert_allclose(mixed[row], expected, rtol=1e-5)
        expected = weight * targets[row] + (1 - weight) * partner_targets[row]
        np.testing.assert_allclose(mixed_targets[row], expected, atol=1e-6)
    np.testing.assert_allclose(mixed_targets.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("form", "smoothing"), [("uniform", 0.1), ("paper", 0.1 * 10 / 9)])
def test_smoothing_and_mixing_commute(form, smoothing):
    """Both forms are (1 - s) * one_hot + s / K; in the paper's form s = eps * K / (K - 1)."""
    (images, labels), (partner_images, partner_labels) = random_batch(0), random_batch(1)
    _, mixed_after_smoothing = mixup(
        images,
        smooth_labels(labels, 10, 0.1, form),
        LAMBDAS,
        partner_images,
        smooth_labels(partner_labels, 10, 0.1, form),
    )
    one_hot, partner_one_hot = np.eye(10)[labels], np.eye(10)[partner_labels]
    mixed = LAMBDAS[:, None] * one_hot + (1 - LAMBDAS[:, None]) * partner_one_hot
    expected = (1 - smoothing) * mixed + smoothing / 10
    np.testing.assert_allclose(mixed_after_smoothing, expected, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_lambdas_follow_the_beta_distribution(alpha):
    lambdas = np.asarray(mixup_lambdas(0, ids(COUNT), alpha), np.float64)
    assert lambdas.shape == (COUNT,)
    assert lambdas.min() >= 0
    assert lambdas.max() <= 1
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(lambdas.mean() - 0.5) < 4 * np.sqrt(variance / COUNT)
    np.testing.assert_allclose(lambdas.var(), variance, rtol=0.05)
    # Not a Kolmogorov-Smirnov test: with alpha = 0.2, 1.6 % of the draws round to exactly 1 in
    # float32. The largest standard error of an empirical distribution function is 0.5 / 100.
    points = np.array([1e-4, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.9999])
    empirical = (lambdas[:, np.newaxis] <= points).mean(axis=0)
    np.testing.assert_allclose(empirical, scipy.stats.beta(alpha, alpha).cdf(points), atol=0.02)


def test_lambdas_of_neighbouring_samples_are_uncorrelated():
    lambdas = np.asarray(mixup_lambdas(0, ids(COUNT), 1.0))
    assert abs(np.corrcoef(lambdas[:-1], lambdas[1:])[0, 1]) < 4 / np.sqrt(COUNT)


def test_a_sample_id_has_one_lambda_wherever_it_stands():
    """So a group that repeats the id of its first sample shares one lambda."""
    sample_ids = ids(COUNT, start=1000)
    sample_ids[:6] = [7, 7, 900, 3, 7, 2**32 - 1]
    lambdas = np.asarray(mixup_lambdas(3, sample_ids, 1.0))
    assert lambdas.dtype == np.float32
    assert lambdas[0] == lambdas[1] == lambdas[4]
    assert len(np.unique(lambdas[:6])) == 4
    np.testing.assert_array_equal(mixup_lambdas(3, sample_ids[::-1], 1.0), lambdas[::-1])


def test_lambdas_depend_on_the_seed():
    first = np.asarray(mixup_lambdas(0, ids(COUNT), 1.0))
    second = np.asarray(mixup_lambdas(1, ids(COUNT), 1.0))
    assert (first == second).mean() < 0.01


def test_permutation_is_one_and_depends_on_seed_and_group():
    first = np.asarray(mixup_permutation(0, jnp.uint32(64), 32))
    assert sorted(first) == list(range(32))
    np.testing.assert_array_equal(first, mixup_permutation(0, jnp.uint32(64), 32))
    assert (first != np.asarray(mixup_permutation(0, jnp.uint32(96), 32))).any()
    assert (first != np.asarray(mixup_permutation(1, jnp.uint32(64), 32))).any()


def test_every_partner_is_as_likely():
    ids = jnp.arange(4000, dtype=jnp.uint32)
    partners = np.asarray(jax.vmap(lambda i: mixup_permutation(0, i, 4))(ids))
    counts = np.stack([(partners == i).mean(0) for i in range(4)])
    # Four standard deviations of 4,000 draws are 0.027.
    np.testing.assert_allclose(counts, 0.25, atol=0.027)
