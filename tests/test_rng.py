"""Random keys are a function of (seed, purpose, sample id) and of nothing else."""

import jax
import numpy as np
import pytest

from bot_jax.data.tensorflow_cpu import tf
from bot_jax.rng import Purpose, host_seed, host_uniforms, purpose_of, sample_keys

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


def test_a_purpose_with_another_name_has_a_number_of_its_own():
    assert purpose_of("mixup_pairs") == Purpose.MIXUP_PAIRS
    # CRC-32 of "123456789", the check value of every description of it.
    assert purpose_of("123456789") == 0xCBF43926


def test_purposes_are_never_renumbered():
    """A new purpose takes a new number; renumbering would change every published result."""
    pinned = {
        "INITIALIZATION": 0,
        "ORDER": 1,
        "CROP": 2,
        "COLOR_JITTER": 4,
        "PCA_NOISE": 5,
        "MIXUP": 6,
        "MIXUP_PAIRS": 7,
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
    return tuple(host_seed(seed, purpose, tf.constant(sample_id, "int64")).numpy().tolist())


def test_host_seeds_are_reproducible_and_all_different():
    arguments = [
        (seed, purpose, int(sample_id))
        for seed in (0, 1)
        for purpose in (Purpose.CROP, Purpose.COLOR_JITTER)
        for sample_id in IDS
    ]
    seeds = [host_seed_values(*each) for each in arguments]
    assert len(set(seeds)) == len(arguments)
    assert seeds == [host_seed_values(*each) for each in arguments]


def test_pinned_host_seeds():
    assert host_seed_values(7, Purpose.CROP, 123_456) == (1480540957993401571, 123_456)


def host_values(seed, purpose, sample_ids, count=7):
    return host_uniforms(seed, purpose, tf.constant(sample_ids, "int64"), count).numpy()


def philox_4x32(counter, key, rounds=10):
    """Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3."""
    for _ in range(rounds):
        products = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        high, low = [x >> 32 for x in products], [x & 0xFFFFFFFF for x in products]
        counter = [high[1] ^ counter[1] ^ key[0], low[1], high[0] ^ counter[3] ^ key[1], low[0]]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return counter


def test_host_numbers_are_philox_counted_by_sample_id():
    seed, count = 5, 7  # two blocks of four, of which one number is left over
    key, _ = tf.raw_ops.StatelessRandomGetKeyCounter(seed=[seed, int(Purpose.CROP)])
    key = int(key.numpy()[0])
    sample_ids = [3, 2**32 - 1]
    for sample_id in sample_ids:
        blocks = [
            philox_4x32(
                [n & 0xFFFFFFFF, n >> 32, 0, 0],
                [key & 0xFFFFFFFF, key >> 32],
            )
            for n in (2 * sample_id, 2 * sample_id + 1)
        ]
        # The upper 23 of a float's 32 random bits are its fraction.
        expected = np.array(blocks).reshape(-1)[:count] % 2**23 / 2**23
        np.testing.assert_array_equal(host_values(seed, Purpose.CROP, [sample_id])[0], expected)


def test_host_numbers_do_not_depend_on_the_batch():
    ids = np.arange(1000, 1064)
    whole = host_values(3, Purpose.CROP, ids)
    assert whole.shape == (64, 7)
    np.testing.assert_array_equal(host_values(3, Purpose.CROP, ids[::-1]), whole[::-1])
    np.testing.assert_array_equal(host_values(3, Purpose.CROP, ids[[5, 60, 9]]), whole[[5, 60, 9]])
    np.testing.assert_array_equal(host_values(3, Purpose.CROP, ids[17:18]), whole[[17]])


def test_host_numbers_differ_by_seed_purpose_and_sample():
    ids = np.arange(2000)
    all_of_them = np.concatenate(
        [host_values(s, p, ids) for s in (0, 1) for p in (Purpose.CROP, Purpose.COLOR_JITTER)],
        axis=1,
    )
    assert all_of_them.min() >= 0
    assert all_of_them.max() < 1
    assert len(np.unique(all_of_them)) > 0.99 * all_of_them.size
    assert abs(all_of_them.mean() - 0.5) < 0.005
    assert np.abs(np.corrcoef(all_of_them.T) - np.eye(28)).max() < 5 / np.sqrt(len(ids))
    neighbours = np.corrcoef(all_of_them[:-1, 0], all_of_them[1:, 0])[0, 1]
    assert abs(neighbours) < 5 / np.sqrt(len(ids))
