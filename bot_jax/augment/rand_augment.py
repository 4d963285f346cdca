"""RandAugment: N operations drawn for each image, all as strong as one number M says.

    N times:  operation ~ uniform over K, with replacement, at level M of 10

Source: Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search
space", arXiv 1909.13719: N = 2, M = 9 for ResNet-50 on ImageNet. Presets:

paper
  The paper's 14 operations, the identity among them, each with the range that it has in
  AutoAugment, from weak to strong: shear 0.3, translate 150/331 of the size, rotate 30 degrees,
  factors 1 +- 0.9, posterize 8 to 4 bits, solarize from 256 down to 0. (The paper gives no ranges
  of its own.)
timm
  "rand-m9-mstd0.5-inc1": 15 operations, invert and solarize add among them, but no identity. Each
  happens with probability 1/2, and its level is drawn from N(M, 0.5), cut off at 0 and 10.
  Translate goes to 0.45 of the size, posterize from 4 bits to 0, solarize add to 110.
paddleclas
  M = 5 is its default. 14 operations, with invert and without the identity; rotates
  counter-clockwise only. Posterize keeps floor(4 M / 10) bits and solarize inverts from 256 M / 10,
  so that both are *weaker* at a higher M: 2 bits and 128 at M = 5.

All fill with grey, 128. Here all that moves pixels takes the nearest one; PaddleClas shears with
bicubic interpolation, and timm draws one of two.

Order: after the crop and the horizontal flip, before any other change of colours.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bot_jax.augment.image_operations import OPERATIONS, apply_operations
from bot_jax.augment.magnitudes import (
    IDENTITY,
    PAPER_RANGES,
    VALUELESS,
    Scale,
    scale_values,
    translations,
)
from bot_jax.augment.registry import register_augmentation
from bot_jax.errors import InputError, check_choice

_LEVELS = 10


@dataclasses.dataclass(frozen=True)
class Preset:
    """A reading of RandAugment.

    Attributes:
      magnitude: its own M.
      scales: operation -> `Scale`.
      operation_probability: that an operation which was drawn happens.
      magnitude_std: standard deviation of the level of each operation around M.
    """

    magnitude: float
    scales: dict[str, Scale]
    operation_probability: float = 1.0
    magnitude_std: float = 0.0


PRESETS = {
    "paper": Preset(
        magnitude=9.0,
        scales=IDENTITY
        | {name: VALUELESS[name] for name in ("autocontrast", "equalize")}
        | PAPER_RANGES,
    ),
    "timm": Preset(
        magnitude=9.0,
        operation_probability=0.5,
        magnitude_std=0.5,
        scales=VALUELESS
        | PAPER_RANGES
        | translations(0.45)
        | {
            "posterize": Scale(4, 0, rounding="ceil"),
            "solarize": Scale(256, 0, rounding="ceil"),
            "solarize_add": Scale(0, 110, rounding="floor"),
        },
    ),
    "paddleclas": Preset(
        magnitude=5.0,
        scales=VALUELESS
        | PAPER_RANGES
        | {
            "rotate": Scale(0, 30),
            "posterize": Scale(0, 4, rounding="floor"),
            "solarize": Scale(0, 256),
        },
    ),
}


def draw_operations(keys, preset: Preset, num_operations: int, magnitude: float):
    """What is done to each image.

    Args:
      keys: typed JAX keys [b], one an image.
      preset: one of `PRESETS`.
      num_operations: N.
      magnitude: M, in 0..10.

    Returns:
      operations: int32 [b, N], places in `OPERATIONS`; the identity where one does not happen.
      values: float32 [b, N], what the operations take.
    """
    shape = (num_operations,)
    names = list(preset.scales)

    def draw(key):
        which, happens, level, sign = jax.random.split(key, 4)
        return (
            jax.random.randint(which, shape, 0, len(names)),
            jax.random.uniform(happens, shape) < preset.operation_probability,
            jax.random.normal(level, shape),
            jax.random.rademacher(sign, shape, jnp.float32),
        )

    chosen, happens, normal, signs = jax.vmap(draw)(keys)
    levels = jnp.clip(magnitude + preset.magnitude_std * normal, 0, _LEVELS) / _LEVELS
    places = jnp.asarray(np.array([OPERATIONS.index(name) for name in names]))
    operations = jnp.where(happens, places[chosen], OPERATIONS.index("identity"))
    return operations, scale_values(list(preset.scales.values()), chosen, levels, signs)


@register_augmentation("rand_augment", on="pixels")
def rand_augment(images, keys, *, preset="paper", num_operations=2, magnitude=0.0):
    """Changes each image by a few random operations.

    Args:
      images: float32 [b, H, W, 3] in 0..255; what is not a whole number is rounded.
      keys: typed JAX keys [b], one an image.
      preset: "paper", "timm" or "paddleclas", see the top of this file.
      num_operations: N, at least 1; 2 in all presets.
      magnitude: M, above 0 and at most 10; 0: the preset's own, 9, 9 or 5.

    Returns:
      float32 [b, H, W, 3] of whole numbers in 0..255.

    Raises:
      InputError: the preset is not known, or a number is out of range.
    """
    check_choice("config.augment.rand_augment.preset", preset, PRESETS)
    if num_operations < 1:
        raise InputError(
            f"config.augment.rand_augment.num_operations = {num_operations} must be at least 1; "
            "--config.augment.rand_augment=off turns it off."
        )
    if not 0 <= magnitude <= _LEVELS:
        raise InputError(
            f"config.augment.rand_augment.magnitude = {magnitude} must be from 0 to {_LEVELS}, "
            "where 0 is the preset's own."
        )
    chosen = PRESETS[preset]
    operations, values = draw_operations(
        keys, chosen, num_operations, magnitude or chosen.magnitude
    )
    for slot in range(num_operations):
        images = apply_operations(images, operations[:, slot], values[:, slot])
    return images
