"""Eight augmentations of a ResNet-50 on ImageNet: the comparison of PaddleClas.

    python -m bot_jax.main --config configs/augmentations.py:cutmix --workdir runs/cutmix

All rows train alike: ResNet-50 (variant B), 300 epochs, batch 256, rate 0.1 with cosine decay and
without warmup, momentum 0.9 without Nesterov, weight decay 1e-4 on every parameter, random
resized crop and mirroring. Each but the first adds one augmentation. Of the published numbers none
has a spread; 0.1 % is about one standard deviation of such a training (table6.py:help has that of
ResNet-50-D), so that neighbours in this table cannot be told apart.

The published numbers are of PaddleClas's first version (FAQ 2020, question 5.7). Its present
configuration files do not give them: there the loss of mixup and CutMix takes a softmax of the
labels, Cutout ends in an error, and GridMask never begins. So the rows follow the papers: GridMask
has the authors' ratio and rises over 240 epochs. The initialisation is not known; it is He's here.
"""

from bot_jax.recipes import Row
from bot_jax.reference_results import paddleclas_result
from configs import default

# Name of a row: its entries of config.augment, and what the results call it.
_AUGMENTATIONS = {
    "standard": ({}, "standard"),
    "auto_augment": ({"auto_augment": {"policy": "imagenet"}}, "AutoAugment"),
    "rand_augment": (
        {"rand_augment": {"preset": "paddleclas", "num_operations": 2, "magnitude": 5.0}},
        "RandAugment N2 M5",
    ),
    "cutout": ({"cutout": {"length": 112}}, "Cutout n=1 len=112"),
    "random_erasing": ({"random_erasing": {}}, "RandomErasing p.5 sl.02 sh.4 r1.3"),
    "hide_and_seek": ({"hide_and_seek": {}}, "HideAndSeek"),
    "grid_mask": ({"grid_mask": {}}, "GridMask"),
    "mixup": ({"mixup": {"alpha": 0.2, "pairs": "permute"}}, "Mixup a=0.2"),
    "cutmix": ({"cutmix": {"preset": "paddleclas"}}, "Cutmix a=0.2"),
}


def _row(augment, published):
    def make():
        config = default.get_config()
        config.epochs = 300.0
        del config.augment.color_jitter, config.augment.pca_noise
        for name, options in augment.items():
            config.augment[name] = options
        config.model.name = "resnet50_b"
        config.model.options.initializer = "kaiming_normal"
        config.batch_norm.group_size = 64  # four GPUs
        config.optimizer.nesterov = False
        config.optimizer.no_bias_decay = False
        config.schedule.warmup_epochs = 0.0
        return config

    recipe = f"Momentum Cosine lr0.1 bs256 wd1e-4 + {published}"
    return Row(make, published=paddleclas_result("ResNet50", recipe))


ROWS = {name: _row(*entry) for name, entry in _AUGMENTATIONS.items()}


def get_config(row):
    return ROWS[row].make()
