"""Mixup: train on convex combinations of pairs of examples.

    x = lambda x_i + (1 - lambda) x_j,   y = lambda y_i + (1 - lambda) y_j,
    lambda ~ Beta(alpha, alpha)

Source: Zhang et al., arXiv 1710.09412; arXiv 1812.01187, section 5.4 (alpha = 0.2, only mixed
examples are used, 200 epochs instead of 120). The released code (GluonCV) pairs the images of a
GPU with the same images in reverse order and draws one lambda an iteration.

Here the pairs are within a batch-norm group, so that no group waits for another:

    reverse   example i with example G - 1 - i; for one group a GPU the released code's pairing
    permute   a random permutation of the group, as in the authors' code for mixup

and lambda is drawn for each group, keyed by the id of its first sample (the released code draws one
for all GPUs), or for each sample ("each time we randomly sample two examples", as the paper says).
Mixing targets rather than losses makes mixup commute with label smoothing.
"""

import jax
import jax.numpy as jnp

from bot_jax.rng import Purpose, sample_keys

LAMBDAS = ("group", "sample")
PAIRS = ("permute", "reverse")


def mixup_lambdas(seed, sample_ids, alpha):
    """Draws lambda ~ Beta(alpha, alpha) for each sample id; equal ids have equal lambdas.

    Args:
      seed: the run's seed.
      sample_ids: uint32 [b].
      alpha: above 0; 0.2 in the paper.

    Returns:
      float32 [b] in 0..1.
    """
    keys = sample_keys(seed, Purpose.MIXUP, sample_ids)
    return jax.vmap(lambda key: jax.random.beta(key, alpha, alpha))(keys)


def mixup_permutation(seed, group_id, size):
    """A random permutation of a group: example i is mixed with example ``permutation[i]``.

    Args:
      seed: the run's seed.
      group_id: uint32 scalar, the id of the group's first sample.
      size: examples in the group.

    Returns:
      int32 [size].
    """
    (key,) = sample_keys(seed, Purpose.MIXUP_PAIRS, group_id[jnp.newaxis])
    return jax.random.permutation(key, size)


def mixup(images, targets, lambdas, partner_images, partner_targets):
    """Mixes each example with its partner.

    Args:
      images: float [b, H, W, 3]. targets: float32 [b, K], rows that sum to 1.
      lambdas: float32 [b], the weight of the example itself.
      partner_images, partner_targets: as images and targets.

    Returns:
      mixed images [b, H, W, 3] and targets [b, K].
    """
    weight = lambdas[:, None, None, None].astype(images.dtype)
    mixed_images = weight * images + (1 - weight) * partner_images
    weight = lambdas[:, None]
    return mixed_images, weight * targets + (1 - weight) * partner_targets
