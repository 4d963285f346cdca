"""Losses by name: `config.loss.name`, with `config.loss.options`.

::

    @register_loss("my_loss")
    def my_loss(logits, targets, *, gamma=2.0):
        ...

takes logits [b, K] of any precision and targets [b, K], float32 or wider, and returns the loss of
each example, float32 [b] or wider. Targets may be smoothed and mixed; a row of zeros, an image that
does not count, must give 0. The keyword arguments are the options.
"""

import importlib
from collections.abc import Callable
from functools import partial

from bot_jax.errors import InputError, check_choice
from bot_jax.options import check_options, keyword_defaults

BUILT_IN = ("bot_jax.losses.cross_entropy",)

_LOSSES: dict[str, Callable] = {}


def register_loss(name: str) -> Callable:
    """Decorator that makes a loss known by `name`.

    Raises:
      InputError: the name is taken.
    """

    def register(function):
        if name in _LOSSES:
            raise InputError(f"A loss {name!r} is registered twice. Choose another name.")
        _LOSSES[name] = function
        return function

    return register


def make_loss(config_loss) -> Callable:
    """The loss of a configuration, a function (logits, targets) -> losses [b].

    Args:
      config_loss: `config.loss`: name and options.

    Raises:
      InputError: the loss or an option is not known, or has a value of a wrong type.
    """
    for module in BUILT_IN:
        importlib.import_module(module)
    check_choice("config.loss.name", config_loss.name, _LOSSES)
    function = _LOSSES[config_loss.name]
    where = f"config.loss.options of {config_loss.name}"
    return partial(
        function, **check_options(where, keyword_defaults(function), config_loss.options)
    )
