"""Models by name.

A model is a Flax (linen) module called as ``model.apply(variables, images, train=...)`` with
float images [b, H, W, 3]; it returns float32 logits [b, num_classes]. If it takes an argument
`keys`, the training step gives it one JAX key for each image, see `keys.py`. To add one::

    @register_model("my_net", input_size=224, description="what it is (source)")
    class MyNet(nn.Module):
        num_classes: int = 1000
        dtype: Any = jnp.float32
        ...

The fields of the module (or the arguments of a function that builds one) are the options of
the model. This file imports no JAX: the models are imported when they are first asked for.
"""

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from bot_jax.errors import InputError, suggest

BUILT_IN = tuple(
    f"bot_jax.models.{file}"
    for file in ("resnet", "resnet_cifar", "wide_resnet", "inception", "mobilenet")
)

_MODELS: dict[str, "ModelInfo"] = {}


@dataclasses.dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without building it.

    Attributes:
      name: what `get_model` knows it by.
      input_size: side in pixels of the images that it was published with.
      description: one line, with the source.
      options: the names that `get_model` takes by keyword.
      build: returns the module, given the options.
    """

    name: str
    input_size: int
    description: str
    options: tuple[str, ...]
    build: Callable


def register_model(name: str, *, input_size: int, description: str, **fixed: Any) -> Callable:
    """Decorator that makes a module class, or a function that builds one, known by `name`.

    Args:
      name: unique; by convention lower case, variants after an underscore.
      input_size: side in pixels of the images that the model was published with.
      description: one line, with the source.
      **fixed: arguments that the name stands for. They are given to the builder and are not
        options of the model.

    Raises:
      InputError: the name is taken.
    """

    def register(builder):
        if name in _MODELS:
            raise InputError(f"A model named {name!r} is registered twice. Choose another name.")
        # Every linen module also has the fields `parent` and `name`.
        hidden = {"parent", "name", *fixed}
        options = tuple(p for p in inspect.signature(builder).parameters if p not in hidden)

        def build(**kw):
            return builder(**fixed, **kw)

        _MODELS[name] = ModelInfo(name, input_size, description, options, build)
        return builder

    return register


def _load_built_in():
    for module in BUILT_IN:
        importlib.import_module(module)


def model_names() -> list[str]:
    """Names of all models, in the order in which they were registered."""
    _load_built_in()
    return list(_MODELS)


def model_info(name: str) -> ModelInfo:
    """What is known of the model `name`.

    Raises:
      InputError: no model has that name.
    """
    names = model_names()
    if name not in names:
        raise InputError(
            f"There is no model named {name!r}.{suggest(name, names)} "
            "`python -m bot_jax.models` lists all models."
        )
    return _MODELS[name]


def get_model(name: str, /, **options: Any):
    """Builds the model `name`.

    Args:
      name: one of `model_names()`.
      **options: by keyword, such as ``num_classes=10, dtype=jnp.bfloat16``; what is left
        out has the model's default.

    Returns:
      A Flax (linen) module.

    Raises:
      InputError: no model has that name, or the model has no such option.
    """
    info = model_info(name)
    for option in options:
        if option not in info.options:
            raise InputError(
                f"Model {name!r} has no option {option!r}.{suggest(option, info.options)} "
                f"Its options: {', '.join(info.options)}."
            )
    return info.build(**options)
