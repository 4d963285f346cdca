"""GluonCV's model zoo: the networks of the paper as its authors released them.

    python -m bot_jax.main --config configs/gluoncv.py:resnet50_v1d --workdir runs/resnet50_v1d

The recipes are those of the released scripts and logs (dmlc/web-data), in the released code's
reading: its crop and colour jitter, MSRAPrelu, eps / K in label smoothing, half of each term in
distillation, and in mixup one lambda for many pairs (there for the whole batch, here for each
batch-norm group). _v1 is variant A, _v1b B and so on. What else differs here: the warmup is one
step ahead of theirs (optim/warmup.py), the cosine would end one step after the run's last, theirs
at it (optim/cosine_decay.py), PCA noise is not rounded to integers (augment/pca_noise.py), and
their variant A has biases that batch norm cancels (models/resnet.py).

The command of inceptionv3 without mixup is not public; 120 epochs of the usual recipe are
presumed. No row is distilled: no such weights were released.
"""

from bot_jax.recipes import Row
from bot_jax.reference_results import gluoncv_result
from configs import paper
from configs.paper import (
    batch_1024,
    cosine,
    efficient,
    float16,
    label_smoothing,
    no_bias_decay,
    recipe,
    warmup,
    zero_gamma,
)


def gluoncv_reading(config):
    """The released code, where the paper's text says something else."""
    config.data.flavor = "gluoncv"
    config.augment.color_jitter.flavor = "gluoncv"
    config.model.options.initializer = "msra_prelu"
    config.label_smoothing.form = "uniform"
    config.distillation.hard_weight = 0.5
    config.distillation.soft_weight = 0.5


def mixup(config):
    """One lambda for many pairs, those of a batch-norm group."""
    paper.mixup(config)
    config.augment.mixup.lambda_per = "group"


def dropout(config):
    """Half of the features before the last layer, as their Inception-V3 has it."""
    config.model.options.dropout = 0.5


def four_gpus(config):
    """Four GPUs of 256 examples each."""
    config.batch_norm.group_size = 256


def batch_512(config):
    """Eight GPUs of 64 examples each."""
    config.batch_size = 512
    config.batch_norm.group_size = 64


STANDARD = (efficient, cosine, label_smoothing)
PLAIN = (batch_1024, warmup, cosine)
FLOAT32 = (warmup, zero_gamma, no_bias_decay, cosine, label_smoothing)  # at a batch of 256


def _row(model, changes, *published):
    return Row(recipe(model, *changes, reading=gluoncv_reading), gluoncv=gluoncv_result(*published))


ROWS = {
    "resnet18_v1": _row("resnet18_a", (*PLAIN, four_gpus), "ResNet18_v1"),
    "resnet34_v1": _row("resnet34_a", (*PLAIN, four_gpus), "ResNet34_v1"),
    "resnet50_v1": _row("resnet50_a", STANDARD, "ResNet50_v1"),
    "resnet101_v1": _row("resnet101_a", (*PLAIN, float16), "ResNet101_v1"),
    "resnet152_v1": _row("resnet152_a", FLOAT32, "ResNet152_v1"),
    # Their scripts ask for zero gamma, which the released basic block ignores.
    "resnet18_v1b": _row("resnet18_b", (*PLAIN, four_gpus), "ResNet18_v1b", "120"),
    "resnet34_v1b": _row("resnet34_b", (*PLAIN, four_gpus), "ResNet34_v1b", "120"),
    "resnet50_v1b": _row("resnet50_b", STANDARD, "ResNet50_v1b", "120"),
    "resnet101_v1b": _row("resnet101_b", STANDARD, "ResNet101_v1b", "120"),
    "resnet152_v1b": _row("resnet152_b", FLOAT32, "ResNet152_v1b"),
    "resnet50_v1c": _row("resnet50_c", STANDARD, "ResNet50_v1c", "120"),
    "resnet101_v1c": _row("resnet101_c", STANDARD, "ResNet101_v1c"),
    "resnet152_v1c": _row("resnet152_c", FLOAT32, "ResNet152_v1c"),
    "resnet50_v1d": _row("resnet50_d", STANDARD, "ResNet50_v1d", "120"),
    "resnet50_v1d_mixup": _row("resnet50_d", (*STANDARD, mixup), "ResNet50_v1d", "200"),
    "resnet101_v1d": _row("resnet101_d", STANDARD, "ResNet101_v1d"),
    "resnet101_v1d_mixup": _row("resnet101_d", (*STANDARD, mixup), "ResNet101_v1d", "200"),
    "resnet152_v1d": _row("resnet152_d", (*FLOAT32, batch_512), "ResNet152_v1d", "120"),
    "resnet152_v1d_mixup": _row("resnet152_d", (*FLOAT32, mixup), "ResNet152_v1d", "200"),
    "mobilenet1.0": _row("mobilenet_100", STANDARD, "MobileNet1.0", "120"),
    "mobilenet1.0_mixup": _row("mobilenet_100", (*STANDARD, mixup), "MobileNet1.0", "200?"),
    "mobilenet0.75": _row("mobilenet_075", STANDARD, "MobileNet0.75"),
    "mobilenet0.5": _row("mobilenet_050", STANDARD, "MobileNet0.5"),
    "mobilenet0.25": _row("mobilenet_025", STANDARD, "MobileNet0.25"),
    "inceptionv3": _row("inception_v3", (*STANDARD, dropout), "InceptionV3"),
    "inceptionv3_mixup": _row("inception_v3", (*STANDARD, dropout, mixup), "InceptionV3", "200"),
}


def get_config(row):
    return ROWS[row].make()
