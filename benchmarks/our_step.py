"""The training step of this project: a worker of `python -m bot_jax.benchmark`."""

import jax
import numpy as np
import worker

from bot_jax import parallel
from bot_jax.data.source import Source
from bot_jax.setup import make_setup
from bot_jax.step import make_train_step
from configs import default


def main():
    """Builds the step, warms up, and serves."""
    flags = worker.parse_flags(__doc__)
    config = default.get_config()
    config.model.name = flags.model
    config.batch_size = flags.batch
    config.batch_norm.group_size = 0
    config.data.image_size = flags.image_size
    config.precision.compute = flags.dtype
    # What the other steps do not do.
    config.augment.color_jitter = config.augment.pca_noise = 0.0
    names = tuple(f"class {i}" for i in range(10))
    source = Source("no data", 10**6, names, str, read=lambda index: None)
    setup = make_setup(config, sources=(source, source))
    step = make_train_step(
        config, setup.model, setup.optimizer, setup.schedule, setup.layout, len(names)
    )
    rng = np.random.default_rng(0)
    shape = (flags.batch, flags.image_size, flags.image_size, 3)
    batch = {
        "image": rng.integers(0, 256, shape, np.uint8),
        "label": (np.arange(flags.batch) % 10).astype(np.int32),
        "sample_id": np.arange(flags.batch, dtype=np.uint32),
    }
    batch = parallel.put_batch(batch, setup.layout)
    state = parallel.replicate(setup.initial_state(), setup.layout)

    def run():
        nonlocal state
        state, done = step(state, batch)
        jax.block_until_ready(done)

    for _ in range(2):
        run()
    worker.serve(run)


if __name__ == "__main__":
    main()
