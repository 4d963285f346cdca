"""Options of what is registered by name: keyword-only arguments with defaults.

An augmentation, an optimiser, a loss: each has options of its own, which a configuration gives as a
group. The default of an argument says what type its values have.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from bot_jax.errors import InputError, suggest


def keyword_defaults(function: Callable) -> dict[str, Any]:
    """The keyword-only arguments of a function with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def check_options(where: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict:
    """All options, with the given values in place of the defaults.

    Args:
      where: the group's name, for messages, such as "config.augment.cutout".
      defaults: name -> default.
      given: name -> value. A whole number is good for a float, a list for a tuple.

    Raises:
      InputError: an option is not known, or a value is not of the type of the default.
    """
    options = dict(defaults)
    for name, value in given.items():
        if name not in options:
            raise InputError(
                f"{where} has no option {name!r}.{suggest(name, options)} "
                f"Its options: {', '.join(options) or 'none'}."
            )
        default = options[name]
        if type(default) is float and type(value) is int:
            value = float(value)
        if type(default) is tuple and isinstance(value, list):
            value = tuple(value)
        if type(value) is not type(default):
            raise InputError(
                f"{where}.{name} = {value!r} is not of the right type: expected "
                f"{type(default).__name__}, such as {default!r}."
            )
        options[name] = value
    return options
