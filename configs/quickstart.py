"""A small ResNet-D on 1,797 handwritten digits, with the paper's refinements.

    python -m bot_jax.main --config configs/quickstart.py --workdir runs/quickstart

scikit-learn brings the images, so nothing is downloaded; they go through the same pipeline as
a folder of image files. 1,437 examples to learn from, 360 held out.
"""

from configs import default


def get_config():
    """ResNet-18-D of a quarter of the width at 24 pixels, 12 epochs."""
    config = default.get_config()
    config.epochs = 12.0
    config.batch_size = 64
    config.eval_batch_size = 360
    config.data.source = "digits"
    config.data.image_size = 24
    config.data.eval_resize = 24
    config.data.crop_area = (0.6, 1.0)
    del config.augment.horizontal_flip  # a mirrored digit is another sign
    config.augment.mixup = {}
    config.model.name = "resnet18_d"
    config.model.options.small_images = True
    config.model.options.width = 16
    config.label_smoothing.epsilon = 0.1
    config.schedule.warmup_epochs = 2.0
    config.eval_every_epochs = 3.0
    config.checkpoint.every_epochs = 3.0
    config.log_every_steps = 11
    return config
