"""The choice between augmentations of a batch: how often, for whom, on how many devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mixing_helpers import BATCH, GROUP, ids, mixer, probe

from bot_jax.augment import registry
from bot_jax.errors import InputError

MANY = 10_000  # groups


@pytest.fixture
def tens(monkeypatch):
    """Mixup adds 1, CutMix 10 and RICAP 100 to all: a choice can be read off."""
    known = registry.augmentations()
    for name, number in (("mixup", 1), ("cutmix", 10), ("ricap", 100)):

        def function(images, rows, number=number):
            return images + number, lambda x: x + number

        replaced = dataclasses.replace(known[name], function=function, takes=frozenset())
        monkeypatch.setitem(registry._AUGMENTATIONS, name, replaced)


def choices(augment, *, batch=2 * MANY, group_size=2, steps=(0,), start=0, mixes=True, **options):
    """What was added to each group of zeros, [steps, groups]."""
    run = mixer(augment, batch=batch, group_size=group_size, **options)
    zeros = np.zeros((batch, 1, 1, 1), np.float32)
    result = []
    for step in steps:
        sample_ids = ids(batch, start)
        images, labels = run(zeros, [zeros[..., 0, 0], zeros[:, 0, 0, 0]], sample_ids, mixes, step)
        for label in labels:
            np.testing.assert_array_equal(label.reshape(-1), images.reshape(-1))
        groups = images.reshape(-1, group_size)
        assert (groups == groups[:, :1]).all()
        result.append(groups[:, 0].astype(int))
    return np.array(result)


def of(**probabilities):
    return {name: {"probability": value} for name, value in probabilities.items()}


def shares(choice):
    return [(choice == number).mean() for number in (0, 1, 10, 100)]


def test_groups_get_augmentations_as_often_as_asked_and_else_none(tens):
    # Four standard errors of a part of 10,000 groups are at most 0.02.
    choice = choices(of(mixup=0.3, cutmix=0.5))
    np.testing.assert_allclose(shares(choice), [0.2, 0.3, 0.5, 0], atol=0.02)
    choice = choices(of(cutmix=0.25, ricap=0.05))
    np.testing.assert_allclose(shares(choice), [0.7, 0, 0.25, 0.05], atol=0.02)


@pytest.mark.parametrize("parts", [(0.3, 0.3, 0.4), (0.7, 0.2, 0.1), (1 / 3, 1 / 3, 1 / 3)])
def test_probabilities_that_sum_to_one_leave_no_group_out(tens, parts):
    """Also where their sum is not exactly 1: 0.7 + 0.2 + 0.1 is less."""
    choice = choices(of(**dict(zip(("mixup", "cutmix", "ricap"), parts, strict=True))))
    np.testing.assert_allclose(shares(choice), [0, *parts], atol=0.02)
    assert (choice > 0).all()


def test_an_augmentation_by_itself_is_always_or_never_applied(tens):
    assert (choices({"cutmix": {}}) == 10).all()
    assert (choices(of(mixup=0.0, cutmix=1.0)) == 10).all()
    assert (choices(of(cutmix=0.0)) == 0).all()


def test_choices_depend_on_the_group_and_the_seed_and_not_on_the_step(tens):
    augment = of(mixup=0.3, cutmix=0.5)
    (one, later) = choices(augment, steps=(0, 5))
    np.testing.assert_array_equal(one, later)
    other_seed, other_ids = choices(augment, seed=1)[0], choices(augment, start=2 * MANY)[0]
    same = 0.3**2 + 0.5**2 + 0.2**2
    for other in (other_seed, other_ids, np.roll(one, 1)):
        assert abs((one == other).mean() - same) < 0.02


def test_a_batch_draws_once_a_step(tens):
    steps = 10_000
    choice = choices(
        of(mixup=0.3, cutmix=0.5), batch=BATCH, group_size=GROUP, draw="batch", steps=range(steps)
    )
    assert (choice == choice[:, :1]).all()
    # Four standard errors of 10,000 steps.
    np.testing.assert_allclose(shares(choice[:, 0]), [0.2, 0.3, 0.5, 0], atol=0.02)


@pytest.mark.parametrize("draw", ["group", "batch"])
def test_devices_do_not_change_the_choice(tens, draw):
    options = {"batch": 256, "group_size": 64, "draw": draw, "steps": range(4)}
    one, *others = (choices(of(mixup=0.3, cutmix=0.5), devices=n, **options) for n in (1, 2, 4, 8))
    assert one.shape == (4, 4)
    for other in others:  # on 8 devices each group is on two of them
        np.testing.assert_array_equal(one, other)


def test_no_mixing_leaves_everything_as_it_is(tens):
    assert (choices({"mixup": {}}, mixes=False) == 0).all()


def test_devices_do_not_change_what_is_mixed(monkeypatch):
    """Mixup, CutMix and RICAP; on 8 devices a group of 8 is on two of them."""
    # Numbers of the Beta distribution take many times as long to compile as all the rest.
    monkeypatch.setattr(
        jax.random,
        "beta",
        lambda key, a, b, shape=(), dtype=float: jax.random.uniform(key, shape, dtype),
    )
    augment = of(mixup=0.3, cutmix=0.3, ricap=0.4)
    augment["mixup"] |= {"alpha": 2.0, "pairs": "permute"}
    images = probe() + np.random.default_rng(0).uniform(size=(BATCH, 1, 1, 1)).astype(np.float32)
    labels = [np.eye(BATCH, dtype=np.float32), np.arange(BATCH, dtype=np.float32)]
    runs = [mixer(augment, devices=n) for n in (1, 2, 4, 8)]
    for start in range(0, 4 * BATCH, BATCH):
        (expected, expected_labels), *others = (
            run(images, labels, ids(start=start)) for run in runs
        )
        assert (np.abs(expected - images).max((1, 2, 3)) > 0).mean() > 0.5
        # Nothing of another group.
        groups = np.repeat(np.eye(BATCH // GROUP), GROUP, 0)
        np.testing.assert_allclose(
            expected_labels[0].reshape(BATCH, -1, GROUP).sum(-1), groups, atol=1e-6
        )
        for other, other_labels in others:
            np.testing.assert_allclose(other, expected, rtol=1e-6, atol=1e-6)
            for one, two in zip(other_labels, expected_labels, strict=True):
                np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)


def test_too_large_probabilities_are_refused():
    with pytest.raises(InputError) as error:
        choices({"mixup": {"probability": 0.6}, "cutmix": {}})
    assert str(error.value) == (
        "config.augment.mixup.probability = 0.6 + config.augment.cutmix.probability = 1 is more "
        "than 1. Make them smaller: images get one of them."
    )


def test_without_augmentations_of_a_batch_nothing_happens():
    image = jnp.ones((BATCH, 1, 1, 3))
    images, labels = mixer({"horizontal_flip": {}})(image, [image], ids())
    np.testing.assert_array_equal(images, image)
    np.testing.assert_array_equal(labels[0], image)
