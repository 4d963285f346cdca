"""The teacher of a distillation: any model of the registry, with trained weights."""

import dataclasses
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bot_jax import export
from bot_jax.classifier import build_model, check_weights
from bot_jax.errors import InputError, check_choice
from bot_jax.precision import COMPUTE


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
    if distillation.compute == "float64" != config.precision.compute:
        raise InputError(
            "config.distillation.compute = 'float64' needs config.precision.compute=float64, which "
            f"is {config.precision.compute!r}."
        )
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
    what = f"config.distillation.teacher = {path}"
    dtype = jnp.dtype(distillation.compute)
    model, shapes = build_model(weights, len(class_names), dtype, what)
    identity = {"model": weights.model, "step": weights.step}
    if not trained:
        return Teacher(model, shapes, None, identity)
    if weights.class_names != class_names:
        raise InputError(
            f"{what} knows {_few(weights.class_names)}; the data have "
            f"{_few(class_names)}. They must be the same, in the same order."
        )
    check_weights(weights, shapes, what)
    identity["checksum"] = export.checksum(weights.variables)
    variables = jax.tree.map(lambda x, like: np.asarray(x, like.dtype), weights.variables, shapes)
    return Teacher(model, shapes, variables, identity)


def _few(names):
    shown = ", ".join(names[:3])
    return f"{len(names):,} classes ({shown}{', ...' if len(names) > 3 else ''})"
