"""Rematerialisation: activations that are computed twice instead of being kept.

The backward pass needs what every convolution read, which is a batch norm and a ReLU of what the
convolution before it wrote. With `rematerialize` only the results of convolutions and of the max
pool are kept; batch norms (from kept statistics), ReLUs and sums of shortcuts are computed again,
and no convolution is. Source: Chen et al., "Training deep nets with sublinear memory cost",
arXiv 1604.06174, section 4.3, "drop the results of low cost operations".
"""

from collections.abc import Callable

import jax
from jax.ad_checkpoint import checkpoint_name

_KEPT = "kept"


def keep(x):
    """Marks an array that `rematerialize` keeps; elsewhere it changes nothing."""
    return checkpoint_name(x, _KEPT)


def rematerialize(function: Callable) -> Callable:
    """The same function; its gradient keeps only what passed through `keep`."""
    return jax.checkpoint(function, policy=jax.checkpoint_policies.save_only_these_names(_KEPT))
