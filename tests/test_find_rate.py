"""The learning rate range test: curves whose answer is known, and a run of the tiny model."""

import json

import conftest
import numpy as np
import pytest
from PIL import Image

from bot_jax import find_rate
from bot_jax.errors import InputError
from bot_jax.optim import range_test

STEPS = 200
RATES = np.geomspace(1e-5, 10, STEPS)


def curve(steepest, noise=0.0, blow_up=None):
    """A loss that falls from 2.3 to 0.5 as a logistic curve of log10 of the rate, then explodes."""
    x = np.log10(RATES)
    losses = 2.3 - 1.8 / (1 + np.exp(-(x - np.log10(steepest)) / 0.4))
    losses += noise * np.random.default_rng(0).normal(size=STEPS)
    if blow_up:
        losses += np.where(blow_up <= RATES, 100.0, 0.0)
    return losses


@pytest.mark.parametrize("steepest", [1e-3, 3e-2, 0.5])
@pytest.mark.parametrize(("noise", "factor"), [(0.0, 1.2), (0.05, 2.0)])
def test_steepest_point_of_a_known_curve(steepest, noise, factor):
    found = range_test.suggest_rates(RATES, curve(steepest, noise), STEPS, False)
    assert steepest / factor < found.steepest < steepest * factor


def test_largest_is_a_tenth_of_where_it_blew_up():
    losses = curve(1e-3, blow_up=1.0)
    end = int(np.argmax(RATES >= 1.0)) + 1  # the test ends there
    found = range_test.suggest_rates(RATES[:end], losses[:end], STEPS, True)
    assert found.largest == pytest.approx(0.1, rel=0.1)
    assert 0.9e-3 < found.steepest < 1.1e-3


def test_largest_is_not_beyond_the_minimum():
    x = np.log10(RATES)
    losses = 1 + 0.3 * (x + 3) ** 2  # least at 1e-3
    found = range_test.suggest_rates(RATES, losses, STEPS, True)
    assert found.largest == pytest.approx(1e-3, rel=0.3)
    # Where it does not blow up, there is no more to go by than the minimum.
    found = range_test.suggest_rates(RATES, losses, STEPS, False)
    assert found.largest == pytest.approx(1e-4, rel=0.3)


@pytest.mark.parametrize("length", [0, 5, STEPS])
def test_nothing_is_suggested_where_the_loss_does_not_fall(length):
    found = range_test.suggest_rates(RATES[:length], np.linspace(2, 4, STEPS)[:length], STEPS, True)
    assert found.steepest is None
    assert found.largest is None


def test_smoothing_is_an_average_without_the_bias_of_its_start():
    smoother = range_test.Smoother(200)
    x = np.random.default_rng(1).normal(size=30)
    for i, value in enumerate(x):
        weights = 0.9 ** np.arange(i, -1, -1)  # 1 - 20 / steps
        assert smoother.add(value) == pytest.approx(np.average(x[: i + 1], weights=weights))
    assert smoother.lag == 9


def test_blown_up_is_four_times_the_minimum():
    smoother = range_test.Smoother(10)  # too few to average
    blown = []
    for loss in (2.0, 1.0, 3.9, 4.1):
        smoother.add(loss)
        blown.append(smoother.has_blown_up())
    assert blown == [False, False, False, True]


def test_rates_rise_exponentially():
    schedule = range_test.exponential_rates(1e-4, 1.0, 9)
    np.testing.assert_allclose([schedule(i) for i in range(9)], np.geomspace(1e-4, 1, 9), rtol=1e-5)


@pytest.fixture
def config_file(make_tiny_config, tmp_path, monkeypatch):
    """A file that gives the tiny configuration."""
    monkeypatch.setattr(conftest, "make_tiny", make_tiny_config, raising=False)
    file = tmp_path / "tiny.py"
    file.write_text("import conftest\n\ndef get_config():\n    return conftest.make_tiny()\n")
    return file


def test_a_run(config_file, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--config", str(config_file), "--output", str(out), "--steps", "30"]
    flags += ["--lowest", "1e-3", "--highest", "3e3"]
    assert find_rate.main([*flags, "--config.augment.pca_noise=off"]) == 0
    text = capsys.readouterr().out
    found = json.loads((out / "rates.json").read_text())
    steps = len(found["losses"])
    # Rates of the compiled step, up to the end, and the first loss that of chance.
    np.testing.assert_allclose(found["rates"], np.geomspace(1e-3, 3e3, 30)[:steps], rtol=1e-5)
    assert found["losses"][0] == pytest.approx(np.log(10), rel=0.3)
    assert found["blew_up"] == (steps < 30)
    # A batch of 64 has a quarter of the base learning rate.
    base = found["base_learning_rate"]
    assert base["steepest"] == pytest.approx(4 * found["steepest"])
    assert f"--config.optimizer.base_learning_rate={base['largest']:.3g}" in text
    assert "left 0:" in text
    with Image.open(out / "rates.png") as image:
        assert image.width > 600
        colors = {pixel for _, pixel in image.convert("RGB").getcolors(10**6)}
    assert (31, 119, 180) in colors  # the smoothed curve


def test_base_rate_without_linear_scaling(tiny_config):
    tiny_config.optimizer.linear_scaling = False
    assert find_rate.base_rate(tiny_config, 0.3) == pytest.approx(0.3)
    assert find_rate.base_rate(tiny_config, None) is None


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--steps", "9"], "--steps 9 must be at least 10"),
        (["--lowest", "1", "--highest", "1"], "must be above 0 and below --highest 1"),
        (["--lowest", "0"], "must be above 0"),
        (["--lowest", "nan"], "must be above 0"),
        (["--highest", "inf"], "below --highest inf"),
        (["--config.momentun=1"], "no field config.momentun"),
    ],
)
def test_wrong_input_is_refused_in_words(flags, words, tmp_path, capsys):
    out = tmp_path / "out"
    file = "configs/quickstart.py"
    assert find_rate.main(["--config", file, "--output", str(out), *flags]) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_it_starts_from_the_weights_that_the_run_starts_from(tiny_config, tmp_path):
    tiny_config.pretrained = str(tmp_path / "none")
    with pytest.raises(InputError, match="there is no such run or file"):
        find_rate.run(tiny_config, lowest=1e-6, highest=1e-5, steps=10)


def test_its_configuration_is_left_alone(tiny_config):
    before = tiny_config.to_json()
    find_rate._with_rates(tiny_config, lambda step: step, 10)
    assert tiny_config.to_json() == before
