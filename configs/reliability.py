r"""Small runs: what `bot_jax.topology` and `bot_jax.faults` try.

    python -m bot_jax.topology --workdir runs/topology
    python -m bot_jax.faults --runs 50 --workdir runs/faults

topology: a ResNet-18-D in float32 with all that draws random numbers; batch-norm groups of 8 in
batches of 32, so that 8 devices share a group two by two and fewer hold whole ones. Training
amplifies rounding, so it learns slowly, from noise, of which no two pixels are equal, with zero
gamma: then losses can be compared over 50 steps. topology_digits: the same at the usual rate, on
digits, most of whose pixels are equal, and without zero gamma, where they cannot. faults: a
ResNet-14-D in float16 with dynamic loss scale and a moving average, often saved and evaluated.
"""

from bot_jax.recipes import Row
from configs import quickstart


def _topology():
    config = _topology_digits()
    config.data.source = "synthetic"
    config.data.num_classes = 10
    config.data.num_synthetic = 1440
    config.augment.horizontal_flip = {}
    config.model.options = {"zero_gamma": True, "small_images": True, "width": 16}
    config.optimizer.base_learning_rate = 0.005
    config.schedule.warmup_epochs = 5.0
    return config


def _topology_digits():
    config = quickstart.get_config()
    config.batch_size = 32
    config.batch_norm.group_size = 8
    config.data.image_size = config.data.eval_resize = 32
    config.model.options = {}
    config.schedule.warmup_epochs = 0.5
    config.ema_decay = 0.99
    return config


def _faults():
    config = quickstart.get_config()
    config.epochs = 3.0
    config.data.image_size = config.data.eval_resize = 16
    config.model.name = "resnet14_d"
    config.model.options.width = 8
    config.precision.compute = "float16"
    config.precision.loss_scale = "dynamic"
    config.ema_decay = 0.99
    config.schedule.warmup_epochs = 0.5
    config.eval_batch_size = 45
    config.eval_every_epochs = 0.5
    config.checkpoint.every_epochs = 0.25
    config.log_every_steps = 1
    return config


ROWS = {
    "topology": Row(_topology),
    "topology_digits": Row(_topology_digits),
    "faults": Row(_faults),
}


def get_config(row):
    return ROWS[row].make()
