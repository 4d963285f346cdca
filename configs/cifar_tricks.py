"""CIFAR-10 recipes of the papers on Cutout, RICAP, AutoAugment and AdaBound.

    python -m bot_jax.main --config configs/cifar_tricks.py:cutout --workdir runs/cutout \
        --config.data.path=TFDS_DATA_DIR

All rows: 200 epochs, batch 128, images of 32 pixels, padded by 4, cropped back and mirrored, no
colours; one GPU, whose examples share batch statistics. WRN-28-10 (arXiv 1605.07146): NAG at a rate
of 0.1 that is multiplied by 0.2 at epochs 60, 120 and 160, weight decay 5e-4 on every parameter.

AutoAugment's paper decays by a cosine, and adds Cutout after the policy. AdaBound (arXiv
1902.09843, section 5) trains a ResNet-34 whose stem does not reduce; its rate is divided by 10 at
epoch 150, and that of the SGD beside it too. That paper has curves and no table.

From the papers' text and published tables; what they leave out follows the WRN recipe.
"""

from bot_jax.recipes import Row
from bot_jax.reference_results import Published
from configs import default


def _cifar10():
    config = default.get_config()
    config.epochs = 200.0
    config.batch_size = 128
    config.eval_batch_size = 500
    config.data.tfds_name = "cifar10"
    config.data.eval_split = "test"
    config.data.image_size = config.data.eval_resize = 32
    config.data.train_crop = "center"
    config.augment.pad_and_crop = {"padding": 4}
    del config.augment.color_jitter, config.augment.pca_noise
    config.model.options.initializer = "kaiming_normal"
    config.batch_norm.group_size = 128
    config.optimizer.linear_scaling = False  # the rates below are those at 128
    config.optimizer.weight_decay = 5e-4
    config.optimizer.no_bias_decay = False
    config.schedule.name = "step"
    config.schedule.warmup_epochs = 0.0
    return config


def _wide(**augment):
    def make():
        config = _cifar10()
        config.model.name = "wide_resnet28_10"
        config.schedule.boundaries_epochs = (60.0, 120.0, 160.0)
        config.schedule.factor = 0.2
        if "auto_augment" in augment:
            config.schedule.name = "cosine"
        for name, options in augment.items():
            config.augment[name] = options
        return config

    return make


def _resnet34(adabound):
    def make():
        config = _cifar10()
        config.model.name = "resnet34_b"
        config.model.options.small_images = True
        config.optimizer.nesterov = False
        config.schedule.boundaries_epochs = (150.0,)
        if adabound:
            config.optimizer.name = "adabound"
            config.optimizer.base_learning_rate = 1e-3
            config.optimizer.options = {"final_learning_rate": 0.1, "gamma": 1e-3}
        return config

    return make


def _published(error, paper, recipe):
    return Published(paper, "WRN-28-10", recipe, "200", round(100 - error, 2), img_size="32")


_CUTOUT, _RICAP, _AUTO = "arXiv 1708.04552", "arXiv 1811.09030", "arXiv 1805.09501"

ROWS = {
    "standard": Row(_wide(), published=_published(3.87, _CUTOUT, "standard")),
    "cutout": Row(
        _wide(cutout={"length": 16}),
        published=_published(3.08, _CUTOUT, "Cutout 16"),
    ),
    "ricap": Row(
        _wide(ricap={"beta": 0.3}),
        published=_published(2.85, _RICAP, "RICAP 0.3"),
        remark="error 2.85 ± 0.06 %, beside 3.89 % without RICAP",
    ),
    "auto_augment": Row(
        _wide(auto_augment={"policy": "cifar10"}, cutout={"length": 16}),
        published=_published(2.68, _AUTO, "AutoAugment"),
    ),
    "sgd_resnet34": Row(_resnet34(adabound=False)),
    "adabound_resnet34": Row(_resnet34(adabound=True)),
}


def get_config(row):
    return ROWS[row].make()
