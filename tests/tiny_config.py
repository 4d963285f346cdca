"""A run of the digits with the tiny model, for tests that start programs: 22 steps an epoch."""

from configs import quickstart


def get_config():
    config = quickstart.get_config()
    config.unlock()
    config.name = "tiny"
    config.imports = "tests/tiny_model.py"
    config.epochs = 1.0
    config.data.image_size = 8
    config.data.eval_resize = 8
    config.model.name = "tiny"
    config.model.options = {}
    config.schedule.warmup_epochs = 0.5
    config.eval_every_epochs = 0.5
    config.checkpoint.every_epochs = 0.25
    config.log_every_steps = 4
    return config
