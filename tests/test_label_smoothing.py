"""Label smoothing in both forms: eps / K of the released code, eps / (K - 1) of the paper."""

import numpy as np
import pytest

from bot_jax.errors import InputError
from bot_jax.losses.label_smoothing import optimal_gap, smooth_labels


@pytest.mark.parametrize(
    ("form", "num_classes", "epsilon", "on", "off"),
    [
        ("uniform", 2, 0.1, 0.95, 0.05),
        ("uniform", 10, 0.1, 0.91, 0.01),
        ("uniform", 1000, 0.1, 0.9001, 0.0001),
        ("uniform", 10, 0.0, 1.0, 0.0),
        ("paper", 2, 0.1, 0.9, 0.1),
        ("paper", 10, 0.1, 0.9, 0.1 / 9),
        ("paper", 1000, 0.1, 0.9, 0.1 / 999),
        ("paper", 10, 0.0, 1.0, 0.0),
    ],
)
def test_values_of_both_forms(form, num_classes, epsilon, on, off):
    labels = np.array([0, num_classes - 1, num_classes // 2], np.int32)
    targets = np.asarray(smooth_labels(labels, num_classes, epsilon, form))
    expected = np.full((3, num_classes), off)
    expected[[0, 1, 2], labels] = on
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets, expected, rtol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 1, atol=1e-5)


def test_paper_form_gives_the_logit_gap_of_the_paper():
    """Section 5.2: the best logits are log((K - 1)(1 - eps) / eps) apart; 9.104 on ImageNet."""
    targets = np.asarray(smooth_labels(np.array([3], np.int32), 1000, 0.1, "paper"))[0]
    np.testing.assert_allclose(np.log(targets[3] / targets[4]), 9.10398, atol=1e-4)


@pytest.mark.parametrize("form", ["uniform", "paper"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_rows_that_do_not_count_are_all_zero(form, epsilon):
    targets = np.asarray(smooth_labels(np.array([-1, 2, -1], np.int32), 4, epsilon, form))
    np.testing.assert_array_equal(targets[[0, 2]], np.zeros((2, 4)))
    np.testing.assert_allclose(targets[1].sum(), 1, atol=1e-6)


def test_unknown_form_is_an_input_error():
    with pytest.raises(InputError, match="uniform"):
        smooth_labels(np.array([0], np.int32), 4, 0.1, "unifrom")


@pytest.mark.parametrize("form", ["uniform", "paper"])
@pytest.mark.parametrize("num_classes", [2, 10, 1000])
def test_the_optimal_gap_makes_the_softmax_equal_to_the_targets(form, num_classes):
    logits = np.zeros(num_classes)
    logits[0] = optimal_gap(0.1, num_classes, form)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    targets = smooth_labels(np.array([0]), num_classes, 0.1, form)[0]
    np.testing.assert_allclose(probabilities, targets, rtol=1e-5)


def test_the_papers_gap_for_imagenet():
    np.testing.assert_allclose(optimal_gap(0.1, 1000, "paper"), 9.10, atol=0.005)
