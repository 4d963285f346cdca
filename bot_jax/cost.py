"""What a run costs before it is started: steps, training compute, hours on the paper's machine.

    FLOP = 2 * 3 * MACs * images   (a multiply-accumulate is two; forward and both gradients)
         + 2 * MACs of the teacher * images   (its forward pass, where there is one)

Hours are those of 8 V100 and of the authors' program, not of this one: from the paper's minutes
an epoch (table 3) and from images a second in the logs of the released models. Nothing here
imports JAX, so that a table of rows is printed at once.
"""

import dataclasses
import re

from bot_jax.data.sizes import KNOWN_SIZES
from bot_jax.reference_results import PAPER, find

# Multiply-accumulates of the forward pass, in 1e9, by model and image size. A test compares them
# with what `python -m bot_jax.models` counts.
_RESNETS = {
    18: {"a": 1.814, "b": 1.814},
    34: {"a": 3.664, "b": 3.664},
    50: {"a": 3.858, "b": 4.089, "c": 4.329, "d": 4.329},
    101: {"a": 7.570, "b": 7.801, "c": 8.041, "d": 8.041},
    152: {"a": 11.282, "b": 11.514, "c": 11.753, "d": 11.753},
}
GIGA_MACS = {
    (f"resnet{depth}_{variant}", 224): macs
    for depth, variants in _RESNETS.items()
    for variant, macs in variants.items()
} | {
    ("resnet152_d", 299): 21.732,  # the teacher of an Inception-V3
    ("inception_v3", 299): 5.713,
    ("mobilenet_100", 224): 0.569,
    ("mobilenet_075", 224): 0.325,
    ("mobilenet_050", 224): 0.149,
    ("mobilenet_025", 224): 0.041,
}

# Median images a second on 8 V100 in the released logs (dmlc/web-data), by model and precision:
# float16 at a batch of 1,024, except the ResNets of 152 layers. What the paper's table 3 has is
# taken from there.
_RELEASED_PACE = {
    ("resnet50_b", "float16"): 5122,
    ("resnet50_c", "float16"): 4737,
    ("resnet50_d", "float16"): 4993,
    ("resnet101_d", "float16"): 2882,
    ("resnet152_a", "float32"): 740,
    ("resnet152_b", "float32"): 740,
    ("resnet152_c", "float32"): 740,
    ("resnet152_d", "float32"): 740,
}
_TABLE_3 = {"resnet50_a": "ResNet-50", "inception_v3": "Inception-V3", "mobilenet_100": "MobileNet"}
_TABLE_3_BATCH = {"float32": 256, "float16": 1024}


@dataclasses.dataclass(frozen=True)
class Cost:
    """The cost of a run.

    Attributes:
      steps: of the optimiser.
      exaflop: floating-point operations of training, in 1e18; an estimate, since it counts only
        convolutions and matrix products.
      hours: on 8 V100; None where no pace is published and none can be estimated.
      estimated: no pace is published for this model, precision, batch size and data, so that the
        hours are scaled from another one.
    """

    steps: int
    exaflop: float
    hours: float | None
    estimated: bool


def training_flop(macs: int | float, teacher_macs: int | float, images: int | float) -> float:
    """The formula above: of `images` images, with the MACs of one image."""
    return (6.0 * macs + 2.0 * teacher_macs) * images


def cost(config) -> Cost | None:
    """The cost of the run that a configuration describes.

    None for other data than ImageNet and Places365 and for models, or sizes of images, that no row
    of the paper or of GluonCV has.
    """
    known = KNOWN_SIZES.get(config.data.tfds_name) if config.data.source == "tfds" else None
    model, size, compute = config.model.name, config.data.image_size, config.precision.compute
    taught_by = config.distillation.teacher and config.distillation.teacher_model
    macs = GIGA_MACS.get((model, size))
    teacher_macs = GIGA_MACS.get((taught_by, size)) if taught_by else 0.0
    if None in (known, macs, teacher_macs):
        return None
    images = config.epochs * known["train"]
    seconds, estimated = _seconds_an_image(model, macs, teacher_macs, compute)
    if model in _TABLE_3:
        estimated |= config.batch_size != _TABLE_3_BATCH.get(compute)
    return Cost(
        steps=round(config.epochs * (known["train"] // config.batch_size)),
        exaflop=training_flop(1e9 * macs, 1e9 * teacher_macs, images) / 1e18,
        hours=None if seconds is None else seconds * images / 3600,
        estimated=estimated or config.data.tfds_name != "imagenet2012",
    )


def _seconds_an_image(model, macs, teacher_macs, compute):
    """On 8 V100, or None; and whether that is estimated from the pace of a ResNet-50."""
    if compute not in _TABLE_3_BATCH:
        return None, False
    seconds = _published_seconds_an_image(model, compute)
    a_flop = _published_seconds_an_image("resnet50_a", compute) / training_flop(
        1e9 * GIGA_MACS["resnet50_a", 224], 0, 1
    )
    estimated = bool(teacher_macs)
    if seconds is None and model.startswith("resnet"):
        seconds, estimated = training_flop(1e9 * macs, 0, 1) * a_flop, True
    return seconds and seconds + training_flop(0, 1e9 * teacher_macs, 1) * a_flop, estimated


def minutes_an_epoch(model: str, compute: str) -> float:
    """Minutes of an epoch of ImageNet on 8 V100, table 3 of the paper: "4.4 vs 13.3 min"."""
    recipe = find(framework=PAPER, source="arXiv 1812.01187 T3", model=_TABLE_3[model]).recipe
    efficient, baseline = re.search(r"([\d.]+) vs ([\d.]+) min", recipe).groups()
    return float(efficient if compute == "float16" else baseline)


def _published_seconds_an_image(model, compute):
    if model in _TABLE_3:
        return 60 * minutes_an_epoch(model, compute) / KNOWN_SIZES["imagenet2012"]["train"]
    pace = _RELEASED_PACE.get((model, compute))
    return pace and 1 / pace
