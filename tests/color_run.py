"""A run on images of three colours, and of noise as the background, for several test modules."""

import numpy as np
from data_helpers import encode, smooth_image

COLORS = {"blue": (30, 60, 220), "green": (40, 200, 60), "red": (220, 40, 30)}


def picture(color, seed, size=48):
    """A coloured image with a pattern of its own."""
    pattern = smooth_image(size, size, seed).astype(float)
    return (0.75 * np.array(COLORS.get(color, (128, 128, 128))) + 0.25 * pattern).astype(np.uint8)


def write(file, image, format="PNG", **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(image, format, **options))


def train_on_colors(root, config):
    """Three colours and a background of noise, learnt well by a small model in a second.

    Writes root/data/{train,validation}/COLOR, root/other/{train,validation} and root/workdir.

    Returns:
      `root`, and the result of the run.
    """
    from bot_jax.train import train

    for k, color in enumerate(COLORS):
        for i in range(12):
            write(root / "data/train" / color / f"{i}.png", picture(color, 100 * k + i))
        for i in range(4):
            write(root / "data/validation" / color / f"{i}.png", picture(color, 100 * k + 50 + i))
    for i in range(12):
        split = "validation" if i < 4 else "train"
        noise = np.random.default_rng(i).integers(0, 256, (48, 48, 3), np.uint8)
        write(root / "other" / split / f"{i}.png", noise)
    config.augment = {}
    config.epochs, config.batch_size, config.eval_batch_size = 60.0, 16, 16
    config.batch_norm.group_size = 0
    config.schedule.warmup_epochs = 1.0
    config.label_smoothing.epsilon = 0.0
    config.optimizer.base_learning_rate = 4.0
    config.eval_every_epochs = config.checkpoint.every_epochs = 0.0
    config.log_every_steps = 1000
    config.data.source, config.data.path = "folder", str(root / "data")
    config.data.background = str(root / "other")
    result = train(config, root / "workdir")
    assert result["top1"] > 90
    return root, result
