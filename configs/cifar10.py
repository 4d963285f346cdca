"""ResNet-20 on CIFAR-10 as a folder of image files, in a short run for two CPU cores.

    python -m bot_jax.main --config configs/cifar10.py --workdir runs/c10 --config.data.path=DIR

DIR has train/CLASS/ and test/CLASS/. The network is that of He et al., arXiv 1512.03385,
section 4.2; the run is far shorter than theirs (160 epochs).
"""

from configs import default


def get_config():
    config = default.get_config()
    config.epochs = 6.0
    config.batch_size = 64
    config.eval_batch_size = 500
    config.data.source = "folder"
    config.data.eval_split = "test"
    config.data.image_size = 32
    config.data.eval_resize = 32
    config.data.crop_area = (0.7, 1.0)
    del config.augment.color_jitter, config.augment.pca_noise
    config.model.name = "resnet20_cifar"
    config.batch_norm.group_size = 64
    config.optimizer.base_learning_rate = 0.4  # 0.1 at a batch of 64
    config.optimizer.weight_decay = 5e-4
    config.schedule.warmup_epochs = 0.5
    config.log_every_steps = 100
    return config
