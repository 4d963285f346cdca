"""CutMix: a box of each image is replaced by the same box of another one, and the labels by area.

    lambda ~ Beta(alpha, alpha),  sides int(H sqrt(1 - lambda)) and int(W sqrt(1 - lambda)),
    a centre that is uniform over the pixels, what lies outside of the image cut off;
    then lambda = 1 - area / (H W) of what is left,  y = lambda y_i + (1 - lambda) y_j

Source: Yun et al., arXiv 1905.04899, section 3.1; alpha = 1, every mini-batch of ImageNet and half
of those of CIFAR (`probability` = 0.5). As in the authors' released code a box reaches from its
centre by ``side // 2`` both ways, so that an odd side loses a pixel. PaddleClas has
alpha = 0.2 (`preset` = "paddleclas").

Lambda and the box are drawn for each batch-norm group (the authors draw them for a mini-batch), and
the partners are a random permutation of the group. A box without area leaves image and label as
they are.
"""

from functools import partial

import jax
import jax.numpy as jnp

from bot_jax.augment.boxes import inside_box
from bot_jax.augment.mixing import Rows, column
from bot_jax.augment.registry import register_batch_augmentation
from bot_jax.errors import InputError


def draw_box(key, height, width, alpha):
    """The box that is replaced.

    Args:
      key: typed JAX key.
      height, width: of the image, in pixels.
      alpha: above 0.

    Returns:
      int32 top, bottom, left, right; bottom and right are the first outside.
    """
    of_lambda, of_row, of_column = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.beta(of_lambda, alpha, alpha, dtype=jnp.float32))

    def interval(of_center, length):
        half = (length * side).astype(jnp.int32) // 2
        center = jax.random.randint(of_center, (), 0, length, jnp.int32)
        return jnp.maximum(center - half, 0), jnp.minimum(center + half, length)

    return *interval(of_row, height), *interval(of_column, width)


@register_batch_augmentation("cutmix", presets={"paper": {}, "paddleclas": {"alpha": 0.2}})
def cutmix(images, rows: Rows, *, alpha=1.0):
    """Pastes a box of another image of its group into each image.

    Args:
      images: float32 [b, H, W, 3].
      rows: whose they are.
      alpha: above 0; 1.0 in the paper, 0.2 in PaddleClas.

    Returns:
      float32 [b, H, W, 3], and the function that mixes rows of targets by area.

    Raises:
      InputError: a value is out of range.
    """
    if alpha <= 0:
        raise InputError(f"config.augment.cutmix.alpha = {alpha} must be above 0.")
    height, width = images.shape[1:3]
    boxes = jax.vmap(lambda key: draw_box(key, height, width, alpha))(rows.keys("cutmix"))
    top, bottom, left, right = boxes
    inside = jax.vmap(partial(inside_box, (height, width)))(*boxes)[..., None]
    share = ((bottom - top) * (right - left)).astype(jnp.float32) / (height * width)

    def mix(x):
        weight = column(share, x)
        return (1 - weight) * x + weight * rows.permute(x, "cutmix_pairs")

    return jnp.where(inside, rows.permute(images, "cutmix_pairs"), images), mix
