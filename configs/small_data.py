"""A recipe for a folder of a few hundred or a few thousand photographs of one's own.

    python -m bot_jax.main --config configs/small_data.py:scratch --workdir runs/scratch \
        --config.data.path=DIR
    python -m bot_jax.main --config configs/small_data.py:pretrained --workdir runs/mine \
        --config.pretrained=runs/other --config.data.path=DIR

DIR has train/CLASS/ and validation/CLASS/, or CLASS/ alone. Beside photos.py: RandAugment, which
unlike AutoAugment was not searched for one data set; classes of different size seen equally often;
dropout; and an end when eight evaluations have brought nothing. `pretrained` goes on from the
weights of a run of the same model on any other images, at a tenth of the rate. Both are
ResNet-18-D at 64 pixels, for a CPU; with a GPU take more pixels and a larger model.
"""

from bot_jax.recipes import Row
from configs import photos


def _scratch():
    config = photos.get_config()
    config.epochs = 40.0
    config.data.balance = "resample"
    config.augment.rand_augment = {"magnitude": 5.0}
    config.model.options.dropout = 0.2
    config.early_stopping.enabled = True
    config.early_stopping.patience = 8
    return config


def _pretrained():
    config = _scratch()
    config.epochs = 20.0
    config.pretrained = "runs/other"
    config.optimizer.base_learning_rate = 0.02
    return config


ROWS = {
    "scratch": Row(_scratch, remark="as long as it gets better, 40 epochs at most"),
    "pretrained": Row(_pretrained, remark="with --config.pretrained, 20 epochs at most"),
}


def get_config(row):
    return ROWS[row].make()
