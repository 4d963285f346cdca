"""ResNet-18-D from scratch on a folder of a few thousand photographs, on two CPU cores.

    python -m bot_jax.main --config configs/photos.py --workdir runs/photos --config.data.path=DIR

DIR has train/CLASS/, validation/CLASS/ and perhaps test/CLASS/, or CLASS/ alone. The paper's
refinements (cosine, label smoothing, mixup) at 64 pixels.
"""

from configs import default


def get_config():
    config = default.get_config()
    config.epochs = 20.0
    config.batch_size = 64
    config.eval_batch_size = 128
    config.data.source = "folder"
    config.data.image_size = 64
    config.data.crop_area = (0.25, 1.0)
    config.data.antialias = True  # a photograph shrinks to a tenth here
    config.augment.mixup = {}
    config.model.name = "resnet18_d"
    config.label_smoothing.epsilon = 0.1
    config.optimizer.base_learning_rate = 0.2  # 0.05 at a batch of 64
    config.optimizer.weight_decay = 5e-4
    config.schedule.warmup_epochs = 2.0
    config.eval_every_epochs = 2.0
    config.checkpoint.every_epochs = 2.0
    config.log_every_steps = 20
    return config
