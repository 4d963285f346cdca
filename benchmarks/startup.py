"""The run whose start is timed: images that are made up, one epoch of two steps."""

from configs import default


def get_config():
    """`configs/default.py` on synthetic images."""
    config = default.get_config()
    config.data.source = "synthetic"
    config.data.num_synthetic = 128
    config.data.num_classes = 10
    config.epochs = 1.0
    config.schedule.warmup_epochs = 0.0
    config.batch_norm.group_size = 0
    del config.augment.color_jitter, config.augment.pca_noise
    config.diagnosis_examples = 0  # the other program does not look at training images either
    return config
