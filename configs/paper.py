"""What the rows of the paper's tables are composed of (He et al., arXiv 1812.01187).

`baseline` is the training of section 2.1. Each other function is one change to it, and is named
as the paper names it; `recipe` makes a row of them. This file has no `get_config`: the rows are in
table2.py to table7.py.

What the paper does not say, and what the rows do:

- Momentum 0.9 and weight decay 1e-4 (default.py) are the released code's.
- Batch statistics are those of one of eight GPUs, as in the released code: 32 examples at a batch
  of 256, 128 at 1,024.
- 299 pixels: validation images are resized to 342, as in the released code.
- The loss scale of float16 is the batch size: the released code sums the loss over the batch and
  divides by the batch size in the float32 update. The paper gives no value.

Where the paper and the released code differ, these rows follow the paper's text: Xavier, the
colours of `data.flavor="paper"`, eps / (K - 1) in label smoothing, both terms of distillation with
weight 1, one lambda for each pair in mixup. gluoncv.py has the other reading.
"""

from configs import default


def baseline(model):
    """Section 2.1: batch 256, float32, 120 epochs, no warmup, rate 0.1, a tenth at 30, 60, 90."""
    config = default.get_config()
    config.model.name = model
    config.schedule.name = "step"
    config.schedule.warmup_epochs = 0.0
    config.optimizer.no_bias_decay = False
    if model == "inception_v3":
        config.data.image_size = 299
        config.data.eval_resize = 342
    return config


def paper_reading(config):
    """The paper's text, where the released code does something else."""
    config.data.flavor = "paper"
    config.augment.color_jitter.flavor = "paper"
    config.model.options.initializer = "xavier_uniform"
    config.label_smoothing.form = "paper"
    config.distillation.hard_weight = 1.0
    config.distillation.soft_weight = 1.0


def recipe(model, *changes, reading=paper_reading):
    """A function that makes the configuration of a row: the baseline, then each change in order."""

    def make():
        config = baseline(model)
        for change in (reading, *changes):
            change(config)
        return config

    return make


def batch_1024(config):
    """Section 3.1: a batch of 1,024, whose learning rate follows by linear scaling: 0.4."""
    config.batch_size = 1024
    config.batch_norm.group_size = 128


def warmup(config):
    """Section 3.1: the learning rate rises for five epochs."""
    config.schedule.warmup_epochs = 5.0


def zero_gamma(config):
    """Section 3.1: residual blocks start as their shortcut; other networks have none."""
    if config.model.name.startswith("resnet"):
        config.model.options.zero_gamma = True


def no_bias_decay(config):
    """Section 3.1: only weights of convolutions and dense layers decay."""
    config.optimizer.no_bias_decay = True


def float16(config):
    """Section 3.2: computed in float16, updated in float32. Comes after the batch size."""
    config.precision.compute = "float16"
    config.precision.loss_scale = "static"
    config.precision.loss_scale_value = float(config.batch_size)


HEURISTICS = (warmup, zero_gamma, no_bias_decay, float16)  # in the order of table 4


def efficient(config):
    """Section 3: a batch of 1,024 with all heuristics; the schedule is still that in steps."""
    for change in (batch_1024, *HEURISTICS):
        change(config)


def cosine(config):
    """Section 5.1: cosine decay after the warmup."""
    config.schedule.name = "cosine"


def label_smoothing(config):
    """Section 5.2."""
    config.label_smoothing.epsilon = 0.1


def mixup(config):
    """Section 5.4: mixed examples only, 200 epochs instead of 120."""
    config.augment.mixup = {"alpha": 0.2, "lambda_per": "sample"}
    config.epochs = 200.0


def distill(config):
    """Section 5.3: a ResNet-152-D teaches; with mixup it was trained with mixup. After `mixup`.

    The teacher computes in the precision of the student, which the paper does not say.
    """
    mixed = "_mixup" if "mixup" in config.augment else ""
    config.distillation.teacher = f"runs/teacher_resnet152_d{mixed}"
    config.distillation.teacher_model = "resnet152_d"
    config.distillation.temperature = 20.0
    config.distillation.compute = config.precision.compute
