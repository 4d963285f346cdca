"""The shapes of what the steps are given, for those who compile one without running it."""

import jax

from bot_jax import parallel
from bot_jax.eval_step import make_eval_step, zero_totals
from bot_jax.step import make_train_step


def train_step_and_shapes(config, setup) -> tuple:
    """The training step, and its arguments as shapes on the devices of `setup.layout`.

    Args:
      config: the whole configuration.
      setup: `setup.Setup`.

    Returns:
      The jitted step, and (state, batch) or (state, batch, variables of the teacher).
    """
    layout, teacher = setup.layout, setup.teacher
    state = parallel.replicated_like(setup.state_shapes, layout)
    batch = parallel.train_batch_like(config.data.image_size, layout)
    constants = (parallel.replicated_like(teacher.shapes, layout),) if teacher else ()
    return make_train_step(config, setup), (state, batch, *constants)


def eval_step_and_shapes(config, setup) -> tuple:
    """The evaluation step, and (totals, batch, variables) likewise."""
    layout = parallel.evaluation_layout(config.eval_batch_size, setup.layout.mesh)
    totals = parallel.replicated_like(jax.eval_shape(zero_totals), layout)
    batch = parallel.eval_batch_like(config.data.image_size, layout)
    shapes = {"params": setup.state_shapes.params, "batch_stats": setup.state_shapes.batch_stats}
    variables = parallel.replicated_like(shapes, layout)
    return make_eval_step(setup.model, layout), (totals, batch, variables)
