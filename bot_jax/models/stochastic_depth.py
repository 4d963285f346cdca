"""Stochastic depth: in training the residual branch of a block is left out by chance.

    y = shortcut(x) + branch(x) / (1 - p_l) with probability 1 - p_l, else shortcut(x)
    p_l = l / L * p_L   for block l = 1 to L (linear decay: the first blocks matter most)

Source: Huang et al., "Deep networks with stochastic depth", arXiv 1603.09382, sections 3 and 4
(p_L = 0.5 on CIFAR and ImageNet; their survival probability of block l is 1 - p_l). What differs:

- The paper multiplies the branch by 1 - p_l at evaluation. Here it is divided in training, so that
  evaluation needs nothing; equal in expectation.
- The paper draws once for a mini-batch, and so saves the computation of what is dropped. Here each
  image draws, as in torchvision's mode "row"; all branches are computed, and a dropped image is
  still among the pixels that give its batch-norm group its statistics.
"""

import jax
import jax.numpy as jnp

from bot_jax.models.groups import at_least_float32
from bot_jax.models.keys import named_keys


def drop_probabilities(last: float, num_blocks: int) -> list[float]:
    """p_l of each block, from the first to the last, whose is `last` (p_L)."""
    return [block / num_blocks * last for block in range(1, num_blocks + 1)]


def drop_branch(branch: jax.Array, probability: float, keys, name: str) -> jax.Array:
    """What is added to the shortcut: for some images nothing.

    Args:
      branch: [b, ...], result of the residual branch.
      probability: p_l, of each image to be without it, from 0 to less than 1.
      keys: of `keys.training_keys`, typed [b], or None where nothing is dropped.
      name: of the block: two with the same name drop the same images.

    Returns:
      Same shape and dtype as `branch`.
    """
    if keys is None or probability == 0:
        return branch
    survives = jax.vmap(lambda key: jax.random.bernoulli(key, jnp.float32(1 - probability)))(
        named_keys(keys, f"{name} stochastic depth")
    )
    survives = survives.reshape(-1, *(1 for _ in branch.shape[1:]))
    # In float32: 1 / (1 - p) rounded to a half type would change the mean.
    scaled = branch.astype(at_least_float32(branch.dtype)) / (1 - probability)
    return jnp.where(survives, scaled, 0).astype(branch.dtype)
