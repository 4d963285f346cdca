"""PCA noise ("lighting"): shift each image along the principal colours of ImageNet.

    x <- clip(x + V (alpha * lambda)),  alpha ~ N(0, std) in each of 3 components, once an image

Source: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks"
(2012), section 4.1; arXiv 1812.01187, section 2.1, step 5: coefficient from N(0, 0.1). The
eigenvalues lambda and eigenvectors V (columns; rows are R, G, B) of the covariance of ImageNet's
pixel values are those of MXNet and fb.resnet.torch, on the 0..255 scale.

MXNet truncates the shift to an integer, since its images are bytes there; ours are float32
and keep the fraction.
"""

import jax
import jax.numpy as jnp

from bot_jax.augment.registry import register_augmentation
from bot_jax.errors import InputError

EIGENVALUES = (55.46, 4.794, 1.148)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


def add_pca_noise(image, alphas):
    """``clip(image + V (alphas * lambda))`` for one image [H, W, 3] in 0..255, alphas [3]."""
    # Written out instead of a matrix product, which some devices round to lower precision.
    shift = jnp.sum(jnp.asarray(EIGENVECTORS) * (alphas * jnp.asarray(EIGENVALUES)), axis=-1)
    return jnp.clip(image + shift, 0.0, 255.0)


@register_augmentation("pca_noise", on="pixels")
def pca_noise(images, keys, *, std=0.1):
    """Adds PCA noise to each image.

    Args:
      images: float32 [b, H, W, 3] in 0..255, before normalisation.
      keys: typed JAX keys [b], one an image.
      std: standard deviation of alpha; 0.1 in the paper.

    Returns:
      float32 [b, H, W, 3] in 0..255.

    Raises:
      InputError: a standard deviation below 0.
    """
    if std < 0:
        raise InputError(f"config.augment.pca_noise.std = {std} must be at least 0.")
    alphas = jax.vmap(lambda key: std * jax.random.normal(key, (3,)))(keys)
    return jax.vmap(add_pca_noise)(images, alphas)
