"""Freezing: parameters that stay as they are while the others learn.

Of a frozen parameter no gradient is computed, nothing decays it, and it counts in no norm of the
gradient. Its batch norms either use their running statistics and keep them, as at evaluation, or
go on with those of the batch: a batch norm whose statistics follow the new images changes what the
frozen layers behind it see, so that "frozen" means the first as a rule.

Source: common in fine-tuning; PaddleClas's FAQ, Q2.2, freezes the layers near the input where
there are few images, and its `lr_mult_list` has a 0 for them. What batch norm does is left open
there.
"""

import re

import jax

from bot_jax.errors import InputError

# What a batch norm whose parameters are frozen normalises with.
BATCH_NORM = ("inference", "training")


def path_of(path) -> str:
    """The name of a parameter, such as "stage1_block1/conv1/kernel", from its path in a pytree."""
    return "/".join(key.key for key in path)


def frozen_mask(params, pattern: str):
    """Which parameters are frozen.

    Args:
      params: pytree of parameters, nested dictionaries.
      pattern: regular expression that is matched from the beginning of a parameter's path
        (`re.match`): "stem" freezes all of "stem_conv1/kernel", "stem_bn1/scale" ...; and
        "(?!head/)" all but the classifier. "" freezes none.

    Returns:
      Pytree of bool with the structure of `params`.

    Raises:
      InputError: it is no regular expression, or it matches no parameter or all of them.
    """
    if not pattern:
        return jax.tree.map(lambda _: False, params)
    try:
        match = re.compile(pattern).match
    except re.error as error:
        raise InputError(
            f"config.freeze.parameters = {pattern!r} is not a regular expression: {error}. "
            f"{_names(params)}"
        ) from error
    mask = jax.tree_util.tree_map_with_path(lambda path, _: bool(match(path_of(path))), params)
    found = set(jax.tree.leaves(mask))
    if len(found) == 1:
        what = "every parameter, so that nothing would learn" if True in found else "no parameter"
        raise InputError(
            f"config.freeze.parameters = {pattern!r} matches {what}. It is matched from the "
            f"beginning of names such as {_first_name(params)}. {_names(params)}"
        )
    return mask


def stop_gradients(params, pattern: str):
    """The same parameters; of those that are frozen no gradient is computed."""
    if not pattern:
        return params
    stopped = jax.lax.stop_gradient
    return jax.tree.map(
        lambda value, frozen: stopped(value) if frozen else value,
        params,
        frozen_mask(params, pattern),
    )


def _names(params):
    return f"Valid beginnings: {', '.join(params)}."


def _first_name(params):
    (path, _), *_ = jax.tree_util.tree_flatten_with_path(params)[0]
    return path_of(path)
