"""The teacher of a distillation: any model of the registry, with trained weights."""

import dataclasses
from pathlib import Path

import flax.linen as nn
import jax.numpy as jnp

from bot_jax import export
from bot_jax.checkpoint import shape_differences
from bot_jax.errors import InputError, check_choice
from bot_jax.loss_scale import COMPUTE
from bot_jax.models.registry import get_model
from bot_jax.state import variable_shapes


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A model in inference mode.

    Attributes:
      model: the Flax module.
      shapes: of its variables {"params", "batch_stats"}.
      variables: NumPy arrays; None where only the shapes are known.
      identity: which one it is: model, step, and a checksum of its weights.
    """

    model: nn.Module
    shapes: dict
    variables: dict | None
    identity: dict


def make_teacher(config, class_names: tuple[str, ...], *, trained: bool = True) -> Teacher | None:
    """The teacher of `config.distillation`, or None where it names none.

    Args:
      config: the whole configuration.
      class_names: of the student; the teacher's must be the same.
      trained: False for those who compile a step without running it. Then weights and classes do
        not matter, and a teacher that is not there is `config.distillation.teacher_model`.

    Raises:
      InputError: there is no such teacher, or it does not fit.
    """
    distillation = config.distillation
    if not distillation.teacher:
        return None
    check_choice("config.distillation.compute", distillation.compute, COMPUTE)
    path, wanted = Path(distillation.teacher), distillation.teacher_model
    if path.exists():
        weights = export.load_weights(path)
    elif not trained and wanted:
        weights = export.Weights(wanted, {}, class_names, config.data.image_size, 0, {})
    else:
        raise InputError(
            f"config.distillation.teacher = {path}: there is no such run or file"
            + (f"; a trained {wanted} is wanted" if wanted else "")
            + ". Train the teacher first, or name the --workdir of its run or a file of "
            "`python -m bot_jax.export`."
        )
    if wanted and weights.model != wanted:
        raise InputError(
            f"config.distillation.teacher = {path} is a {weights.model}, but "
            f"config.distillation.teacher_model asks for {wanted}."
        )
    dtype, num_classes = jnp.dtype(distillation.compute), len(class_names)
    model = get_model(weights.model, num_classes=num_classes, dtype=dtype, **weights.options)
    shapes = variable_shapes(model, weights.image_size)
    identity = {"model": weights.model, "step": weights.step}
    if not trained:
        return Teacher(model, shapes, None, identity)
    if weights.class_names != class_names:
        raise InputError(
            f"config.distillation.teacher = {path} knows {_few(weights.class_names)}; "
            f"the data have {_few(class_names)}. They must be the same, in the same order."
        )
    differences = shape_differences(weights.variables, shapes, "the file", "the model")
    if differences:
        raise InputError(
            f"The weights in {path} do not fit the model that they are said to be of:\n"
            f"{differences}"
        )
    identity["checksum"] = export.checksum(weights.variables)
    return Teacher(model, shapes, weights.variables, identity)


def _few(names):
    shown = ", ".join(names[:3])
    return f"{len(names):,} classes ({shown}{', ...' if len(names) > 3 else ''})"
