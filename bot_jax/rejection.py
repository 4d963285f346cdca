"""The threshold below which a prediction is "none of these", for models with a background class.

The score of an image is the largest probability (softmax over all classes) among the known ones. An
image with ``score >= t`` is accepted as of that class, and any other is rejected. t maximises

    (a + r) / 2,    a: share of the known images that are accepted, and as what they are
                    r: share of the background images that are rejected

over the images of the evaluation split. Where several t do equally well it is the least of them, so
that more is accepted, and in the middle between the score above and the one below. Where rejecting
nothing is best it is 0.

rejection.json in the workdir has the threshold and what it achieves. The evaluation of another
split measures that threshold and does not change it.
"""

import json
from pathlib import Path

import numpy as np

from bot_jax.errors import InputError
from bot_jax.workdir import write_atomically

FILE = "rejection.json"


def calibrate(labels, known, confidence, background: int) -> dict:
    """Finds the threshold, see the top of this file, and measures it.

    Args:
      labels: int [n], the true classes, at least 0.
      known: int [n], the most probable known class of each image.
      confidence: float [n], its probability.
      background: label of the background class.

    Returns:
      What `measure` does.
    """
    scores = np.asarray(confidence, np.float64)
    is_background = labels == background
    right = np.sort(scores[~is_background & (known == labels)])
    background_scores = np.sort(scores[is_background])
    candidates = np.unique(scores)
    accepted = right.size - np.searchsorted(right, candidates)
    rejected = np.searchsorted(background_scores, candidates)
    shares = accepted / max((~is_background).sum(), 1), rejected / max(is_background.sum(), 1)
    # Sums of fractions differ in their last digits where they are meant to be equal.
    best = int(np.argmax(np.round(shares[0] + shares[1], 12)))
    threshold = (candidates[best - 1] + candidates[best]) / 2 if best else 0.0
    return measure(labels, known, confidence, background, float(threshold))


def measure(labels, known, confidence, background: int, threshold: float) -> dict:
    """What a threshold achieves; the arguments are those of `calibrate`.

    Returns:
      threshold, and in percent known_accepted_and_correct, known_accepted (correct or not) and
      background_rejected, and the numbers known_examples and background_examples.
    """
    accepted = np.asarray(confidence, np.float64) >= threshold
    is_background = labels == background

    def percent(chosen, of):
        return round(100.0 * int((chosen & of).sum()) / max(int(of.sum()), 1), 4)

    return {
        "threshold": threshold,
        "known_accepted_and_correct": percent(accepted & (known == labels), ~is_background),
        "known_accepted": percent(accepted, ~is_background),
        "background_rejected": percent(~accepted, is_background),
        "known_examples": int((~is_background).sum()),
        "background_examples": int(is_background.sum()),
    }


def of_run(config, directory: Path, evaluation: dict, num_classes: int) -> dict:
    """Calibrates a run's threshold on a split, or measures the one that another split gave.

    Args:
      config: the whole configuration.
      directory: the workdir.
      evaluation: result of `evaluate.make_evaluate` on `config.data.eval_split`.
      num_classes: with the background, the last one.

    Returns:
      What is added to the result: nothing without a background class, else "rejection": what
      `measure` returns, and calibrated_on, the split that gave the threshold.
    """
    if not config.data.background:
        return {}
    split = config.data.eval_split
    own = json.loads((directory / "config.json").read_text())["data"]["eval_split"]
    examples = (evaluation["classes"][:, 0], evaluation["known"], evaluation["confidence"])
    before = read(directory)
    if split == own:
        found = calibrate(*examples, num_classes - 1) | {"calibrated_on": split}
    elif before is None:  # the run is not finished
        return {}
    else:
        found = measure(*examples, num_classes - 1, before["threshold"])
        found["calibrated_on"] = before["calibrated_on"]
    return {"rejection": found}


def read(directory: Path) -> dict | None:
    """The rejection.json of a run, or None.

    Raises:
      InputError: it cannot be read.
    """
    file = directory / FILE
    try:
        return json.loads(file.read_text()) if file.exists() else None
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}. Remove it.") from error


def write(directory: Path, rejection: dict) -> None:
    """Writes rejection.json."""
    write_atomically(directory / FILE, json.dumps(rejection, indent=2) + "\n")
