"""RICAP, random image cropping and patching: four crops make an image, and areas make its label.

    w = round(W w'),  h = round(H h'),  w' and h' ~ Beta(beta, beta)

    +-------------+-----------------+
    | 0: h x w    | 1: h x (W - w)  |   patch k is a crop of that size of an image of its own,
    +-------------+-----------------+   at an offset that is uniform over those that fit;
    | 2: (H - h)  | 3: (H - h)      |   y = sum_k W_k y_k  with  W_k = area_k / (H W)
    |    x w      |    x (W - w)    |
    +-------------+-----------------+

Source: Takahashi et al., arXiv 1811.09030, beta = 0.3. The paper's formulas are those of one image.
Its code draws once for a mini-batch where the patches meet, and for each patch an offset and a
permutation of the images; that is followed here, for each batch-norm group. A patch may be empty,
or all of the image.
"""

import jax
import jax.numpy as jnp

from bot_jax.augment.mixing import Rows, column
from bot_jax.augment.registry import register_batch_augmentation
from bot_jax.errors import InputError

PATCHES = ((0, 0), (0, 1), (1, 0), (1, 1))  # whether a patch is below and to the right


def draw_patches(key, height, width, beta):
    """The sizes of the patches, and the pixels at which their crops begin.

    Args:
      key: typed JAX key.
      height, width: of the image, in pixels.
      beta: above 0.

    Returns:
      int32 [4, 2] each, down and to the right, in the order of `PATCHES`.
    """
    of_sizes, of_offsets = jax.random.split(key)
    image = jnp.array([height, width], jnp.int32)
    first = jnp.round(image * jax.random.beta(of_sizes, beta, beta, (2,), jnp.float32)).astype(
        jnp.int32
    )
    sizes = jnp.where(jnp.array(PATCHES, bool), image - first, first)
    return sizes, jax.random.randint(of_offsets, (4, 2), 0, image - sizes + 1, jnp.int32)


def _shifted(image, shift):
    """The image [H, W, 3] whose pixel (i, j) is that at (i, j) + shift, or else the nearest."""
    down, right = (
        jnp.clip(jnp.arange(length) + by, 0, length - 1)
        for length, by in zip(image.shape, shift, strict=False)
    )
    return image[down][:, right]


@register_batch_augmentation("ricap")
def ricap(images, rows: Rows, *, beta=0.3):
    """Puts each image together from crops of four images of its group.

    Args:
      images: float32 [b, H, W, 3].
      rows: whose they are.
      beta: above 0; 0.3 in the paper.

    Returns:
      float32 [b, H, W, 3], and the function that mixes rows of targets by area.

    Raises:
      InputError: a value is out of range.
    """
    if beta <= 0:
        raise InputError(f"config.augment.ricap.beta = {beta} must be above 0.")
    height, width = images.shape[1:3]
    sizes, offsets = jax.vmap(lambda key: draw_patches(key, height, width, beta))(
        rows.keys("ricap")
    )
    first = sizes[:, 0]
    is_below = jnp.arange(height)[:, None, None] >= column(first[:, 0], images)
    is_right = jnp.arange(width)[:, None] >= column(first[:, 1], images)
    shares = jnp.prod(sizes, axis=-1).astype(jnp.float32) / (height * width)

    def of_patch(x, k):
        return rows.permute(x, f"ricap_pairs_{k}")

    def mix(x):
        return sum(column(shares[:, k], x) * of_patch(x, k) for k in range(len(PATCHES)))

    new = images
    for k, (below, right) in enumerate(PATCHES):
        # So that the crop lies where its patch is; sizes that are not static cannot be sliced.
        shift = offsets[:, k] - first * jnp.array([below, right])
        patch = jax.vmap(_shifted)(of_patch(images, k), shift)
        new = jnp.where((is_below == below) & (is_right == right), patch, new)
    return new, mix
