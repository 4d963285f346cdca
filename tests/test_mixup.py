"""Mixup: lambda * x + (1 - lambda) * partner, lambda ~ Beta(alpha, alpha)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from bot_jax import parallel
from bot_jax.augment.mixing import Rows
from bot_jax.augment.mixup import mixup
from bot_jax.errors import InputError
from bot_jax.losses.label_smoothing import smooth_labels

# One batch size throughout, since each costs a long compilation of the Beta sampler.
COUNT = 10_000


def ids(count, start=0):
    return np.arange(start, start + count, dtype=np.uint32)


def rows_of(sample_ids, group_size, seed=0):
    layout = parallel.make_layout(len(sample_ids), group_size=group_size, devices=jax.devices()[:1])
    return Rows(seed, jnp.asarray(sample_ids), layout)


def lambdas_of(sample_ids, alpha, group_size=2, seed=0, **options):
    """The weight of each example itself, read off its own label."""
    rows = rows_of(sample_ids, group_size, seed)
    pixel = jnp.zeros((len(sample_ids), 1, 1, 3))
    _, mix = mixup(pixel, rows, alpha=alpha, **options)
    # The first half of a group is 1 and its partners, in the reverse order, are 0.
    first = jnp.arange(len(sample_ids)) % group_size < group_size // 2
    mixed = mix(first.astype(jnp.float32))
    return np.asarray(jnp.where(first, mixed, 1 - mixed), np.float64)


@pytest.mark.parametrize("pairs", ["reverse", "permute"])
def test_mixes_images_and_targets_alike(pairs):
    generator = np.random.default_rng(0)
    images = generator.uniform(0, 255, (8, 5, 6, 3)).astype(np.float32)
    targets = np.eye(8, dtype=np.float32)
    mixed, mix = mixup(images, rows_of(ids(8), 4), alpha=5.0, lambda_per="sample", pairs=pairs)
    mixed_targets = np.asarray(mix(targets))
    assert mixed.dtype == mixed_targets.dtype == np.float32
    np.testing.assert_allclose(mixed_targets.sum(axis=1), 1, atol=1e-6)
    # Each example is a label of its own, so that the targets are the weights.
    np.testing.assert_allclose(mixed, np.einsum("ij,jabc->iabc", mixed_targets, images), rtol=1e-4)
    assert not mixed_targets[:4, 4:].any()
    assert not mixed_targets[4:, :4].any()
    if pairs == "reverse":
        assert all(mixed_targets[i, [i, j]].sum() > 0.999 for i, j in ((0, 3), (1, 2), (4, 7)))


@pytest.mark.parametrize(("form", "smoothing"), [("uniform", 0.1), ("paper", 0.1 * 10 / 9)])
def test_smoothing_and_mixing_commute(form, smoothing):
    """Both forms are (1 - s) * one_hot + s / K; in the paper's form s = eps * K / (K - 1)."""
    labels = np.random.default_rng(1).integers(0, 10, 8)
    _, mix = mixup(np.zeros((8, 1, 1, 3), np.float32), rows_of(ids(8), 4), alpha=5.0)
    mixed = np.asarray(mix(np.eye(10, dtype=np.float32)[labels]))
    expected = (1 - smoothing) * mixed + smoothing / 10
    np.testing.assert_allclose(mix(smooth_labels(labels, 10, 0.1, form)), expected, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_lambdas_follow_the_beta_distribution(alpha):
    lambdas = lambdas_of(ids(COUNT), alpha, lambda_per="sample")
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
    lambdas = lambdas_of(ids(COUNT), 1.0, lambda_per="sample")
    assert abs(np.corrcoef(lambdas[:-1], lambdas[1:])[0, 1]) < 4 / np.sqrt(COUNT)


def test_a_group_has_one_lambda_and_a_sample_id_the_same_wherever_it_stands():
    lambdas = lambdas_of(ids(COUNT), 1.0, group_size=10)
    groups = lambdas.reshape(-1, 10)
    np.testing.assert_allclose(groups, groups[:, :1] * np.ones(10), atol=1e-6)
    assert len(np.unique(groups[:, 0].round(6))) > 900
    later = lambdas_of(ids(COUNT, start=5000), 1.0, group_size=10)
    np.testing.assert_array_equal(later[: COUNT // 2], lambdas[COUNT // 2 :])


def test_lambdas_depend_on_the_seed():
    first = lambdas_of(ids(COUNT), 1.0, lambda_per="sample")
    second = lambdas_of(ids(COUNT), 1.0, lambda_per="sample", seed=1)
    assert (first == second).mean() < 0.01


def partners_of(sample_ids, group_size, seed=0):
    """The place within its group of each example's partner."""
    rows = rows_of(sample_ids, group_size, seed)
    place = jnp.arange(len(sample_ids)) % group_size
    return np.asarray(rows.permute(place, "mixup_pairs")).reshape(-1, group_size)


def test_permutation_is_one_and_depends_on_seed_and_group():
    first, second = partners_of(ids(64), 32)
    assert sorted(first) == sorted(second) == list(range(32))
    np.testing.assert_array_equal(second, partners_of(ids(64, start=32), 32)[0])
    assert (first != second).any()
    assert (first != partners_of(ids(64), 32, seed=1)[0]).any()


def test_every_partner_is_as_likely():
    partners = partners_of(ids(16_000), 4)
    counts = np.stack([(partners == i).mean(0) for i in range(4)])
    # Four standard deviations of 4,000 draws are 0.027.
    np.testing.assert_allclose(counts, 0.25, atol=0.027)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.0}, "config.augment.mixup.alpha = 0.0 must be above 0"),
        ({"pairs": "revers"}, "Did you mean 'reverse'"),
        ({"lambda_per": "batch"}, "config.augment.mixup.lambda_per = 'batch'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        mixup(np.zeros((4, 1, 1, 3), np.float32), rows_of(ids(4), 4), **options)
