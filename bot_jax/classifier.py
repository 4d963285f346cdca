"""A trained model as what it is used for: from images to probabilities of named classes.

It comes from the directory of a run, from a file of weights (export.py), or from an artifact
(artifact.py), and all of these are used alike.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bot_jax import export, rejection
from bot_jax.errors import InputError
from bot_jax.preprocessing import Preprocessing, make_preprocessing

# What models can be used in. A run in float64 is, as its exported weights are, in float32.
COMPUTE = ("float32", "bfloat16", "float16")


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained model and what is around it.

    Attributes:
      model, options, class_names, step: as of `export.Weights`.
      compute: the dtype that it computes in.
      preprocessing: what its images are prepared with.
      rejection: the run's rejection.json, see rejection.py, or None.
      weights: its arrays by their paths ("params/head/kernel"), float32.
      apply: JAX function (weights, images uint8 [b, image_size, image_size, 3]) -> {"logits",
        "probabilities"}, float32 [b, K] each.
    """

    model: str
    options: dict
    class_names: tuple[str, ...]
    step: int
    compute: str
    preprocessing: Preprocessing
    rejection: dict | None
    weights: dict[str, np.ndarray]
    apply: Callable


def load_models(paths: list[Path]) -> list[Classifier]:
    """Loads models of any kind: runs, files of weights, artifacts.

    Raises:
      InputError: one cannot be read, or they do not have the same classes in the same order.
    """
    from bot_jax.artifact import is_artifact, read_artifact

    models = [read_artifact(p) if is_artifact(p) else load_classifier(p) for p in paths]
    first = models[0].class_names
    for path, model in zip(paths, models, strict=True):
        if model.class_names != first:
            raise InputError(
                f"{_difference(path, model.class_names, paths[0], first)}. Models of an ensemble "
                "must have the same classes, in the same order."
            )
    return models


def _difference(one_path, one, other_path, other) -> str:
    if len(one) != len(other):
        return f"{one_path} knows {len(one):,} classes, and {other_path} {len(other):,}"
    i = next(i for i in range(len(one)) if one[i] != other[i])
    return f"Class {i} of {one_path} is {one[i]!r}, and that of {other_path} is {other[i]!r}"


def load_classifier(path: Path, compute: str = "", **changes) -> Classifier:
    """Loads a finished run, where `path` is a directory, or a file of weights.

    Args:
      path: of either.
      compute: one of `COMPUTE`; default that of the run, or float32.
      **changes: of the preprocessing, whose other numbers are those of the run's evaluation. For a
        file of weights they are those of the size of its images.

    Raises:
      InputError: they cannot be read, or are not what they are said to be.
    """
    import jax.numpy as jnp
    from flax.traverse_util import flatten_dict

    weights = export.load_weights(path)
    fields, found = {"image_size": weights.image_size}, None
    if path.is_dir():
        from bot_jax.workdir import read_config

        config, found = read_config(path), rejection.read(path)
        fields = config["data"]
        own = config["precision"]["compute"]
        compute = compute or (own if own in COMPUTE else "")
    if "image_size" in changes:
        fields = fields | {"eval_resize": 0}
    compute = compute or "float32"
    preprocessing = make_preprocessing(fields | changes, str(path))
    model, shapes = build_model(weights, len(weights.class_names), jnp.dtype(compute), str(path))
    check_weights(weights, shapes, str(path))
    return Classifier(
        model=weights.model,
        options=weights.options,
        class_names=weights.class_names,
        step=weights.step,
        compute=compute,
        preprocessing=preprocessing,
        rejection=found,
        weights=flatten_dict(weights.variables, sep="/"),
        apply=_forward(model),
    )


def build_model(weights: export.Weights, num_classes: int, dtype, what: str):
    """The model that weights are said to be of, and the shapes of its variables.

    Args:
      weights: what a file holds; it may be from elsewhere.
      num_classes: of the model.
      dtype: of the computation.
      what: names the file in messages.

    Raises:
      InputError: no such model can be made.
    """
    from bot_jax.models.registry import get_model
    from bot_jax.state import variable_shapes

    try:
        model = get_model(weights.model, num_classes=num_classes, dtype=dtype, **weights.options)
        return model, variable_shapes(model, weights.image_size)
    except InputError:
        raise
    except Exception as error:  # options of a file from elsewhere can be anything
        raise InputError(
            f"{what} is said to be a {weights.model} with the options {weights.options}, of which "
            f"no model can be made: {error}"
        ) from error


def check_weights(weights: export.Weights, shapes: dict, what: str) -> None:
    """Checks that weights fit the model that they are said to be of.

    Args:
      weights, what: as of `build_model`.
      shapes: what it returned.

    Raises:
      InputError: names or shapes differ; the message lists them.
    """
    from bot_jax.checkpoint import shape_differences

    if differences := shape_differences(weights.variables, shapes, "the file", "the model"):
        raise InputError(
            f"The weights in {what} do not fit the model that they are said to be of:\n"
            f"{differences}"
        )


def _forward(model):
    import jax
    import jax.numpy as jnp
    from flax.traverse_util import unflatten_dict

    from bot_jax.augment.normalize import normalize

    def apply(weights, images):
        variables = unflatten_dict(weights, sep="/")
        logits = model.apply(variables, normalize(images.astype(jnp.float32)), train=False)
        return {"logits": logits, "probabilities": jax.nn.softmax(logits, axis=-1)}

    return apply
