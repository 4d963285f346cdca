"""Training batches on the devices."""

from collections.abc import Callable, Iterator

from bot_jax import parallel
from bot_jax.data.pipeline import train_batches

# What the training step needs of a batch.
_NAMES = ("image", "label", "sample_id")


def device_batches(
    config, setup, start_step: int = 0, on_bad: Callable[[list[int]], None] | None = None
) -> Iterator[dict]:
    """Endless batches for `step.make_train_step`.

    Args:
      config: the whole configuration.
      setup: `setup.Setup`, of which source and layout matter.
      start_step: steps done before.
      on_bad: is told which examples of the source cannot be read, batch by batch.
    """
    batches = train_batches(
        setup.source,
        config.data,
        seed=config.seed,
        batch_size=config.batch_size,
        rows=parallel.rows_of_this_process(setup.layout),
        start_step=start_step,
    )
    for batch in batches:
        if on_bad and batch["bad"].any():
            on_bad(batch["index"][batch["bad"]].tolist())
        yield parallel.put_batch({name: batch[name] for name in _NAMES}, setup.layout)


def teacher_constants(setup) -> tuple:
    """The third argument of the training step, on the devices; none without a teacher."""
    teacher = setup.teacher
    return (parallel.replicate(teacher.variables, setup.layout),) if teacher else ()
