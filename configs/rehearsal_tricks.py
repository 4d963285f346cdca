r"""Tricks beyond the paper, one at a time, at a small scale: each augmentation and optimiser.

    python -m bot_jax.ladder --config configs/rehearsal_tricks.py --rows '*' --seeds 3 \
        --workdir runs/tricks --config.data.path=CIFAR-10-images

The network and the images are those of rehearsal.py's CIFAR-10 rows, ResNet-14-D of an eighth of
the width on 24 pixels, cosine decay; but they are 30 epochs of 2,500 training images, 250 a class,
in batches of 128, since what helps against overfitting helps where there are few images. All
10,000 test images are evaluated, at the end. `standard` has random crops and flips; each other row
changes one thing. Sizes in pixels are the published ones, to the scale of these images.
"""

from bot_jax.recipes import Row
from configs import rehearsal

# Of config.augment, beside horizontal flips.
_AUGMENTATIONS = {
    "auto_augment": {"policy": "cifar10"},
    "rand_augment": {"magnitude": 5.0},
    "rotation": {},
    "color_jitter": {"flavor": "gluoncv"},
    "color_shift": {},
    "pca_noise": {},
    "cutout": {"length": 12},
    "random_erasing": {},
    "hide_and_seek": {"sizes": (0, 4, 6, 8, 12)},
    "grid_mask": {"distance": (10, 24), "ramp_epochs": 24.0},
    "mixup": {},
    "cutmix": {},
    "ricap": {},
}


def _standard():
    config = rehearsal.get_config("cifar10_resnet14_d_cosine")
    config.epochs, config.schedule.warmup_epochs = 30.0, 1.25
    config.data.train_examples = 2500
    config.batch_size = config.batch_norm.group_size = 128
    config.precision.compute, config.precision.loss_scale = "float32", "none"
    del config.augment.color_jitter, config.augment.pca_noise
    config.eval_every_epochs = 0.0
    return config


def _augmented(name, options):
    def make():
        config = _standard()
        config.augment[name] = options
        return config

    return make


def _no_flip():
    config = _standard()
    del config.augment.horizontal_flip
    return config


def _pad_and_crop():
    config = _standard()
    config.data.train_crop = "center"
    config.augment.pad_and_crop = {"padding": 3}
    return config


def _choice():
    config = _standard()
    config.augment.mixup = {"probability": 0.5}
    config.augment.cutmix = {"probability": 0.5}
    return config


def _label_smoothing():
    config = _standard()
    config.label_smoothing.epsilon = 0.1
    return config


def _dropout():
    config = _standard()
    config.model.options.dropout = 0.2
    return config


def _stochastic_depth():
    config = _standard()
    config.model.options.stochastic_depth = 0.2
    return config


def _optimizer(name, rate, **changes):
    """`rate` is that of a batch of 256, which linear scaling halves here."""

    def make():
        config = _standard()
        config.optimizer.name = name
        config.optimizer.base_learning_rate = rate
        config.optimizer.update(changes)
        return config

    return make


def _lookahead():
    config = _standard()
    config.optimizer.lookahead_steps = 5
    return config


ROWS = {
    "standard": Row(_standard),
    "no_horizontal_flip": Row(_no_flip),
    "pad_and_crop": Row(_pad_and_crop),
    **{name: Row(_augmented(name, options)) for name, options in _AUGMENTATIONS.items()},
    "mixup_or_cutmix": Row(_choice),
    "label_smoothing": Row(_label_smoothing),
    "dropout": Row(_dropout),
    "stochastic_depth": Row(_stochastic_depth),
    "adam": Row(_optimizer("adam", 2e-3)),
    "adamw": Row(_optimizer("adamw", 2e-3, weight_decay=0.05)),
    "adabound": Row(_optimizer("adabound", 2e-3)),
    "lookahead": Row(_lookahead),
}


def get_config(row):
    return ROWS[row].make()
