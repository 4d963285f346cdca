r"""Two small runs of the digits: what `bot_jax.topology` and `bot_jax.faults` try.

    python -m bot_jax.topology --workdir runs/topology
    python -m bot_jax.faults --runs 50 --workdir runs/faults

topology: a ResNet-18-D in float32 with all that draws random numbers; batch-norm groups of 8 in
batches of 32, so that 8 devices share a group two by two and fewer hold whole ones. faults: a
ResNet-14-D in float16 with dynamic loss scale and a moving average, often saved and evaluated.
"""

from bot_jax.recipes import Row
from configs import quickstart


def _topology():
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


ROWS = {"topology": Row(_topology), "faults": Row(_faults)}


def get_config(row):
    return ROWS[row].make()
