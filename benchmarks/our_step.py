"""The training step of this project: a worker of `python -m bot_jax.benchmark`."""

import jax
import numpy as np
import ours
import worker

from bot_jax import parallel
from bot_jax.huge_pages import use_huge_pages
from bot_jax.setup import make_setup
from bot_jax.step import make_train_step


def main():
    """Builds the step, warms up, and serves."""
    flags = worker.parse_flags(__doc__)
    config, source = ours.make_config(flags), ours.no_data()
    setup = make_setup(config, sources=(source, source))
    step = make_train_step(config, setup)
    rng = np.random.default_rng(0)
    shape = (flags.batch, flags.image_size, flags.image_size, 3)
    batch = {
        "image": rng.integers(0, 256, shape, np.uint8),
        "label": (np.arange(flags.batch) % setup.num_classes).astype(np.int32),
        "sample_id": np.arange(flags.batch, dtype=np.uint32),
    }
    batch = parallel.put_batch(batch, setup.layout)
    state = parallel.replicate(setup.initial_state(), setup.layout)

    def run(steps=flags.units):
        nonlocal state
        for _ in range(steps):
            state, done = step(state, batch)
        jax.block_until_ready(done)

    for _ in range(flags.warm_up):
        run(1)
    worker.serve(run, get_ready=lambda: run(1))


if __name__ == "__main__":
    use_huge_pages()  # as bot_jax.main does
    main()
