"""The rejection threshold against a search over all thresholds."""

from types import SimpleNamespace

import numpy as np
import pytest

from bot_jax import rejection
from bot_jax.errors import InputError


def shares(labels, known, scores, background, threshold):
    """(known accepted and correct, background rejected) by counting one image after the other."""
    right = rejected = 0
    for label, class_, score in zip(labels, known, scores, strict=True):
        if label == background:
            rejected += score < threshold
        else:
            right += score >= threshold and class_ == label
    background_images = sum(label == background for label in labels)
    return right / (len(labels) - background_images), rejected / background_images


def random_case(seed, images=60):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, images)  # 3 is the background
    known = np.where(rng.random(images) < 0.7, np.minimum(labels, 2), rng.integers(0, 3, images))
    scores = rng.beta(2, 2, images) + 0.3 * (labels < 3) * rng.random()
    # Few different scores, so that many images share one.
    scores = np.round(scores, rng.integers(1, 4)).astype(np.float32)
    return labels, known, scores


@pytest.mark.parametrize("seed", range(20))
def test_against_all_thresholds(seed):
    labels, known, scores = random_case(seed)
    found = rejection.calibrate(labels, known, scores, 3)
    exact = scores.astype(np.float64)
    every = [0.0, *np.unique(exact), *(np.unique(exact)[:-1] + np.diff(np.unique(exact)) / 2)]
    sums = {t: round(sum(shares(labels, known, exact, 3, t)), 10) for t in every}
    best = max(sums.values())
    assert sums[found["threshold"]] == best
    # The least of the equally good ones: nothing below the scores next to it does as well.
    assert found["threshold"] <= min(t for t, total in sums.items() if total == best) + 0.11
    below = [t for t in np.unique(exact) if t < found["threshold"]]
    if below:
        assert sums[max(below)] < best
    right, rejected = shares(labels, known, exact, 3, found["threshold"])
    assert found["known_accepted_and_correct"] == pytest.approx(100 * right, abs=1e-4)
    assert found["background_rejected"] == pytest.approx(100 * rejected, abs=1e-4)


def test_by_hand():
    labels = np.array([0, 0, 1, 1, 2, 2])
    known = np.array([0, 0, 1, 0, 1, 0])
    scores = np.array([0.9, 0.5, 0.75, 0.95, 0.25, 0.625])
    # At 0.375: 3 of 4 right, 1 of 2 rejected. At 0.6875: 2 of 4 and 2 of 2, which is better.
    assert rejection.calibrate(labels, known, scores, 2) == {
        "threshold": 0.6875,
        "known_accepted_and_correct": 50.0,
        "known_accepted": 75.0,
        "background_rejected": 100.0,
        "known_examples": 4,
        "background_examples": 2,
    }


def test_nothing_is_rejected_where_that_is_best():
    found = rejection.calibrate(
        np.array([0, 1, 2]), np.array([0, 1, 0]), np.array([0.4, 0.5, 0.6]), 2
    )
    assert found["threshold"] == 0.0
    assert found["known_accepted_and_correct"] == 100.0


def run_of(background, split):
    return SimpleNamespace(data=SimpleNamespace(background=background, eval_split=split))


def test_another_split_is_measured_with_the_threshold_that_there_is(tmp_path):
    labels, known, scores = random_case(0)
    evaluation = {
        "classes": np.stack([labels, known], -1),
        "known": known,
        "confidence": scores,
    }
    (tmp_path / "config.json").write_text('{"data": {"eval_split": "validation"}}')
    assert rejection.of_run(run_of("", "validation"), tmp_path, evaluation, 4) == {}
    # While the run goes on there is no threshold, and another split must not give it one.
    assert rejection.of_run(run_of("x", "test"), tmp_path, evaluation, 4) == {}
    first = rejection.of_run(run_of("x", "validation"), tmp_path, evaluation, 4)["rejection"]
    assert first["calibrated_on"] == "validation"
    rejection.write(tmp_path, first | {"threshold": 0.987})
    other = rejection.of_run(run_of("x", "test"), tmp_path, evaluation, 4)["rejection"]
    assert (other["threshold"], other["calibrated_on"]) == (0.987, "validation")
    right, _ = shares(labels, known, scores.astype(float), 3, 0.987)
    assert other["known_accepted_and_correct"] == pytest.approx(100 * right, abs=1e-4)
    again = rejection.of_run(run_of("x", "validation"), tmp_path, evaluation, 4)["rejection"]
    assert again == first


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "rejection.json").write_text("{")
    with pytest.raises(InputError, match=r"rejection.json cannot be read"):
        rejection.read(tmp_path)
