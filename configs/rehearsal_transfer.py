r"""From scratch or from trained weights: photographs of clothing, after CIFAR-10, at a small scale.

    python -m bot_jax.main --config configs/rehearsal_transfer.py:cifar10 \
        --workdir runs/transfer/cifar10 --config.data.path=CIFAR-10-images
    python -m bot_jax.ladder --config configs/rehearsal_transfer.py --rows '*_*' --seeds 3 \
        --workdir runs/transfer --config.data.path=PHOTOS

PHOTOS has train/CLASS/ and test/CLASS/. A ResNet-18-D of a quarter of the width at 32 pixels. The
weights are those after three epochs of CIFAR-10, without mixup. `scratch` does not use them,
`same_recipe` differs from it in nothing but the weights, and the other rows are those of
finetune.py; each with 300 training images and with all of them, for as many epochs whatever the
start. The test images are evaluated once, at the end; nothing was chosen by them.
"""

from bot_jax.recipes import Row
from configs import finetune, photos

_EPOCHS = {"300": 30.0, "whole": 8.0}


def _small(config):
    config.data.image_size = 32
    config.data.eval_split = "test"
    config.model.options.small_images = True
    config.model.options.width = 16
    config.eval_every_epochs = config.checkpoint.every_epochs = 0.0
    return config


def _cifar10():
    config = _small(photos.get_config())
    config.epochs = 3.0
    config.schedule.warmup_epochs = 0.5
    config.batch_size = 128
    del config.augment.mixup
    return config


def _row(start, images):
    def make():
        if start in finetune.ROWS:
            config = finetune.get_config(start)
        else:
            config = photos.get_config()
            del config.augment.mixup  # the others are without it
        if start != "scratch":
            config.pretrained = "runs/transfer/cifar10"
        config = _small(config)
        config.epochs = _EPOCHS[images]
        config.data.train_examples = 300 if images == "300" else 0
        return config

    return make


_STARTS = ("scratch", "same_recipe", *finetune.ROWS)
ROWS = {
    "cifar10": Row(_cifar10),
    **{f"{start}_{images}": Row(_row(start, images)) for images in _EPOCHS for start in _STARTS},
}


def get_config(row):
    return ROWS[row].make()
