"""Overfitting or underfitting, from the accuracy on training images and on validation images.

    gap = training top-1 - validation top-1

Source: the PaddleClas FAQ, "how to improve a model by its accuracy on the training set and the
validation set": about equal is a good state; far higher in training asks for more regularisation
(weight decay, augmentation, label smoothing); low in training for less of it. Accuracy while
training is no measure of this: it is that of augmented and mixed images, by weights that are still
changing. So training images are evaluated as validation images are (`config.diagnosis_examples`).

How far and how low are rules of thumb, of this project: `LARGE_GAP` and `LOW`.
"""

import dataclasses
import math

from bot_jax.augment.registry import augmentations

# Points of top-1. Repeated runs differ by a few tenths, and a good run of a large model on ImageNet
# has a gap of some points, so that less than this is nothing to act on.
LARGE_GAP = 5.0
# Percent of top-1. A model that is wrong on more than a fifth of the images that it was trained on
# has not learnt them yet, and regularisation keeps it from that; noisy labels are the exception.
LOW = 80.0
# Of what such a model still gets wrong in training. A gap below this share of it is the smaller
# trouble: with 61 % in training and 53 % in the test no trick against overfitting helped, and most
# cost some points (docs/rehearsal_tricks.md).
SMALL_SHARE = 0.5
# Standard errors that a difference may be due to chance: about 95 %.
CHANCE = 2.0

# Augmentations of one image that are good for photographs of any size.
USUAL = ("horizontal_flip", "rand_augment", "color_jitter", "pca_noise", "cutout", "random_erasing")

OVERFITS, UNDERFITS, FITS = "overfitting", "underfitting", "fits"


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What two accuracies say.

    Attributes:
      verdict: "overfitting", "underfitting" or "fits".
      text: that in a sentence, with the figures, and below it what may help, a line each.
    """

    verdict: str
    text: str


def standard_error(top1: float, num_examples: int) -> float:
    """Standard error of a top-1 accuracy, both in percent, as of a binomial proportion.

    With two right and two wrong examples more (Agresti and Coull, 1998), since none wrong of a few
    is no proof that none can be.
    """
    total = num_examples + 4
    share = (top1 / 100 * num_examples + 2) / total
    return 100 * math.sqrt(share * (1 - share) / total)


def diagnose(config, clean: dict, evaluation: dict) -> Diagnosis:
    """Says whether a model overfits or underfits, and what in its configuration may help.

    Args:
      config: the whole configuration.
      clean: of training images as an evaluation sees them: top1 in percent, num_examples.
      evaluation: the same of the evaluation split.
    """
    error = standard_error(clean["top1"], clean["num_examples"])
    both = math.hypot(error, standard_error(evaluation["top1"], evaluation["num_examples"]))
    gap = clean["top1"] - evaluation["top1"]
    figures = (
        f"top-1 is {clean['top1']:.1f} % on {clean['num_examples']:,} training images without "
        f"augmentation and {evaluation['top1']:.1f} % on {config.data.eval_split}"
    )
    is_low = clean["top1"] + CHANCE * error < LOW and evaluation["top1"] < LOW
    if is_low and gap < SMALL_SHARE * (100 - clean["top1"]):
        title = f"Underfitting: {figures}; both are low. What may help, one at a time:"
        return Diagnosis(UNDERFITS, _listing(title, _against_underfitting(config)))
    if gap > LARGE_GAP and gap > CHANCE * both:
        title = f"Overfitting: {figures}, {gap:.1f} points lower. What may help, one at a time:"
        return Diagnosis(OVERFITS, _listing(title, _against_overfitting(config)))
    if gap > LARGE_GAP:
        text = (
            f"Fits, as far as can be told: {figures}; {gap:.1f} points are not more than the "
            f"{CHANCE * both:.1f} that chance makes of so few images."
        )
        return Diagnosis(FITS, text)
    return Diagnosis(FITS, f"Fits: {figures}.")


def _listing(title, lines):
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _against_overfitting(config):
    of_one = ", ".join(name for name in USUAL if name not in config.augment)
    batch = [a.name for a in augmentations().values() if a.on == "batch"]
    of_batch = ", ".join(name for name in batch if name not in config.augment)
    mixes = any(name in config.augment for name in batch)
    decay, epsilon = config.optimizer.weight_decay, config.label_smoothing.epsilon
    lines = []
    if of_one:
        lines.append(f"more augmentation: --config.augment.NAME=on, NAME one of {of_one}")
    if of_batch and not mixes:
        lines.append(f"mixing images: --config.augment.NAME=on, NAME one of {of_batch}")
    lines.append(f"more weight decay: --config.optimizer.weight_decay={2 * decay or 1e-4:g}")
    if not epsilon:
        lines.append("label smoothing: --config.label_smoothing.epsilon=0.1")
    return [
        *lines,
        f"a smaller model than {config.model.name} (python -m bot_jax.models lists all)",
        f"fewer than {config.epochs:g} epochs",
        "more images, or training that starts from pretrained weights",
    ]


def _against_underfitting(config):
    on = [a for a in augmentations().values() if a.name in config.augment]
    mixes = ", ".join(a.name for a in on if a.on == "batch")
    others = ", ".join(a.name for a in on if a.on != "batch")
    decay, low = config.optimizer.weight_decay, config.data.crop_area[0]
    lines = [
        f"longer training: --config.epochs={2 * config.epochs:g}",
        f"a larger model than {config.model.name} (python -m bot_jax.models lists all)",
        "another learning rate, perhaps a larger one: python -m bot_jax.find_rate suggests some",
    ]
    if mixes:
        lines.append(f"no mixing of images: --config.augment.NAME=off, of {mixes}")
    if others:
        lines.append(f"less augmentation: --config.augment.NAME=off, of {others}")
    if config.data.train_crop == "random_resized" and low < 0.5:
        lines.append(f"larger crops: --config.data.crop_area=({min(2.5 * low, 0.5):g},1.0)")
    if decay:
        lines.append(f"less weight decay: --config.optimizer.weight_decay={decay / 2:g}")
    if config.label_smoothing.epsilon:
        lines.append("no label smoothing: --config.label_smoothing.epsilon=0")
    return lines
