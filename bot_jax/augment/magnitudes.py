"""How strong an operation is: from a level, on one scale for all, to what the operation takes.

    value = around + sign * round(start + (stop - start) * level / levels)

AutoAugment (arXiv 1805.09501, section 3 and table 6) and RandAugment (arXiv 1909.13719, section 3)
give the two ends of each operation's range, and divide it evenly. They leave open which end is the
strong one, what has a random sign, and what is rounded, and released code differs in all three.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Scale:
    """What the levels of an operation mean.

    Attributes:
      start, stop: at level 0 and at the highest level, in the operation's unit; see
        `image_operations.OPERATIONS`.
      signed: whether the sign is random.
      around: what is added; 1 for a factor.
      rounding: "none", "floor", "ceil" or "nearest" (of two, the even number).
    """

    start: float
    stop: float
    signed: bool = False
    around: float = 0.0
    rounding: str = "none"


_ROUNDINGS = {"none": lambda x: x, "floor": jnp.floor, "ceil": jnp.ceil, "nearest": jnp.round}
_NO_VALUE = Scale(0.0, 0.0)  # of autocontrast, equalize, invert and identity

VALUELESS = dict.fromkeys(("autocontrast", "equalize", "invert"), _NO_VALUE)
IDENTITY = {"identity": _NO_VALUE}
FACTORS = ("color", "contrast", "brightness", "sharpness")


def translations(largest: float) -> dict[str, Scale]:
    """Scales of both translations by at most this part of the size."""
    return dict.fromkeys(("translate_x", "translate_y"), Scale(0, largest, signed=True))


# The ranges of AutoAugment's paper, each from weak to strong.
PAPER_RANGES = {
    **dict.fromkeys(("shear_x", "shear_y"), Scale(0, 0.3, signed=True)),
    **translations(150 / 331),  # 150 pixels of the paper's images, which are 331 wide
    "rotate": Scale(0, 30, signed=True),
    **dict.fromkeys(FACTORS, Scale(0, 0.9, signed=True, around=1)),
    "posterize": Scale(8, 4, rounding="nearest"),
    "solarize": Scale(256, 0),
}


def scale_values(scales, chosen, levels, signs):
    """The values of operations at their levels.

    Args:
      scales: list of `Scale`.
      chosen: int32 array, places in `scales`.
      levels: float32 of the same shape, as a part of the highest level.
      signs: float32 of the same shape, 1 or -1; used by a scale that is signed.

    Returns:
      float32 of the same shape.
    """

    def of_chosen(numbers):
        return jnp.asarray(np.asarray(numbers, np.float32))[chosen]

    start, stop = of_chosen([s.start for s in scales]), of_chosen([s.stop for s in scales])
    values = start + (stop - start) * levels
    rounding = of_chosen([list(_ROUNDINGS).index(s.rounding) for s in scales])
    for place, round_ in enumerate(_ROUNDINGS.values()):
        values = jnp.where(rounding == place, round_(values), values)
    signed = of_chosen([s.signed for s in scales]) > 0
    return of_chosen([s.around for s in scales]) + jnp.where(signed, signs, 1.0) * values
