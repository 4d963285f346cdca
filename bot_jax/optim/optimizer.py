"""The optimiser of a run: what is chosen by name, and what is around it.

    gradient -> clipped -> + L2 and L1 -> the optimiser chosen by name -> times the factor of each
    parameter -> Lookahead, where it is on -> what is added to the weights

An optimiser is added, from outside of this package too, by::

    @register_optimizer("signs")
    def signs(config, mask, *, scale=1.0):
        ...

which takes `config.optimizer` and the parameters that decay (a pytree of bool, or a function from
parameters to one), and returns an `optax.GradientTransformation`. The keyword arguments are its
options, ``config.optimizer.options.scale``, each with a default of the right type. The learning
rate is an argument of every update, since feedback from the run may change it;
`scale_by_learning_rate` stands where the rate is multiplied in.
"""

import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import jax
import optax

from bot_jax.errors import InputError, check_choice
from bot_jax.optim.layer_rates import scale_by_factors
from bot_jax.optim.lookahead import lookahead
from bot_jax.optim.weight_decay import DECAY_IN, add_decay
from bot_jax.options import check_options, keyword_defaults

BUILT_IN = tuple(
    f"bot_jax.optim.{file}"
    for file in ("sgd", "adam", "adamw", "rmsprop", "adadelta", "adabound", "lars")
)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """What is known of an optimiser.

    Attributes:
      make: see the top of this file.
      options: name -> default.
      decays: whether it sees to L1 and L2 itself, because they do not go into its gradient.
    """

    make: Callable[..., optax.GradientTransformation]
    options: dict[str, Any]
    decays: bool


_OPTIMIZERS: dict[str, Optimizer] = {}


def register_optimizer(name: str, *, decays: bool = False) -> Callable:
    """Decorator that makes an optimiser known by `name`; `decays` as in `Optimizer`.

    Raises:
      InputError: the name is taken.
    """

    def register(make):
        if name in _OPTIMIZERS:
            raise InputError(f"An optimiser {name!r} is registered twice. Choose another name.")
        _OPTIMIZERS[name] = Optimizer(make, keyword_defaults(make), decays)
        return make

    return register


def optimizers() -> dict[str, Optimizer]:
    """All optimisers by name."""
    for module in BUILT_IN:
        importlib.import_module(module)
    return _OPTIMIZERS


def scale_by_learning_rate() -> optax.GradientTransformationExtraArgs:
    """Multiplies by the negative `learning_rate` that the update is given."""

    def update(updates, state, params=None, *, learning_rate, **_):
        del params
        return jax.tree.map(lambda u: -learning_rate * u, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def make_optimizer(config, mask, factors=None) -> optax.GradientTransformationExtraArgs:
    """The chain of gradient transformations of a run.

    Args:
      config: `config.optimizer`: name and options; weight_decay, l1 and decay_in;
        gradient_clip_norm (the gradient's global norm is limited to it before the decay; 0 = off);
        lookahead_steps and lookahead_alpha.
      mask: pytree of bool, or function from parameters to one: the parameters that decay.
      factors: pytree of floats that multiply the update of each parameter, decay included; one of
        factor 0 never changes. Default 1.

    Returns:
      A transformation whose `update` takes `learning_rate`, a scalar.

    Raises:
      InputError: an optimiser or an option is not known, or has a wrong value.
    """
    check_choice("config.optimizer.name", config.name, optimizers())
    check_choice("config.optimizer.decay_in", config.decay_in, DECAY_IN)
    chosen = _OPTIMIZERS[config.name]
    if chosen.decays and config.decay_in == "loss":
        raise InputError(
            f"config.optimizer.decay_in = 'loss' is not {config.name}, whose weight decay is not "
            "a part of the gradient. Use 'update', or another config.optimizer.name."
        )
    transformations = []
    if config.gradient_clip_norm > 0:
        transformations.append(optax.clip_by_global_norm(config.gradient_clip_norm))
    if config.decay_in == "update" and not chosen.decays:
        transformations.append(add_decay(config, mask))
    where = f"config.optimizer.options of {config.name}"
    options = check_options(where, chosen.options, config.options)
    transformations.append(chosen.make(config, mask, **options))
    if factors is not None:
        transformations.append(scale_by_factors(factors))
    optimizer = optax.chain(*transformations)
    if config.lookahead_steps:
        optimizer = lookahead(optimizer, config.lookahead_steps, config.lookahead_alpha)
    return optimizer


def check_fractions(**options: float) -> None:
    """Raises `InputError` unless each of the options is at least 0 and below 1."""
    for name, value in options.items():
        if not 0 <= value < 1:
            raise InputError(
                f"config.optimizer.options.{name} = {value} must be at least 0 and below 1."
            )


def check_positive(**options: float) -> None:
    """Raises `InputError` unless each of the options is above 0."""
    for name, value in options.items():
        if not value > 0:
            raise InputError(f"config.optimizer.options.{name} = {value} must be above 0.")
