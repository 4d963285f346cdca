"""Random keys are a function of (seed, purpose, sample id) and of nothing else."""

import jax
import numpy as np
import pytest

from bot_jax.rng import Purpose, host_seed, sample_keys

IDS = np.array([0, 1, 2, 123_456, 2**32 - 1], np.uint32)


def key_data(seed, purpose, sample_ids):
    return np.asarray(jax.random.key_data(sample_keys(seed, purpose, np.asarray(sample_ids))))


def threefry(key, counter):
    """Threefry-2x32 with 20 rounds (Salmon et al. 2011), on Python integers."""
    mask = 0xFFFFFFFF
    schedule = [*key, key[0] ^ key[1] ^ 0x1BD11BDA]
    x, y = (counter[0] + schedule[0]) & mask, (counter[1] + schedule[1]) & mask
    for group in range(5):
        for rotation in [(13, 15, 26, 6), (17, 29, 16, 24)][group % 2]:
            x = (x + y) & mask
            y = ((y << rotation) | (y >> (32 - rotation))) & mask
            y ^= x
        x = (x + schedule[(group + 1) % 3]) & mask
        y = (y + schedule[(group + 2) % 3] + group + 1) & mask
    return x, y


def test_purposes_are_never_renumbered():
    """A new purpose takes a new number; renumbering would change every published result."""
    pinned = {
        "INITIALIZATION": 0,
        "ORDER": 1,
        "CROP": 2,
        "FLIP": 3,
        "COLOR_JITTER": 4,
        "PCA_NOISE": 5,
        "MIXUP": 6,
    }
    assert pinned.items() <= {purpose.name: purpose.value for purpose in Purpose}.items()
    assert len({purpose.value for purpose in Purpose}) == len(Purpose.__members__)


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize("purpose", [Purpose.COLOR_JITTER, Purpose.MIXUP])
def test_keys_are_threefry_of_seed_then_purpose_then_sample(seed, purpose):
    expected = [
        threefry(threefry((0, seed), (0, int(purpose))), (0, int(sample_id))) for sample_id in IDS
    ]
    np.testing.assert_array_equal(key_data(seed, purpose, IDS), expected)


def test_pinned_keys():
    """Values that this project has used since its first release."""
    np.testing.assert_array_equal(
        key_data(7, Purpose.COLOR_JITTER, IDS[[0, 1, 4]]),
        [
            [3286196052, 2411203219],
            [2495644407, 2624720810],
            [2909238808, 1911198333],
        ],
    )


def test_every_seed_purpose_and_sample_has_its_own_key():
    keys = [key_data(seed, purpose, IDS) for seed in (0, 1, 2) for purpose in Purpose]
    keys = np.concatenate(keys)
    assert len(np.unique(keys, axis=0)) == len(keys) == 3 * len(Purpose) * len(IDS)


def test_a_key_does_not_depend_on_its_batch():
    whole = key_data(3, Purpose.CROP, IDS)
    np.testing.assert_array_equal(key_data(3, Purpose.CROP, IDS[::-1]), whole[::-1])
    for row in range(len(IDS)):
        np.testing.assert_array_equal(key_data(3, Purpose.CROP, IDS[row : row + 1]), whole[[row]])
    traced = jax.jit(lambda seed, ids: jax.random.key_data(sample_keys(seed, Purpose.CROP, ids)))
    np.testing.assert_array_equal(traced(3, IDS), whole)


def host_seed_values(seed, purpose, sample_id):
    tensorflow = pytest.importorskip("tensorflow")
    return tuple(host_seed(seed, purpose, tensorflow.constant(sample_id, "int64")).numpy().tolist())


def test_host_seeds_are_reproducible_and_all_different():
    arguments = [
        (seed, purpose, int(sample_id))
        for seed in (0, 1)
        for purpose in (Purpose.CROP, Purpose.FLIP)
        for sample_id in IDS
    ]
    seeds = [host_seed_values(*each) for each in arguments]
    assert len(set(seeds)) == len(arguments)
    assert seeds == [host_seed_values(*each) for each in arguments]


def test_pinned_host_seeds():
    assert host_seed_values(7, Purpose.CROP, 123_456) == (1480540957993401571, 123_456)
