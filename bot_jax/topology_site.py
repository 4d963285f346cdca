"""A run of a configuration on some devices, gone through step by step: for topology.py."""

import itertools
import zlib
from pathlib import Path

import jax
import numpy as np

from bot_jax import parallel
from bot_jax.batch import prepare_batch
from bot_jax.checkpoint import Checkpoints
from bot_jax.device_batches import device_batches
from bot_jax.evaluate import make_evaluate
from bot_jax.metrics import zero_metrics
from bot_jax.setup import make_setup
from bot_jax.state import variable_shapes
from bot_jax.step import make_train_step


class Site:
    """A run of the configuration on some devices, to be gone through step by step.

    Attributes:
      setup: `setup.Setup`.
    """

    def __init__(self, config, devices=None):
        """`devices`: default all, of all processes."""
        self._config = config
        self.setup = make_setup(config, devices=devices)
        self._train_step = make_train_step(config, self.setup)
        self._look = _make_look(config, self.setup)
        layout = parallel.evaluation_layout(config.eval_batch_size, self.setup.layout.mesh)
        _, self._evaluate = make_evaluate(config, self.setup.model, self.setup.eval_source, layout)
        self._zeros = lambda: parallel.replicate(zero_metrics(), self.setup.layout)

    def first_state(self, change: float = 0.0):
        """The state before the first step, its weights changed by this part of their size."""
        state, draw = jax.device_get(self.setup.initial_state()), np.random.default_rng(0)
        params = jax.tree.map(
            lambda x: x * (1 + change * draw.standard_normal(x.shape)).astype(x.dtype),
            state.params,
        )
        return parallel.replicate(state.replace(params=params), self.setup.layout)

    def go(self, state, start: int, steps: int):
        """Goes from step `start` to `start + steps`.

        Returns:
          The state after, and {"ids": uint32 [steps, B], "images": CRC-32 of each step's images,
          uint32 [steps], "losses": float64 [steps]}.
        """
        seen = {"ids": [], "images": [], "losses": []}
        batches = device_batches(self._config, self.setup, start)
        for step, batch in enumerate(itertools.islice(batches, steps), start):
            _, ids, images = jax.device_get(self._look(np.int32(step), batch))
            seen["ids"].append(ids)
            # Adding zero makes one of the two zeros of the other.
            seen["images"].append(zlib.crc32(np.ascontiguousarray(images + 0.0)))
            state, _ = self._train_step(state, batch)
            sums = jax.device_get(state.metrics)
            seen["losses"].append(float(sums["loss"]) / float(sums["count"]))
            state = state.replace(metrics=self._zeros())
        return state, {name: np.array(values) for name, values in seen.items()}

    def restored(self, checkpoints: Path):
        """The state of the newest checkpoint of a directory."""
        with Checkpoints(checkpoints, read_only=True) as saved:
            return saved.restore(self.setup.state_shapes, self.setup.layout)

    def evaluation(self, checkpoints: Path) -> dict:
        """What evaluating the newest checkpoint of a directory comes to."""
        like = variable_shapes(self.setup.model, self._config.data.image_size)
        with Checkpoints(checkpoints, read_only=True) as saved:
            result = self._evaluate(saved.restore_variables(like, self.setup.layout))
        classes = zlib.crc32(np.ascontiguousarray(result["classes"]))
        names = ("top1", "top5", "num_examples", "loss")
        return {name: result[name] for name in names} | {"classes": classes}


def _make_look(config, setup):
    """A function (step, device batch) -> (step, sample ids [B], images [B, H, W, 3])."""

    def look(step, batch):
        batch = {name: rows.reshape(-1, *rows.shape[2:]) for name, rows in batch.items()}
        images, *_ = prepare_batch(config, setup, batch, step)
        own = {"ids": batch["sample_id"], "images": images}
        own = {name: parallel.own_rows(rows, setup.layout) for name, rows in own.items()}
        gathered = parallel.sum_over_devices(own)
        return step, gathered["ids"], gathered["images"]

    return parallel.sharded(look, setup.layout)


def save(state, step: int, directory: Path) -> None:
    """Writes a checkpoint of a state after so many steps."""
    with Checkpoints(directory) as checkpoints:
        checkpoints.save(step, state)
