r"""A trained ResNet-18-D goes on to a small folder of photographs, on two CPU cores.

photos.py trains the same model from scratch. Train it where there are many images of a related
kind, then start from it where there are few:

    python -m bot_jax.main --config configs/photos.py --workdir runs/photos \
        --config.data.path=MANY
    python -m bot_jax.main --config configs/finetune.py:all --workdir runs/finetuned \
        --config.data.path=FEW

MANY and FEW have train/CLASS/ and validation/CLASS/, or CLASS/ alone. Weights that are elsewhere
are named with --config.pretrained: a run, a file of `python -m bot_jax.export`, or another
framework's, as --config.pretrained=resnet18d.pth. What helps where classes differ in size, and for
images of no class:

    --config.data.balance=weights          or resample
    --config.data.background=OTHER_IMAGES   one more class, and a threshold below which to reject

The rates are those of PaddleClas's advice, for weights of very many images. With a few thousand
steps in all they can be too low: docs/own_data.md has a comparison, in which `same_recipe` led.
"""

from bot_jax.recipes import Row
from configs import photos

# As PaddleClas fine-tunes its SSLD weights.
LAYER_RATES = {"stem": 0.1, "stage1": 0.1, "stage2": 0.2, "stage3": 0.2, "stage4": 0.3}


def _all():
    config = photos.get_config()
    config.pretrained = "runs/photos"
    del config.augment.mixup  # of use in long runs
    config.optimizer.base_learning_rate = 0.01
    config.optimizer.weight_decay = 1e-4
    return config


def _same_recipe():
    config = photos.get_config()
    config.pretrained = "runs/photos"
    return config


def _layer_rates():
    config = _all()
    config.optimizer.layer_rates = LAYER_RATES
    return config


def _frozen():
    config = _all()
    config.freeze.parameters = "(?!head/)"  # whatever does not begin so
    config.optimizer.base_learning_rate = 0.1  # a new classifier has nothing to forget
    return config


ROWS = {
    "all": Row(_all, remark="every layer learns, at a tenth or less of the rate from scratch"),
    "same_recipe": Row(_same_recipe, remark="that of photos.py; nothing but the weights differs"),
    "layer_rates": Row(_layer_rates, remark="the nearer to the input, the slower"),
    "frozen": Row(_frozen, remark="only the classifier learns; statistics stay as they are"),
}


def get_config(row):
    return ROWS[row].make()
