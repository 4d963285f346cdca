import jax
import numpy as np
import pytest

from bot_jax.errors import InputError
from bot_jax.models.initializers import kernel_initializers

CONV = (3, 3, 128, 256)  # fan_in 1,152, fan_out 2,304
DENSE = (512, 1000)


def draw(init, shape):
    return np.asarray(init(jax.random.key(0), shape, np.float32), np.float64)


def assert_normal(values, std):
    """Mean, standard deviation and kurtosis of a Gaussian, cut off nowhere near."""
    n = values.size
    assert abs(values.mean()) < 4 * std / np.sqrt(n)
    assert abs(values.std() / std - 1) < 4 / np.sqrt(2 * n)
    assert abs((values**4).mean() / std**4 - 3) < 4 * np.sqrt(96 / n)
    assert np.abs(values).max() > 4 * std


@pytest.mark.parametrize(
    ("layer", "shape", "fans"), [("conv", CONV, 1152 + 2304), ("dense", DENSE, 1512)]
)
def test_xavier_uniform(layer, shape, fans):
    values = draw(getattr(kernel_initializers("xavier_uniform"), layer), shape)
    bound = np.sqrt(6 / fans)
    assert np.abs(values).max() <= bound
    assert np.abs(values).max() > 0.999 * bound
    # A uniform variable on [-a, a] has the variance a^2 / 3.
    assert abs(values.std() / (bound / np.sqrt(3)) - 1) < 0.01
    assert abs(values.mean()) < 4 * bound / np.sqrt(3 * values.size)


@pytest.mark.parametrize(
    ("layer", "shape", "fans"), [("conv", CONV, 1152 + 2304), ("dense", DENSE, 1512)]
)
def test_msra_prelu(layer, shape, fans):
    values = draw(getattr(kernel_initializers("msra_prelu"), layer), shape)
    assert_normal(values, np.sqrt((2 / 1.0625) / (fans / 2)))


def test_kaiming_normal():
    initializers = kernel_initializers("kaiming_normal")
    assert_normal(draw(initializers.conv, CONV), np.sqrt(2 / 2304))
    assert_normal(draw(initializers.dense, DENSE), 0.01)


def test_unknown_name():
    with pytest.raises(InputError, match="Did you mean 'xavier_uniform'"):
        kernel_initializers("xavier")
