"""Which learning rate is advised for pretrained weights, by the number of images."""

import pytest

from bot_jax.optim.rate_advice import advised_rate, rate_warning


@pytest.mark.parametrize(
    ("images", "rate"),
    # Half-way in logarithms is 10,000 images, and half-way from 0.001 to 0.01 is 0.00316.
    [(1, 0.001), (1_000, 0.001), (10_000, 10**-2.5), (100_000, 0.01), (1_281_167, 0.01)],
)
def test_advice_by_number_of_images(images, rate):
    assert advised_rate(images) == pytest.approx(rate)
    assert advised_rate(images, batch_size=64) == pytest.approx(rate / 4)


def warning(rate, num_examples=10_000, num_classes=10, batch_size=256):
    return rate_warning(
        rate, num_examples=num_examples, num_classes=num_classes, batch_size=batch_size
    )


def test_up_to_ten_times_off_is_not_worth_a_warning():
    for rate in (10**-1.5, 10**-2.5, 10**-3.5):
        assert warning(rate) == ""
    assert "10.1 times the advice" in warning(1.01 * 10**-1.5)
    assert "10.1 times less" in warning(10**-3.5 / 1.01)
    assert "nothing is learnt" in warning(0.0)


def test_the_rate_is_compared_at_the_batch_that_is_used():
    assert warning(0.01, batch_size=256) == ""
    assert "12.6 times the advice" in warning(0.01, batch_size=64)


def test_imagenets_rate_on_few_classes():
    """Many images of few classes: 0.1 is not more than ten times the advice, and yet too much."""
    assert "ImageNet from scratch" in warning(0.1, num_examples=500_000)
    assert "ImageNet from scratch" in warning(0.025, num_examples=500_000, batch_size=64)
    assert warning(0.1, num_examples=500_000, num_classes=1000) == ""
    assert warning(0.09, num_examples=500_000) == ""
