import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bot_jax import parallel
from bot_jax.data.source import make_source
from bot_jax.evaluate import evaluated_variables, make_evaluate
from bot_jax.models.registry import get_model


@pytest.fixture(scope="module")
def variables(tiny_model):
    model = get_model(tiny_model, num_classes=10)
    return model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False)


def evaluate(config, variables, devices, batch_size, **kw):
    layout = parallel.make_layout(64, group_size=8, devices=jax.devices()[:devices])
    layout = parallel.evaluation_layout(batch_size, layout.mesh)
    source = make_source(config.data, "all")
    _, run = make_evaluate(config, get_model("tiny", num_classes=10), source, layout)
    return run(parallel.replicate(variables, layout), **kw)


def test_every_example_once_on_any_devices_and_batch_size(tiny_config, variables):
    # 1,797 examples in batches of 128 on 4 devices: the last batch holds 5.
    expected = evaluate(tiny_config, variables, devices=4, batch_size=128)
    assert expected["num_examples"] == 1797
    assert expected["num_bad"] == 0
    # scikit-learn's set has these many of each digit.
    digits = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    true, predicted = expected["classes"].T
    assert np.bincount(true).tolist() == digits
    assert expected["top1"] == 100 * (true == predicted).mean()
    for devices, batch_size in ((1, 600), (8, 250)):
        result = evaluate(tiny_config, variables, devices, batch_size)
        assert result["top1"] == expected["top1"]
        assert result["top5"] == expected["top5"]
        assert result["loss"] == pytest.approx(expected["loss"], rel=1e-5)
        np.testing.assert_array_equal(result["classes"], expected["classes"])
        np.testing.assert_array_equal(result["known"], predicted)  # there is no background
        np.testing.assert_allclose(result["confidence"], expected["confidence"], rtol=1e-5)
    assert expected["confidence"].min() > 0.1  # the largest of ten
    assert expected["confidence"].shape == (1797,)


def test_stops_when_asked(tiny_config, variables):
    assert evaluate(tiny_config, variables, 1, 600, keep_going=lambda: False) is None


def test_the_moving_average_is_evaluated_where_there_is_one():
    class State:
        params, batch_stats, ema = 1, 2, None

    assert evaluated_variables(State) == {"params": 1, "batch_stats": 2}
    State.ema = {"params": 3, "batch_stats": 4}
    assert evaluated_variables(State) == {"params": 3, "batch_stats": 4}
