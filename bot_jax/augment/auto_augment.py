"""AutoAugment: one of 25 sub-policies that were searched for, drawn for each image.

    sub-policy ~ uniform;  each of its two operations happens with a probability of its own

Source: Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", arXiv 1805.09501.
The policies are its appendix tables (`auto_augment_policies.py`). Of each operation a table gives
a level in 0..9, of which the paper says the range, but not which end is level 0. Two readings:

============  ==========================================  =====================================
operation     deepvoltaire                                timm (its policy "original")
============  ==========================================  =====================================
level         of 9                                        of 10
shear         0 to 0.3, random sign                       the same
translate     0 to 150/331 of the size, random sign       0 to 0.45
rotate        0 to 30 degrees, random sign                the same
color, contrast, brightness, sharpness:
              1 + (0 to 0.9), random sign                 0.1 to 1.9
posterize     8 to 4 bits, rounded                        4 to 8 bits, rounded down
solarize      threshold 256 to 0                          0 to 256, rounded down
============  ==========================================  =====================================

So timm's posterize and solarize are weaker, not stronger, at a higher level, and its factors do
not change the image at level 5. "deepvoltaire" has the levels of DeepVoltaire/AutoAugment, which
PaddleClas has as well, but for one thing: they rotate counter-clockwise only, and the paper's range
has both signs. All fill with grey, 128. Here all that moves pixels takes the nearest one;
DeepVoltaire and PaddleClas shear with bicubic interpolation, and timm draws one of two.

Order: after the crop and the horizontal flip, before any other change of colours.
"""

import jax
import jax.numpy as jnp
import numpy as np

from bot_jax.augment.auto_augment_policies import POLICIES
from bot_jax.augment.image_operations import OPERATIONS, apply_operations
from bot_jax.augment.magnitudes import (
    FACTORS,
    PAPER_RANGES,
    VALUELESS,
    Scale,
    scale_values,
    translations,
)
from bot_jax.augment.registry import register_augmentation
from bot_jax.errors import check_choice

# Name -> highest level, and the scale of each operation.
MAGNITUDES = {
    "deepvoltaire": (9, VALUELESS | PAPER_RANGES),
    "timm": (
        10,
        VALUELESS
        | PAPER_RANGES
        | translations(0.45)
        | dict.fromkeys(FACTORS, Scale(0.1, 1.9))
        | {
            "posterize": Scale(4, 8, rounding="floor"),
            "solarize": Scale(0, 256, rounding="floor"),
        },
    ),
}


def draw_sub_policies(keys, policy: str, magnitudes: str):
    """What is done to each image.

    Args:
      keys: typed JAX keys [b], one an image.
      policy: "imagenet", "cifar10" or "svhn".
      magnitudes: "deepvoltaire" or "timm".

    Returns:
      sub_policies: int32 [b], the row of the policy's table.
      operations: int32 [b, 2], places in `OPERATIONS`; the identity where one does not happen.
      values: float32 [b, 2], what the operations take.
    """
    names, probabilities, levels = zip(
        *(zip(*sub_policy, strict=True) for sub_policy in POLICIES[policy]), strict=True
    )
    highest, scales = MAGNITUDES[magnitudes]
    places = np.array([[OPERATIONS.index(name) for name in row] for row in names])
    scale_places = np.array([[list(scales).index(name) for name in row] for row in names])

    def draw(key):
        which, happens, sign = jax.random.split(key, 3)
        return (
            jax.random.randint(which, (), 0, len(names)),
            jax.random.uniform(happens, (2,)),
            jax.random.rademacher(sign, (2,), jnp.float32),
        )

    rows, uniform, signs = jax.vmap(draw)(keys)
    happens = uniform < jnp.asarray(np.float32(probabilities))[rows]
    identity = OPERATIONS.index("identity")
    operations = jnp.where(happens, jnp.asarray(places)[rows], identity)
    parts = jnp.asarray(np.float32(levels) / highest)[rows]
    chosen = jnp.asarray(scale_places)[rows]
    return rows, operations, scale_values(list(scales.values()), chosen, parts, signs)


@register_augmentation("auto_augment", on="pixels")
def auto_augment(images, keys, *, policy="imagenet", magnitudes="deepvoltaire"):
    """Changes each image by a sub-policy of AutoAugment.

    Args:
      images: float32 [b, H, W, 3] in 0..255; what is not a whole number is rounded.
      keys: typed JAX keys [b], one an image.
      policy: "imagenet", "cifar10" or "svhn", the data set for which it was searched.
      magnitudes: "deepvoltaire" or "timm", the reading of levels; see the module's table.

    Returns:
      float32 [b, H, W, 3] of whole numbers in 0..255.

    Raises:
      InputError: a name is not known.
    """
    check_choice("config.augment.auto_augment.policy", policy, POLICIES)
    check_choice("config.augment.auto_augment.magnitudes", magnitudes, MAGNITUDES)
    _, operations, values = draw_sub_policies(keys, policy, magnitudes)
    for slot in range(2):
        images = apply_operations(images, operations[:, slot], values[:, slot])
    return images
