"""The configuration that the workers of this project share."""

from bot_jax.data.source import Source
from configs import default


def make_config(flags):
    """`configs/default.py` with the work of the flags, and without augmentations and groups."""
    config = default.get_config()
    config.name = "benchmark"
    config.model.name = flags.model
    config.batch_size = config.eval_batch_size = flags.batch
    config.batch_norm.group_size = 0
    config.precision.compute = flags.dtype
    config.data.image_size = flags.image_size
    config.data.source, config.data.path = "folder", flags.data
    # What the other steps do not do.
    config.augment = {}
    return config


def no_data(num_classes: int = 10) -> Source:
    """A split that is never read."""
    names = tuple(f"class {i}" for i in range(num_classes))
    return Source("no data", 10**6, names, str, read=lambda index: None)
