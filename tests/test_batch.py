"""What the model sees of a batch: mixed images and targets, on several devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from step_helpers import BATCH, assert_same, batch_of, plain, prepared, run

from bot_jax.losses.label_smoothing import smooth_labels
from bot_jax.rng import Purpose, sample_keys


def test_training_accuracy_under_mixup_is_the_weight_of_the_predicted_class(tiny_config):
    config = plain(tiny_config)
    config.augment.mixup = {"alpha": 5.0}
    batch = batch_of(np.random.default_rng(1))
    images, targets, credit, _ = prepared(config, batch)
    np.testing.assert_allclose(targets, credit, atol=1e-6)  # without smoothing they are equal
    np.testing.assert_allclose(credit.sum(-1), 1, atol=1e-6)
    # Row 0 is mixed with row 7, the last of its group, and both with one weight.
    one_hot = np.asarray(smooth_labels(batch["label"], 10, 0.0))
    weight = np.dot(credit[0] - one_hot[7], one_hot[0] - one_hot[7]) / 2
    assert 0 < weight < 1
    np.testing.assert_allclose(
        credit[7], weight * one_hot[7] + (1 - weight) * one_hot[0], atol=1e-6
    )
    mean, std = np.array([123.68, 116.779, 103.939]), np.array([58.393, 57.12, 57.375])
    pixels = (batch["image"] - mean) / std
    np.testing.assert_allclose(
        images[0], weight * pixels[0] + (1 - weight) * pixels[7], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("devices", [4, 8])
@pytest.mark.parametrize("pairs", ["reverse", "permute"])
def test_mixup_reads_the_same_partners_on_any_number_of_devices(tiny_config, devices, pairs):
    config = plain(tiny_config)
    config.augment.mixup = {"alpha": 5.0, "pairs": pairs, "lambda_per": "sample"}
    batch = batch_of(np.random.default_rng(1))
    # On 8 devices a group of 8 is on two of them.
    assert_same(*(prepared(config, batch, devices=n) for n in (1, devices)))


def test_mixup_permutes_within_groups_with_a_weight_for_each_sample(tiny_config):
    config = plain(tiny_config)
    config.augment.mixup = {"alpha": 5.0, "pairs": "permute", "lambda_per": "sample"}
    batch = batch_of(np.random.default_rng(1))
    number = np.arange(BATCH, dtype=np.uint8)
    batch["image"] = np.broadcast_to(number[:, None, None, None], batch["image"].shape).copy()
    ids = jnp.asarray(batch["sample_id"])
    keys = sample_keys(config.seed, Purpose.MIXUP, ids)
    weights = np.asarray(jax.vmap(lambda key: jax.random.beta(key, 5.0, 5.0))(keys))
    assert len(np.unique(weights)) == BATCH
    group_keys = sample_keys(config.seed, Purpose.MIXUP_PAIRS, ids[::8])
    partners = np.concatenate(
        [8 * i + np.asarray(jax.random.permutation(key, 8)) for i, key in enumerate(group_keys)]
    )
    images, targets, *_ = prepared(config, batch)
    expected = weights * number + (1 - weights) * partners
    np.testing.assert_allclose(images[:, 3, 3, 0] * 58.393 + 123.68, expected, atol=1e-3)
    one_hot = np.eye(10)[batch["label"]]
    mixed = weights[:, None] * one_hot + (1 - weights[:, None]) * one_hot[partners]
    np.testing.assert_allclose(targets, mixed, atol=1e-6)


def test_the_last_epochs_are_not_mixed_where_asked(tiny_config):
    config = plain(tiny_config)
    config.augment.mixup = {"alpha": 5.0}
    batch = batch_of(np.random.default_rng(1))
    images, targets, *_ = prepared(config, batch, step=5)
    np.testing.assert_array_equal(targets, np.eye(10)[batch["label"]])
    mean, std = np.array([123.68, 116.779, 103.939]), np.array([58.393, 57.12, 57.375])
    np.testing.assert_allclose(images, (batch["image"] - mean) / std, rtol=1e-4, atol=1e-4)

    biases = {n: run(config, steps=3, mixing_steps=n).params["head"]["bias"] for n in (0, 2, 3)}
    np.testing.assert_allclose(biases[3], run(config, steps=3).params["head"]["bias"], rtol=1e-5)
    assert np.abs(biases[3] - biases[2]).max() > 1e-4
    del config.augment.mixup
    np.testing.assert_allclose(biases[0], run(config, steps=3).params["head"]["bias"], rtol=1e-5)
