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

from bot_jax.augment.mixing import Rows, column
from bot_jax.augment.registry import register_batch_augmentation
from bot_jax.errors import InputError, check_choice

LAMBDAS = ("group", "sample")
PAIRS = ("permute", "reverse")


@register_batch_augmentation("mixup")
def mixup(images, rows: Rows, *, alpha=0.2, lambda_per="group", pairs="reverse"):
    """Mixes each image with another one of its group, pixel by pixel.

    Args:
      images: float32 [b, H, W, 3].
      rows: whose they are.
      alpha: above 0; 0.2 in the paper.
      lambda_per: "group" or "sample", what has a lambda of its own.
      pairs: "reverse" or "permute".

    Returns:
      float32 [b, H, W, 3], and the function that mixes rows of targets alike.

    Raises:
      InputError: a value is not known or out of range.
    """
    check_choice("config.augment.mixup.lambda_per", lambda_per, LAMBDAS)
    check_choice("config.augment.mixup.pairs", pairs, PAIRS)
    if alpha <= 0:
        raise InputError(f"config.augment.mixup.alpha = {alpha} must be above 0.")
    keys = rows.keys("mixup") if lambda_per == "group" else rows.keys_of_samples("mixup")
    lambdas = jax.vmap(lambda key: jax.random.beta(key, alpha, alpha, dtype=jnp.float32))(keys)

    def mix(x):
        partner = rows.reverse(x) if pairs == "reverse" else rows.permute(x, "mixup_pairs")
        weight = column(lambdas, x).astype(x.dtype)  # before 1 - lambda is rounded
        return weight * x + (1 - weight) * partner

    return mix(images), mix
